// Marks: what they say of time and frequency, and that they have memory exactly where a reader may write them (M1 to M3 of common/marks.h).
#include "common/marks.h"

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

constexpr uint32_t kSecond = MarkRules::kTicksPerSecond;
constexpr uint32_t kMinute = 60 * kSecond;
constexpr uint32_t kNever = ~0u;  ///< as a random number: the counter rises only if it is sure to

MarkRules lfu(uint32_t factor = 10, uint32_t decay = 1) { return {MarkKind::lfu, factor, decay}; }
constexpr MarkRules kLru{MarkKind::lru, 10, 1};

/// Pages of index segments that are in use by the store, as its descriptors say.
std::vector<uint64_t> index_pages(const TestStore& store) {
    std::vector<uint64_t> pages;
    for (uint64_t page = 1; page < store.root().frontier; ++page) {
        const auto state = st::PageState::from(store.memory().load(st::descriptor_at(page)));
        if (state.kind == st::PageKind::slab && state.size_class == st::kIndexClass) pages.push_back(page);
    }
    return pages;
}

/// What breaks M2: of index pages one without marks; of the others, one with them.
std::string misplaced(const TestStore& store) {
    std::string text;
    const std::vector<uint64_t> indexes = index_pages(store);
    for (uint64_t page = 1; page < store.root().frontier; ++page) {
        const bool is_index = std::ranges::find(indexes, page) != indexes.end();
        if (store.marks.has_page(page) != is_index) text += (is_index ? "missing " : "left ") + std::to_string(page) + "\n";
    }
    return text;
}

void fill(TestStore& store, unsigned from, unsigned to, unsigned database = 0) {
    for (unsigned i = from; i < to; ++i) REQUIRE(store.set("key" + std::to_string(i), "value", md::kNoExpiry, database));
}

}  // namespace

TEST_CASE("marks: LRU knows when a key was used, and whether after it was put in") {
    const uint32_t mark = kLru.fresh(1000);
    CHECK(kLru.idle(mark, 1000) == 0);
    CHECK(kLru.idle(mark, 1000 + 7 * kSecond) == 7 * kSecond);
    CHECK_FALSE(MarkRules::used_again(mark));
    const uint32_t used = kLru.used(mark, 2000, 0);
    CHECK(kLru.idle(used, 2000) == 0);
    CHECK(kLru.idle(used, 2500) == 500);
    CHECK(MarkRules::used_again(used));
    // The clock comes round after a year.
    const uint32_t before = 0x7fffff00;
    CHECK(kLru.idle(kLru.fresh(before), before + 0x200) == 0x200);
    CHECK(kLru.idle(kLru.used(0, 0xffffff00u, 0), 0xffffff00u + 0x300) == 0x300);
}

TEST_CASE("marks: the LFU counter rises by chance and falls with time") {
    const uint32_t mark = lfu().fresh(1000);
    CHECK(lfu().frequency(mark, 1000) == MarkRules::kLfuFirst);
    CHECK(lfu().frequency(lfu().used(mark, 1000, kNever), 1000) == 6);  // up to the first counter every use counts
    const uint32_t six = lfu().used(mark, 1000, 0);
    CHECK(lfu().frequency(six, 1000) == 6);
    CHECK(lfu().frequency(lfu().used(six, 1000, kNever), 1000) == 6);  // 1 of 11
    CHECK(lfu().frequency(lfu().used(six, 1000, ~0u / 12), 1000) == 7);
    CHECK(lfu().frequency(six, 1000 + 2 * kMinute) == 4);
    CHECK(lfu().frequency(six, 1000 + 100 * kMinute) == 0);
    CHECK(lfu(10, 0).frequency(six, 1000 + 100 * kMinute) == 6);
    CHECK(lfu(10, 3).frequency(six, 1000 + 7 * kMinute) == 4);
    CHECK(lfu().idle(six, 1000 + kMinute) >= kMinute - MarkRules::kTicksPerLfuTick);
    CHECK(lfu().idle(six, 1000 + kMinute) <= kMinute + MarkRules::kTicksPerLfuTick);
    uint32_t full = mark;
    for (unsigned i = 0; i < 300; ++i) full = lfu().used(full, 1000, 0);
    CHECK(lfu().frequency(full, 1000) == MarkRules::kLfuMax);
    const uint32_t late = 0x0fffff00;  // 24 bits of time come round
    CHECK(lfu().frequency(lfu().fresh(late), late + 0x200) == MarkRules::kLfuFirst);
}

