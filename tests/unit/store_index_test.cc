// The index: keys are found after every split, move and deeper directory; there is always a slot once room was made.
#include "md/index.h"

#include <set>
#include <string>
#include <vector>

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

/// An index whose items are chunks that hold nothing but their hash, so that a test says where each key goes.
struct Fixture {
    explicit Fixture(uint64_t pages = TestMemory::kPagesDefault) : store(pages) {}

    uint64_t hash_of(uint64_t reference) const { return store.memory().load(reference + 8); }
    bool make_room(uint64_t hash) {
        return index.make_room(0, {hash}, [this](uint64_t item) { return hash_of(item); });
    }
    bool split(uint64_t hash) {
        return index.split(0, {hash}, [this](uint64_t item) { return hash_of(item); });
    }
    /// Inserts without making room; false and nothing has happened when there is no slot.
    bool insert_only(uint64_t hash, bool expires = false) {
        const uint64_t item = allocator.allocate(16);
        set.write(item, 0);
        store.memory().store(item + 8, hash);
        if (!index.insert(0, {hash}, item, expires)) {
            set.clear();
            allocator.abandon();
            return false;
        }
        set.add(&store.root().databases[0].keys, 1);
        commit();
        return true;
    }
    bool insert(uint64_t hash) { return make_room(hash) && insert_only(hash); }
    void erase(uint64_t hash) {
        const auto found = find(hash);
        REQUIRE(found.has_value());
        index.erase(*found);
        allocator.free(found->content.reference);
        set.add(&store.root().databases[0].keys, 0 - uint64_t{1});
        commit();
    }
    std::optional<md::FoundSlot> find(uint64_t hash) const {
        return index.find(0, {hash}, [&](uint64_t item) { return hash_of(item) == hash; });
    }
    void commit() {
        allocator.settle();
        REQUIRE(committer.reserve(set));
        committer.commit(set);
    }
    bool all_found(const std::set<uint64_t>& hashes) const {
        for (const uint64_t hash : hashes)
            if (!find(hash)) return false;
        return true;
    }
    unsigned depth() const { return index.route_of(0).depth; }
    uint64_t segments() {
        std::set<uint64_t> names;
        for (uint64_t entry = 0; entry < 1ull << depth(); ++entry) names.insert(index.segment_at(index.route_of(0), entry));
        return names.size();
    }
    /// What is wrong with the directory and its segments. (check_store() wants items with keys; store_test has those.)
    std::string faults() const {
        const st::Route route = index.route_of(0);
        uint64_t keys = 0;
        std::set<uint64_t> seen;
        for (uint64_t entry = 0; entry < 1ull << route.depth;) {
            const uint64_t segment = index.segment_at(route, entry);
            const unsigned depth = index.depth_of_segment(segment);
            if (!seen.insert(segment).second || depth > route.depth) return "a segment in two places";
            const uint64_t span = 1ull << (route.depth - depth);
            if (entry % span != 0) return "a segment that begins in the middle";
            for (uint64_t i = 0; i < span; ++i)
                if (index.segment_at(route, entry + i) != segment) return "an entry that names another segment";
            keys += index.keys_in_segment(0, {route.depth == 0 ? 0 : entry << (64 - route.depth)});
            entry += span;
        }
        return keys == store.root().databases[0].keys ? "" : "a key that is lost";
    }

    TestStore store;
    md::WriteSet set{store.memory()};
    md::Committer committer{store.memory()};
    md::Allocator allocator{store.memory(), set};
    md::Index index{store.memory(), set, allocator, committer};
};

/// A hash with this bucket, tag and first bits; `more` tells keys apart that have the same.
constexpr uint64_t hash_with(unsigned bucket, unsigned tag, uint64_t top = 0, unsigned top_bits = 1, uint64_t more = 0) {
    return top << (64 - top_bits) | more << 16 | uint64_t{tag} << 8 | bucket;
}
uint64_t random_hash(Random& random) { return random.below(~uint64_t{0}); }

}  // namespace

