// The commit: one store decides, recovery finishes the rest however far it had come; T1, T3 and T6 of common/store_layout.h.
#include "md/commit.h"

#include <functional>
#include <map>

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

/// Words of an oplog of 2 MiB serve as memory that is written.
constexpr uint64_t kBytes = 1 << 21;
constexpr uint64_t word_at(uint64_t index) { return st::kOplogAt + index * 8; }
constexpr uint64_t kBucketAt = st::kOplogAt + kBytes - st::kBucketBytes;

st::JournalHeader& header_of(const md::StoreMemory& memory) { return *memory.as<st::JournalHeader>(st::kJournalAt); }

/// Place of a list's entry, worked out apart from md: in page 1, then in pages from `overflow` on, without the first of a region.
uint64_t place_of_entry(const md::StoreMemory& memory, uint64_t index) {
    if (index < st::kJournalEntries) return st::kJournalAt + sizeof(st::JournalHeader) + index * sizeof(st::JournalEntry);
    index -= st::kJournalEntries;
    uint64_t page = header_of(memory).overflow;
    for (page += page % st::kRegionPages == 0; index >= st::kOverflowEntries; index -= st::kOverflowEntries) {
        ++page;
        page += page % st::kRegionPages == 0;
    }
    return page * st::kPageBytes + index * sizeof(st::JournalEntry);
}

/// The list that the journal holds.
struct List {
    explicit List(const md::StoreMemory& memory) {
        const st::JournalHeader& header = header_of(memory);
        for (uint64_t i = 0; i < header.buckets; ++i) buckets.push_back(memory.load(place_of_entry(memory, i)));
        for (uint64_t i = 0; i < header.words; ++i) words.push_back(*memory.as<st::JournalEntry>(place_of_entry(memory, header.buckets + i)));
    }
    std::vector<uint64_t> buckets;
    std::vector<st::JournalEntry> words;
};

/// Brings a store back to where it was just before the store of `committed`, and then on to some point behind it.
/// `before`: the store's words as they were.
class Rewind {
  public:
    Rewind(TestStore& store, const std::map<uint64_t, uint64_t>& before) : store_(store), list_(store.memory()), before_(before) {}

    void to_before_commit() {
        for (const st::JournalEntry& word : list_.words) restore(word.offset);
        for (const uint64_t bucket : list_.buckets) restore(bucket);
        restore(store_.memory().offset_of(&store_.root().number));
    }
    /// Committed; and applied as far as a predecessor may have come, and on any place in addition.
    void to_committed(Random& random, unsigned share) {
        to_before_commit();
        const uint64_t number = header_of(store_.memory()).number;
        for (const uint64_t bucket : list_.buckets)
            if (random.below(4) < share) store_.memory().store(bucket, 2 * number + random.below(2));
        for (const st::JournalEntry& word : list_.words)
            if (random.below(4) < share) store_.memory().store(word.offset, word.value);
        store_.root().committed.store(number);
    }
    const List& list() const { return list_; }

  private:
    void restore(uint64_t offset) {
        if (const auto at = before_.find(offset); at != before_.end()) store_.memory().store(offset, at->second);
    }
    TestStore& store_;
    List list_;
    const std::map<uint64_t, uint64_t>& before_;
};

/// All words that are backed, by offset.
std::map<uint64_t, uint64_t> words_of(TestStore& store, const TestMemory::Image& image, const List& list) {
    std::vector<uint64_t> offsets = list.buckets;
    for (const st::JournalEntry& word : list.words) offsets.push_back(word.offset);
    offsets.push_back(store.memory().offset_of(&store.root().number));
    std::vector<uint64_t> position(image.backed.size());
    for (uint64_t i = 0, next = 0; i < position.size(); ++i) position[i] = image.backed[i] ? next++ : ~uint64_t{0};
    std::map<uint64_t, uint64_t> words;
    for (const uint64_t offset : offsets) {
        const uint64_t at = position[offset / kPageSize];
        if (at == ~uint64_t{0}) continue;  // memory that was not there yet has no value that anybody could see
        std::memcpy(&words[offset], image.bytes.data() + at * kPageSize + offset % kPageSize, 8);
    }
    return words;
}

using Contents = std::map<std::string, std::string>;
Contents contents_of(TestStore& store) {
    Contents contents;
    for (int i = 0; i < 40; ++i)
        if (const std::string key = "key" + std::to_string(i); store.find(key)) contents[key] = store.get(key);
    return contents;
}

}  // namespace

