// The write set: reads see what was written, memory does not; few words and thousands of them.
#include "md/write_set.h"

#include <map>

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

/// Words of memory, each with its own offset as content.
struct Words {
    explicit Words(uint64_t count) : space(16) {
        space.prepare(0, round_up(count * 8, st::kPageBytes));
        for (uint64_t at = 0; at < count * 8; at += 8) memory.store(at, content(at));
    }
    static uint64_t content(uint64_t at) { return at + 1; }

    TestMemory space;
    md::StoreMemory memory = space.view();
    md::WriteSet set{memory};
};

}  // namespace

TEST_CASE("write set: a read sees what was written, the memory stays as it was") {
    Words words(100);
    CHECK(words.set.empty());
    words.set.write(80, 7);
    CHECK_FALSE(words.set.empty());
    CHECK(words.set.read(80) == 7);
    CHECK(words.set.read(88) == Words::content(88));
    CHECK(words.memory.load(80) == Words::content(80));
    words.set.write(80, 8);
    CHECK(words.set.read(80) == 8);
    CHECK(words.set.words().size() == 1);
    words.set.clear();
    CHECK(words.set.empty());
    CHECK(words.set.read(80) == Words::content(80));
}

TEST_CASE("write set: add counts from what was written, up and down") {
    Words words(10);
    const uint64_t* word = words.memory.as<uint64_t>(16);
    words.set.add(word, 5);
    words.set.add(word, 0 - uint64_t{7});
    CHECK(words.set.read(word) == Words::content(16) - 2);
    CHECK(words.memory.load(16) == Words::content(16));
    CHECK(words.set.words().size() == 1);
}

TEST_CASE("write set: each word is in the list once, with its last value, in the order of the first writes") {
    for (const uint64_t count : {1, 2, 23, 24, 25, 26, 32, 33, 64, 65, 127, 128, 129, 600, 5000}) {
        CAPTURE(count);
        Words words(count + 1);
        for (int round = 0; round < 2; ++round) {
            for (uint64_t i = 0; i < count; ++i) words.set.write(i * 8, i);
            for (uint64_t i = 0; i < count; ++i) words.set.write(i * 8, i + 1000000);
            REQUIRE(words.set.words().size() == count);
            bool same = true;
            for (uint64_t i = 0; i < count; ++i)
                same = same && words.set.read(i * 8) == i + 1000000 && words.set.words()[i].offset == i * 8 &&
                       words.set.words()[i].value == i + 1000000;
            CHECK(same);
            CHECK(words.set.read(count * 8) == Words::content(count * 8));
            words.set.clear();  // and once more with a set that was large
        }
    }
}

TEST_CASE("write set: random reads and writes are those of a map") {
    Random random;
    INFO("SEED=" << random.seed);
    constexpr uint64_t kWords = 20000;
    Words words(kWords);
    for (const uint64_t operations : {10, 24, 30, 100, 1000, 20000}) {
        CAPTURE(operations);
        std::map<uint64_t, uint64_t> oracle;
        for (uint64_t i = 0; i < operations; ++i) {
            const uint64_t at = random.below(random.below(2) == 0 ? kWords : 40) * 8;
            if (random.below(2) == 0) {
                words.set.write(at, i);
                oracle[at] = i;
            } else {
                REQUIRE(words.set.read(at) == (oracle.contains(at) ? oracle[at] : Words::content(at)));
            }
        }
        REQUIRE(words.set.words().size() == oracle.size());
        for (const auto& [offset, value] : words.set.words()) REQUIRE(oracle.at(offset) == value);
        words.set.clear();
    }
}

TEST_CASE("write set: a bucket is read as it will be; only words that change are listed, and the bucket once") {
    Words words(64);
    st::Bucket bucket = words.set.read_bucket(128);
    CHECK(bucket.version() == Words::content(128));
    const uint64_t before = bucket.slot_bits(4);
    bucket.set_slot_bits(4, before ^ 0xffffffffffff);
    words.set.write_bucket(128, bucket);
    CHECK(words.set.words().size() <= 2);
    CHECK(words.set.buckets() == std::vector<uint64_t>{128});
    CHECK(words.set.read_bucket(128).slot_bits(4) == (before ^ 0xffffffffffff));
    CHECK(words.set.read_bucket(128).slot_bits(3) == words.memory.as<st::Bucket>(128)->slot_bits(3));
    CHECK(words.memory.as<st::Bucket>(128)->slot_bits(4) == before);
    words.set.write_bucket(128, bucket);
    CHECK(words.set.buckets().size() == 1);
}

TEST_CASE("write set T3: a version is never among the words") {
    Words words(64);
    st::Bucket bucket = words.set.read_bucket(64);
    for (uint64_t& word : bucket.words) word = ~word;
    words.set.write_bucket(64, bucket);
    CHECK(words.set.words().size() == 7);
    for (const st::JournalEntry& word : words.set.words()) CHECK(word.offset > 64);
}

TEST_CASE("write set: a bucket that is only touched is an operation") {
    Words words(64);
    words.set.touch_bucket(192);
    words.set.touch_bucket(192);
    CHECK_FALSE(words.set.empty());
    CHECK(words.set.words().empty());
    CHECK(words.set.buckets().size() == 1);
}

TEST_CASE("bucket: each slot is its own six bytes") {
    Random random;
    INFO("SEED=" << random.seed);
    st::Bucket bucket{};
    bucket.words[0] = 77;
    bucket.words[7] = 0xabull << 48;  // the depth's byte
    std::vector<uint64_t> oracle(st::kSlots, 0);
    for (int i = 0; i < 1000; ++i) {
        const auto slot = static_cast<unsigned>(random.below(st::kSlots));
        oracle[slot] = random.engine() * uint64_t{0x9e3779b97f4a7c15} & st::Bucket::kSlotMask;
        bucket.set_slot_bits(slot, oracle[slot]);
        for (unsigned other = 0; other < st::kSlots; ++other) REQUIRE(bucket.slot_bits(other) == oracle[other]);
        REQUIRE(bucket.version() == 77);
        REQUIRE((bucket.words[7] >> 48) == 0xab);
    }
}

TEST_CASE("slot, route and page state survive being packed") {
    for (const uint64_t reference : {uint64_t{0}, uint64_t{8}, (uint64_t{1} << 42) - 8})
        for (const bool expires : {false, true})
            for (const uint8_t tag : {0, 1, 255}) {
                const st::Slot slot = st::Slot::from(st::Slot{tag, expires, reference}.bits());
                CHECK((slot.tag == tag && slot.expires == expires && slot.reference == reference));
            }
    const st::Route route = st::Route::from(st::Route{(uint64_t{1} << 40) - 16, 28}.word());
    CHECK((route.directory == (uint64_t{1} << 40) - 16 && route.depth == 28));
    const st::PageState state = st::PageState::from(st::PageState{st::PageKind::slab, 79, 4096, 4096, 4095}.word());
    CHECK((state.kind == st::PageKind::slab && state.size_class == 79 && state.used == 4096 && state.free_head == 4096 && state.bump == 4095));
}

TEST_CASE("key place: a slot can always move, and back again") {
    for (unsigned bucket = 0; bucket < st::kBuckets; ++bucket)
        for (unsigned tag = 0; tag < 256; ++tag) {
            const unsigned other = st::KeyPlace::other_bucket(bucket, static_cast<uint8_t>(tag));
            REQUIRE(other < st::kBuckets);
            REQUIRE(other != bucket);
            REQUIRE(st::KeyPlace::other_bucket(other, static_cast<uint8_t>(tag)) == bucket);
        }
}