TEST_CASE("index: a database that was never used has nothing and no room") {
    Fixture fixture;
    CHECK_FALSE(fixture.find(1).has_value());
    CHECK_FALSE(fixture.insert_only(1));
    CHECK(fixture.index.segment_of(0, {1}) == 0);
    CHECK(fixture.index.keys_in_segment(0, {1}) == 0);
    fixture.index.prefetch(0, {1});
    CHECK(fixture.make_room(1));
    CHECK(fixture.insert_only(1));
    CHECK(fixture.index.keys_in_segment(0, {1}) == 1);
    CHECK(fixture.depth() == 0);
    CHECK(fixture.faults() == "");
}

TEST_CASE("index: what a slot says comes back, and replace and erase change it") {
    Fixture fixture;
    REQUIRE(fixture.make_room(77));
    REQUIRE(fixture.insert_only(77, true));
    md::FoundSlot found = fixture.find(77).value();
    CHECK(found.content.expires);
    CHECK(found.content.tag == st::KeyPlace{77}.tag());
    const uint64_t item = found.content.reference;
    fixture.index.replace(found, item, false);
    CHECK_FALSE(fixture.find(77)->content.expires);
    CHECK(fixture.find(77)->content.reference == item);
    fixture.commit();
    found = fixture.find(77).value();
    CHECK_FALSE(found.content.expires);
    fixture.index.erase(found);
    CHECK_FALSE(fixture.find(77).has_value());
}

TEST_CASE("index: keys with the same tag and bucket are told apart by the item") {
    Fixture fixture;
    std::set<uint64_t> hashes;
    for (uint64_t more = 0; more < 2 * st::kSlots; ++more) {
        hashes.insert(hash_with(5, 9, 0, 1, more));
        REQUIRE(fixture.make_room(*hashes.rbegin()));
        REQUIRE(fixture.insert_only(hash_with(5, 9, 0, 1, more)));
    }
    CHECK(fixture.depth() == 0);
    CHECK(fixture.all_found(hashes));
    CHECK_FALSE(fixture.find(hash_with(5, 9, 0, 1, 1000)).has_value());
}

TEST_CASE("index: a key goes to its first bucket, to its second, to that of one that moves, and else there is no slot") {
    Fixture fixture;
    const unsigned first = 10, tag = 3;
    const unsigned second = st::KeyPlace::other_bucket(first, tag);
    const auto bucket_of = [&](uint64_t hash) { return static_cast<unsigned>(fixture.find(hash)->bucket_at / st::kBucketBytes % st::kBuckets); };
    std::set<uint64_t> hashes;
    REQUIRE(fixture.make_room(0));
    for (uint64_t more = 0; more < 2 * st::kSlots; ++more) {
        const uint64_t hash = hash_with(first, tag, 0, 1, more);
        REQUIRE(fixture.insert_only(hash));
        hashes.insert(hash);
        CHECK(bucket_of(hash) == (more < st::kSlots ? first : second));
    }
    // Both are full of keys that could only change places with each other.
    CHECK_FALSE(fixture.insert_only(hash_with(first, tag, 0, 1, 100)));
    CHECK(fixture.all_found(hashes));
    // One that may go elsewhere takes the place of one of them, and moves when it is needed.
    fixture.erase(hash_with(first, tag, 0, 1, 4));
    hashes.erase(hash_with(first, tag, 0, 1, 4));
    unsigned other_tag = 0;
    while (st::KeyPlace::other_bucket(first, static_cast<uint8_t>(other_tag)) == second) ++other_tag;
    const uint64_t mover = hash_with(first, other_tag);
    REQUIRE(fixture.insert_only(mover));
    CHECK(bucket_of(mover) == first);
    const uint64_t version = fixture.store.memory().load(fixture.find(mover)->bucket_at);
    REQUIRE(fixture.insert_only(hash_with(first, tag, 0, 1, 100)));
    CHECK(bucket_of(mover) == st::KeyPlace::other_bucket(first, static_cast<uint8_t>(other_tag)));
    CHECK(bucket_of(hash_with(first, tag, 0, 1, 100)) == first);
    hashes.insert({mover, hash_with(first, tag, 0, 1, 100)});
    CHECK(fixture.all_found(hashes));
    for (const uint64_t hash : {mover, hash_with(first, tag, 0, 1, 100)})  // T3: both buckets' readers are told
        CHECK(fixture.store.memory().load(fixture.find(hash)->bucket_at) > version);
    CHECK(fixture.faults() == "");
}