TEST_CASE("commit T1: the words and nothing else have changed, and the number counts") {
    TestStore store(4096, kBytes);
    md::Committer committer(store.memory());
    for (uint64_t i = 0; i < 100; ++i) store.memory().store(word_at(i), i);
    store.memory().store(kBucketAt, 0);
    md::WriteSet set(store.memory());
    set.write(word_at(3), 333);
    set.touch_bucket(kBucketAt);
    const uint64_t number = store.root().number + 1;
    CHECK(committer.next_number() == number);
    CHECK(committer.reserve(set));
    committer.commit(set);
    CHECK(set.empty());
    CHECK(store.root().number == number);
    CHECK(store.root().committed == 0);
    CHECK(committer.next_number() == number + 1);
    for (uint64_t i = 0; i < 100; ++i) CHECK(store.memory().load(word_at(i)) == (i == 3 ? 333 : i));
    CHECK(store.memory().load(kBucketAt) == 2 * number);
    CHECK_FALSE(committer.recover());
}

TEST_CASE("commit T1: a list written by hand is applied, once or many times, with the same result") {
    TestStore store(4096, kBytes);
    const md::StoreMemory& memory = store.memory();
    const uint64_t number = 41;
    memory.store(st::kJournalAt + sizeof(st::JournalHeader), kBucketAt);
    memory.store(kBucketAt, 80);
    for (uint64_t i = 0; i < 50; ++i) {
        memory.store(place_of_entry(memory, i + 1), word_at(i));
        memory.store(place_of_entry(memory, i + 1) + 8, i * i);
        memory.store(word_at(i), 5);
    }
    header_of(memory) = {number, 1, 50, 0, {}};
    store.root().number = number - 1;
    for (int round = 0; round < 3; ++round) {
        store.root().committed = number;
        md::Committer committer(memory);
        CHECK(committer.recover());
        CHECK_FALSE(committer.recover());
        for (uint64_t i = 0; i < 50; ++i) CHECK(memory.load(word_at(i)) == i * i);
        CHECK(memory.load(kBucketAt) == 2 * number);
        CHECK(store.root().number == number);
        CHECK(store.root().committed == 0);
    }
}

TEST_CASE("commit: a store that is opened finishes what was committed, and says so") {
    TestStore store;
    CHECK_FALSE(store->recovered());
    CHECK(store.set("k", "v"));
    store.root().committed = store.root().number;
    store.open();
    CHECK(store->recovered());
    CHECK(store.get("k") == "v");
    store.open();
    CHECK_FALSE(store->recovered());
}

TEST_CASE("commit T6: a list with another number is never applied") {
    TestStore store;
    CHECK(store.set("k", "v"));
    store.root().committed = store.root().number + 1;
    CHECK_FALSE(survives([&] { store.open(); }));
    store.root().committed = store.root().number - 1;
    CHECK_FALSE(survives([&] { store.open(); }));
}

TEST_CASE("commit: lists around the end of the journal's page, and of many pages") {
    constexpr uint64_t kFirst = st::kJournalEntries, kNext = st::kOverflowEntries;
    for (const uint64_t entries : {kFirst - 1, kFirst, kFirst + 1, kFirst + kNext, kFirst + kNext + 1, kFirst + 3 * kNext + 77}) {
        CAPTURE(entries);
        TestStore store(4096, kBytes);
        for (const uint64_t frontier : {store.root().frontier, st::kRegionPages - 1, st::kRegionPages}) {
            CAPTURE(frontier);
            store.root().frontier = frontier;
            md::Committer committer(store.memory());
            for (int round = 0; round < 2; ++round) {
                md::WriteSet set(store.memory());
                set.touch_bucket(kBucketAt);
                for (uint64_t i = 0; i + 1 < entries; ++i) set.write(word_at(i), i + static_cast<uint64_t>(round));
                REQUIRE(committer.reserve(set));
                committer.commit(set);
                if (round == 1) {  // as if the predecessor had died at once
                    for (uint64_t i = 0; i + 1 < entries; ++i) store.memory().store(word_at(i), 0);
                    store.root().committed = store.root().number;
                    REQUIRE(committer.recover());
                }
                bool same = true;
                for (uint64_t i = 0; i + 1 < entries; ++i) same = same && store.memory().load(word_at(i)) == i + static_cast<uint64_t>(round);
                CHECK(same);
                CHECK((header_of(store.memory()).overflow != 0) == (entries > kFirst));
                CHECK(List(store.memory()).words.size() == entries - 1);
            }
        }
    }
}

TEST_CASE("commit: a list that there is no memory for is refused before anything has happened") {
    TestStore store(4096, kBytes);
    md::Committer committer(store.memory());
    md::WriteSet set(store.memory());
    for (uint64_t i = 0; i <= st::kJournalEntries; ++i) set.write(word_at(i), i);
    store.space.calls_left = 0;
    const TestMemory::Image before = store.space.image();
    CHECK_FALSE(committer.reserve(set));
    CHECK(store.space.image() == before);
    store.space.calls_left = 1;
    CHECK(committer.reserve(set));
    CHECK_FALSE(set.empty());
}