TEST_CASE("marks: the LFU counter counts as Redis documents it") {
    // Its configuration file has a table: with a factor of 10, 100 uses give about 10, 1000 about 18, 100k about 142.
    struct { unsigned uses; uint32_t lowest, highest; } rows[] = {{100, 8, 13}, {1000, 15, 23}, {100'000, 125, 160}, {10'000'000, 255, 255}};
    for (const auto& row : rows) {
        MarkDice dice(17);
        uint32_t mark = lfu().fresh(0);
        for (unsigned i = 0; i < row.uses; ++i) mark = lfu().used(mark, 0, dice.next_half());
        CAPTURE(row.uses);
        CHECK(lfu().frequency(mark, 0) >= row.lowest);
        CHECK(lfu().frequency(mark, 0) <= row.highest);
    }
}

TEST_CASE("marks: without a policy that needs them nothing of them has memory") {
    TestStore store;
    fill(store, 0, 5000);
    store.tend_marks();
    store.set_policy(EvictionPolicy::allkeys_random);
    store.set_policy(EvictionPolicy::volatile_ttl);
    CHECK(store.marks.space.calls == 0);
    CHECK(store.marks.space.backed_bytes() == 0);
    CHECK_FALSE(store->mark_of(0, "key1", store->place_of("key1")));
}

TEST_CASE("marks M2: index pages have marks, and no others, whatever the store does") {
    TestStore store;
    fill(store, 0, 2000);
    store.set_policy(EvictionPolicy::allkeys_lru);
    REQUIRE(store->marks().kept() == MarkKind::lru);
    CHECK(index_pages(store).size() > 0);
    CHECK(misplaced(store) == "");
    fill(store, 2000, 30'000);
    CHECK(misplaced(store) == "");
    store.clear();
    store.collect();
    store->set_free_pages_kept(0);
    while (store->give_back_some(4)) {}
    CHECK(misplaced(store) == "");
    fill(store, 0, 10'000, 3);
    CHECK(misplaced(store) == "");
    CHECK(store.faults() == "");
    store.set_policy(EvictionPolicy::noeviction);
    CHECK(store->marks().kept() == MarkKind::none);
    CHECK(store.marks.space.backed_bytes() == 0);
}

TEST_CASE("marks M2: another kind begins with fresh marks") {
    TestStore store;
    store.set_policy(EvictionPolicy::allkeys_lru);
    fill(store, 0, 1000);
    store.set_policy(EvictionPolicy::allkeys_lfu);
    REQUIRE(store->marks().kept() == MarkKind::lfu);
    const md::Marks& marks = store->marks();
    for (const char* key : {"key0", "key999"}) {
        const auto mark = store->mark_of(0, key, store->place_of(key));
        REQUIRE(mark);
        CHECK(marks.rules().frequency(*mark, marks.now()) == MarkRules::kLfuFirst);
    }
    CHECK(misplaced(store) == "");
}

TEST_CASE("marks M3: memory of marks that are not kept any more waits for readers") {
    TestStore store;
    auto roster = std::make_unique<Roster>();
    store->set_readers(md::Readers(*roster));
    fill(store, 0, 1000);
    store.set_policy(EvictionPolicy::allkeys_lru);
    roster->lines[3].pid = static_cast<uint32_t>(getpid());
    roster->lines[3].reading = store.root().number;
    store.set_policy(EvictionPolicy::noeviction);
    CHECK(store.root().marks_kept == 0);
    CHECK(store->marks_wait());
    CHECK(misplaced(store) == "");
    roster->lines[3].reading = store.root().number;  // it has begun anew, and knows that none are kept
    store.tend_marks();
    CHECK_FALSE(store->marks_wait());
    CHECK(store.marks.space.backed_bytes() == 0);
}

TEST_CASE("marks: whoever takes the store over goes on, wherever the one before has stopped") {
    for (unsigned steps = 0; steps < 12; ++steps) {
        CAPTURE(steps);
        TestStore store;
        fill(store, 0, 3000);
        store.configure(OptionId::maxmemory_policy, static_cast<int64_t>(EvictionPolicy::volatile_lru));
        for (unsigned i = 0; i < steps; ++i) store->tend_marks(1);
        store.open();
        fill(store, 3000, 3500);
        store.tend_marks();
        REQUIRE(store->marks().kept() == MarkKind::lru);
        CHECK(misplaced(store) == "");
        for (unsigned i = 0; i < steps; ++i) store->tend_marks(1);
        store.configure(OptionId::maxmemory_policy, static_cast<int64_t>(EvictionPolicy::noeviction));
        for (unsigned i = 0; i < steps; ++i) store->tend_marks(1);
        store.open();
        store.tend_marks();
        CHECK(store.marks.space.backed_bytes() == 0);
    }
}

TEST_CASE("marks: without memory for them keys are refused, and all is well once there is some") {
    TestStore store;
    store.set_policy(EvictionPolicy::allkeys_lru);
    store.marks.space.calls_left = 1;
    unsigned keys = 0;
    while (store.set("key" + std::to_string(keys), "value")) ++keys;
    CHECK(keys > 1000);
    CHECK(store.faults() == "");
    CHECK(misplaced(store) == "");
    store.marks.space.calls_left = TestMemory::kUnlimited;
    fill(store, keys, keys + 5000);
    CHECK(store.faults() == "");
    CHECK(misplaced(store) == "");
}

TEST_CASE("marks: a policy that there is no memory for waits for it") {
    TestStore store;
    fill(store, 0, 20'000);
    store.marks.space.calls_left = 1;
    store.set_policy(EvictionPolicy::allkeys_lru);
    CHECK(store->marks().kept() == MarkKind::none);
    CHECK(store->marks_wait());
    store.marks.space.calls_left = TestMemory::kUnlimited;
    store.tend_marks();
    CHECK(store->marks().kept() == MarkKind::lru);
    CHECK(misplaced(store) == "");
}

TEST_CASE("marks: a key's mark goes with it when the index moves it") {
    TestStore store;
    store.set_policy(EvictionPolicy::allkeys_lru);
    store.set("old", "value");
    store->find_and_use(0, "old", store->place_of("old"));
    const auto mark = [&] { return store->mark_of(0, "old", store->place_of("old")).value(); };
    const uint32_t before = mark();
    REQUIRE(MarkRules::used_again(before));
    const uint64_t splits = store->splits();
    fill(store, 0, 20'000);
    CHECK(store->splits() > splits);
    CHECK(mark() == before);
    store.set("old", "another value, which is longer");
    CHECK(MarkRules::used_again(mark()));
}

TEST_CASE("marks M2: as long as marks are kept new index pages have them, whatever is wanted meanwhile") {
    TestStore store;
    store.set_policy(EvictionPolicy::allkeys_lru);
    store.configure(OptionId::maxmemory_policy, static_cast<int64_t>(EvictionPolicy::noeviction));
    REQUIRE(store->marks().kept() == MarkKind::lru);  // nobody has tended them yet
    fill(store, 0, 20'000);
    CHECK(misplaced(store) == "");
    store.configure(OptionId::maxmemory_policy, static_cast<int64_t>(EvictionPolicy::allkeys_lfu));
    fill(store, 20'000, 30'000);
    CHECK(misplaced(store) == "");
    store.tend_marks();
    CHECK(store->marks().kept() == MarkKind::lfu);
    CHECK(misplaced(store) == "");
}

TEST_CASE("marks M2: whoever finds kept marks without memory, and has none for them, keeps none until there is some") {
    TestStore store;
    store.set_policy(EvictionPolicy::allkeys_lru);
    fill(store, 0, 20'000);
    for (const uint64_t page : index_pages(store)) store->marks().give_page(page);  // what no md does
    store.marks.space.calls_left = 0;
    store.open();
    store.tend_marks();
    CHECK(store->marks().kept() == MarkKind::none);
    store.set("key1", "used");
    store.marks.space.calls_left = TestMemory::kUnlimited;
    store.tend_marks();
    CHECK(store->marks().kept() == MarkKind::lru);
    CHECK(misplaced(store) == "");
}