TEST_CASE("index: every key is found after every split, while the directory grows to depth 7") {
    Random random;
    INFO("SEED=" << random.seed);
    Fixture fixture;
    std::set<uint64_t> hashes;
    unsigned depth = 0;
    for (uint64_t splits = 0; fixture.depth() < 7;) {
        const uint64_t hash = random_hash(random);
        const uint64_t number = fixture.store.root().number;
        REQUIRE(fixture.insert(hash));
        hashes.insert(hash);
        if (fixture.store.root().number == number + 1) continue;
        ++splits;
        REQUIRE(fixture.all_found(hashes));
        if (fixture.depth() == depth) continue;
        depth = fixture.depth();
        REQUIRE(fixture.faults() == "");
    }
    CHECK(fixture.store.root().databases[0].keys == hashes.size());
    for (int i = 0; i < 1000; ++i) {
        const uint64_t hash = random_hash(random);
        REQUIRE(fixture.find(hash).has_value() == hashes.contains(hash));
    }
}

TEST_CASE("index: without make_room there is no slot at some time, with it there always is") {
    Random random;
    INFO("SEED=" << random.seed);
    Fixture fixture;
    REQUIRE(fixture.make_room(0));
    std::set<uint64_t> hashes;
    unsigned refused = 0;
    for (int i = 0; i < 2 * static_cast<int>(st::kBuckets * st::kSlots); ++i) {
        const uint64_t hash = random_hash(random);
        if (fixture.insert_only(hash)) hashes.insert(hash);
        else ++refused;
    }
    CHECK(refused > 0);
    CHECK(fixture.depth() == 0);
    CHECK(hashes.size() > st::kBuckets * st::kSlots * 8 / 10);
    CHECK(fixture.index.keys_in_segment(0, {0}) == hashes.size());
    CHECK(fixture.all_found(hashes));
    for (int i = 0; i < 20000; ++i) {
        const uint64_t hash = random_hash(random);
        REQUIRE(fixture.make_room(hash));
        REQUIRE(fixture.insert_only(hash));
        hashes.insert(hash);
    }
    CHECK(fixture.all_found(hashes));
    CHECK(fixture.faults() == "");
}

TEST_CASE("index: one segment splits, the others stay as they are, and the entries of a shallow one all name it") {
    Fixture fixture;
    const uint64_t low = 0, high = ~uint64_t{0};
    REQUIRE(fixture.make_room(0));
    for (int i = 0; i < 6; ++i) REQUIRE(fixture.split(low));
    CHECK(fixture.depth() == 6);
    CHECK(fixture.segments() == 7);
    CHECK(fixture.index.depth_of_segment(fixture.index.segment_of(0, {low})) == 6);
    CHECK(fixture.index.depth_of_segment(fixture.index.segment_of(0, {high})) == 1);
    const uint64_t untouched = fixture.index.segment_of(0, {low});
    REQUIRE(fixture.split(high));
    CHECK(fixture.depth() == 6);
    CHECK(fixture.segments() == 8);
    CHECK(fixture.index.segment_of(0, {low}) == untouched);
    CHECK(fixture.index.segment_of(0, {high}) != fixture.index.segment_of(0, {uint64_t{2} << 62}));
    CHECK(fixture.faults() == "");
}