TEST_CASE("commit: a list beyond the segment's last page is refused") {
    TestStore store(kBytes / st::kPageBytes + 2, kBytes);  // no page is left
    md::Committer committer(store.memory());
    md::WriteSet set(store.memory());
    for (uint64_t i = 0; i <= st::kJournalEntries; ++i) set.write(word_at(i), i);
    CHECK_FALSE(committer.reserve(set));
}

TEST_CASE("commit T1 T2: before the commit every operation is not there, after it recovery completes it to the same bytes") {
    Random random;
    INFO("SEED=" << random.seed);
    TestStore store;
    for (int i = 0; i < 40; i += 2) REQUIRE(store.set("key" + std::to_string(i), random.bytes(i % 3 == 0 ? 90000 : 100), i % 4 == 0 ? 5000 + i : md::kNoExpiry));
    const std::string many = random.bytes(200);
    std::vector<std::string> names;
    for (int i = 0; i < 3000; ++i) names.push_back("more" + std::to_string(i));
    std::vector<st::KeyPlace> places;
    for (const std::string& name : names) places.push_back(store->place_of(name));
    const std::vector<std::pair<std::string, std::function<void()>>> operations = {
        {"a new key", [&] { store.set("key1", random.bytes(50)); }},
        {"another value", [&] { store.set("key2", random.bytes(50)); }},
        {"the same length", [&] { store.set("key2", random.bytes(50)); }},
        {"a large value", [&] { store.set("key4", random.bytes(150000)); }},
        {"a large value for a large one", [&] { store.set("key6", random.bytes(150000)); }},
        {"append in place", [&] { store.append("key8", "1234"); }},
        {"append to a large value", [&] { store.append("key6", "1234"); }},
        {"append that moves the value", [&] { store.append("key8", random.bytes(1000)); }},
        {"an expiry comes", [&] { store.set("key10", "x", 7000); }},
        {"an expiry goes", [&] { store.set("key10", "x"); }},
        {"erase", [&] { store.erase("key14"); }},
        {"erase a large one", [&] { store.erase("key18"); }},
        {"free a large one", [&] { store->free_some(1); }},
        {"expire", [&] { store->expire_some(5000, 10000); }},
        {"free more", [&] { store->free_some(100); }},
        {"a split that doubles the directory", [&] { store->split(0, store->place_of("key3")); }},
        {"another", [&] { store->split(0, store->place_of("key3")); }},
        {"a split", [&] { store->split(0, {~store->place_of("key3").hash}); }},
        {"room for many keys", [&] { store->make_room(0, places); }},
        {"many keys", [&] {
             store.operation([&] {
                 for (size_t i = 0; i < names.size(); ++i)
                     if (store->put(0, names[i], places[i], md::Value::of(many, md::kNoExpiry)) != md::Store::Put::done) return false;
                 return true;
             });
         }},
        {"clear", [&] { store.clear(); }},
        {"free a part of what was cleared", [&] { store->free_some(200); }},
        {"free another part", [&] { store->free_some(1000); }},
        {"a key after clear", [&] { store.set("key5", "five"); }},
        {"a reply", [&] {
             const md::ReplyPart parts[2] = {{"head", 0, 0}, {random.bytes(40000), 0, 0}};
             store.operation([&] { return store->add_record(3, parts) != 0; });
         }},
        {"a reply is released", [&] { store.operation([&] { return store->release_record(3, store->channel(3).records); }); }},
        {"a channel is reset", [&] { store.operation([&] { store->reset_channel(3, 9); return true; }); }},
    };
    std::string several;
    for (const auto& [name, operation] : operations) {
        CAPTURE(name);
        const Contents contents_before = contents_of(store);
        const TestMemory::Image before = store.space.image();
        const uint64_t number_before = store.root().number;
        operation();
        REQUIRE(store.root().number > number_before);
        CHECK(store.faults() == "");
        const TestMemory::Image after = store.space.image();
        const Contents contents_after = contents_of(store);
        if (store.root().number != number_before + 1) {  // several commits; nothing to compare the state between with
            several += name + "; ";
            continue;
        }
        const List list(store.memory());
        const auto words = words_of(store, before, list);
        Rewind rewind(store, words);

        rewind.to_before_commit();
        store.open();
        CHECK_FALSE(store->recovered());
        CHECK(store.faults() == "");
        CHECK(contents_of(store) == contents_before);
        for (unsigned share = 0; share <= 4; share += 2) {
            CAPTURE(share);
            store.space.restore(after);
            rewind.to_committed(random, share);
            if (share == 2) {  // and the one that recovers dies as well
                store.open();
                rewind.to_committed(random, 3);
            }
            store.open();
            CHECK(store->recovered());
            CHECK(store.space.image() == after);
            CHECK(contents_of(store) == contents_after);
        }
        store.space.restore(after);
        store.open();
    }
    CHECK(several == "a split that doubles the directory; another; room for many keys; a key after clear; ");
}