TEST_CASE("index T3: readers of a split segment's buckets are told, and the new segments are as young as the commit") {
    Fixture fixture;
    REQUIRE(fixture.insert(1));
    const uint64_t old = fixture.index.segment_of(0, {1});
    std::vector<uint64_t> before;
    for (unsigned bucket = 0; bucket < st::kBuckets; ++bucket) before.push_back(fixture.store.memory().load(old + bucket * st::kBucketBytes));
    REQUIRE(fixture.split(1));
    const uint64_t number = fixture.store.root().number;
    for (unsigned bucket = 0; bucket < st::kBuckets; ++bucket) {
        CHECK(fixture.store.memory().load(old + bucket * st::kBucketBytes) == 2 * number);
        CHECK(before[bucket] < 2 * number);
        CHECK(fixture.store.memory().load(fixture.index.segment_of(0, {1}) + bucket * st::kBucketBytes) == 2 * number);
    }
}

TEST_CASE("index: keys that differ only in late bits make the directory deep, and all are found") {
    Fixture fixture;
    std::set<uint64_t> hashes;
    // 19 keys of one bucket and tag cannot share a segment: they differ in bits 40 and below from the top.
    for (uint64_t more = 0; more < 2 * st::kSlots; ++more) hashes.insert(hash_with(1, 1, more, 12));
    for (const uint64_t hash : hashes) REQUIRE(fixture.insert(hash));
    CHECK(fixture.depth() == 0);
    hashes.insert(hash_with(1, 1, 2 * st::kSlots, 12));
    REQUIRE(fixture.insert(*hashes.rbegin()));
    CHECK(fixture.depth() == 8);  // 18 = 000000010010 is told from the first 16 by its eighth bit
    CHECK(fixture.all_found(hashes));
    CHECK(fixture.faults() == "");
}

TEST_CASE("index: directories of every depth up to the largest chunk, a page, and tables of pages") {
    Fixture fixture;
    std::set<uint64_t> hashes{1, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 50};
    for (const uint64_t hash : hashes) REQUIRE(fixture.insert(hash));
    for (unsigned depth = 1; depth <= st::kDirectoryChunkDepthMax + 2; ++depth) {
        CAPTURE(depth);
        REQUIRE(fixture.split(1));
        REQUIRE(fixture.depth() == depth);
        REQUIRE(fixture.all_found(hashes));
        REQUIRE(fixture.faults() == "");
    }
    REQUIRE(fixture.split(~uint64_t{0}));  // half of all entries get other names: a list of many pages
    CHECK(fixture.all_found(hashes));
    CHECK(fixture.faults() == "");
}

TEST_CASE("index: a deep directory grows a page at a time, wherever segments are split, and all keys are found") {
    Random random;
    INFO("SEED=" << random.seed);
    Fixture fixture;
    std::set<uint64_t> hashes;
    for (int i = 0; i < 200; ++i) hashes.insert(random_hash(random));
    for (const uint64_t hash : hashes) REQUIRE(fixture.insert(hash));
    const uint64_t targets[] = {random_hash(random), random_hash(random), random_hash(random)};
    for (const uint64_t target : targets)
        while (fixture.index.depth_of_segment(fixture.index.segment_of(0, {target})) < st::kDirectoryChunkDepthMax + 3) {
            const uint64_t used = fixture.store.root().used_bytes;
            const unsigned depth = fixture.depth();
            REQUIRE(fixture.split(target));
            // A table of up to eight entries, one page more and two segments at most, where the whole directory was written before.
            if (depth > st::kDirectoryChunkDepthMax)
                REQUIRE(fixture.store.root().used_bytes - used <= st::kPageBytes + 2 * st::kIndexSegmentBytes + 64);
            REQUIRE(fixture.all_found(hashes));
            REQUIRE(fixture.faults() == "");
        }
    CHECK(fixture.depth() == st::kDirectoryChunkDepthMax + 3);
    const uint64_t with_directory = fixture.store.root().used_bytes;
    fixture.index.free_directory(fixture.index.route_of(0));
    fixture.commit();
    CHECK(with_directory - fixture.store.root().used_bytes >= 3 * st::kPageBytes);
    CHECK(with_directory - fixture.store.root().used_bytes <= 10 * st::kPageBytes);  // eight, had all been split
}

TEST_CASE("index: a split without memory has not happened") {
    for (const unsigned splits : {0u, 1u, 5u, 13u, 14u, 15u}) {
        CAPTURE(splits);
        Fixture fixture;
        std::set<uint64_t> hashes;
        for (uint64_t i = 0; i < 100; ++i) hashes.insert(i << 57 | i * 37 % 64);
        for (const uint64_t hash : hashes) REQUIRE(fixture.insert(hash));
        for (unsigned i = 0; i < splits; ++i) REQUIRE(fixture.split(0));
        while (fixture.allocator.allocate(st::kPageBytes) != 0) {  // all that is left of the segment
            fixture.store.space.calls_left = 0;
            fixture.commit();
        }
        fixture.store.space.calls_left = 0;
        bool failed = false;
        for (int i = 0; i < 20 && !failed; ++i) failed = !fixture.split(0);
        CHECK(failed);
        CHECK(fixture.set.empty());
        CHECK(fixture.all_found(hashes));
        CHECK(fixture.faults() == "");
        fixture.store.space.calls_left = TestMemory::kUnlimited;
        CHECK(fixture.split(0));
        CHECK(fixture.all_found(hashes));
        CHECK(fixture.faults() == "");
    }
}

TEST_CASE("index: 16 databases share nothing") {
    TestStore store;
    for (unsigned database = 0; database < st::kDatabases; ++database)
        for (int i = 0; i < 30; ++i) REQUIRE(store.set("key" + std::to_string(i), std::to_string(database), md::kNoExpiry, database));
    for (unsigned database = 0; database < st::kDatabases; ++database) {
        CHECK(store->keys(database) == 30);
        for (int i = 0; i < 30; ++i) REQUIRE(store.get("key" + std::to_string(i), database) == std::to_string(database));
    }
    CHECK(store.erase("key3", 7));
    CHECK(store.get("key3", 6) == "6");
    CHECK(store.faults() == "");
}

TEST_CASE("make_room: the same key many times in one operation needs no more room than once") {
    TestStore store;
    const std::vector<st::KeyPlace> places(5000, store->place_of("again and again"));
    CHECK(store->make_room(0, places));
    CHECK(md::check_store(store.memory()).index_segments == 1);
    REQUIRE(store.operation([&] {
        for (const st::KeyPlace place : places)
            if (store->put(0, "again and again", place, md::Value::of("v", md::kNoExpiry)) != md::Store::Put::done) return false;
        return true;
    }));
    CHECK(store->keys(0) == 1);
    CHECK(store.faults() == "");
}

TEST_CASE("make_room: thousands of keys of one operation find their slots") {
    for (const int keys : {1, 16, 17, 400, 10000}) {
        CAPTURE(keys);
        TestStore store;
        std::vector<std::string> names;
        std::vector<st::KeyPlace> places;
        for (int i = 0; i < keys; ++i) {
            names.push_back("name" + std::to_string(i));
            places.push_back(store->place_of(names.back()));
        }
        REQUIRE(store->make_room(3, places));
        int attempts = 1;
        for (size_t i = 0; i < names.size(); ++i) {
            if (store->put(3, names[i], places[i], md::Value::of("v", md::kNoExpiry)) != md::Store::Put::no_slot) continue;
            store->abandon();  // bad luck: two buckets meet too often
            REQUIRE(store->split(3, places[i]));
            i = 0;
            ++attempts;
        }
        REQUIRE(store->commit());
        CHECK(attempts < 3);
        CHECK(store->keys(3) >= static_cast<uint64_t>(keys) - (attempts > 1));
        CHECK(store.faults() == "");
    }
}
