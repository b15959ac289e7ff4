// Eviction: which keys go under each policy, until when, and that the store is whole after it.
#include "md/evictor.h"

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::Evictor;

namespace {

constexpr uint64_t kLong = 60'000'000;  ///< microseconds: no test is to end by time

struct Fixture {
    explicit Fixture(EvictionPolicy policy) { store.set_policy(policy); }

    std::string key(unsigned i) const { return "key" + std::to_string(i); }
    void fill(unsigned from, unsigned to, int64_t expire_at_ms = md::kNoExpiry, unsigned database = 0) {
        for (unsigned i = from; i < to; ++i) REQUIRE(store.set(key(i), std::string(60, 'v'), expire_at_ms, database));
    }
    void use(unsigned from, unsigned to) {
        for (unsigned i = from; i < to; ++i) store->find_and_use(0, key(i), store->place_of(key(i)));
    }
    /// 4000 keys, of which the second half was used lately and the first not for long.
    void fill_and_use_half() {
        fill(0, 4000);
        use(0, 4000);
        age(1000);
        use(2000, 4000);
    }
    /// As if so much time had gone since all keys were used last.
    void age(uint32_t ticks) {
        for (uint64_t page = 1; page < store.root().frontier; ++page) {
            if (!store.marks.has_page(page)) continue;
            for (uint64_t at = page << st::kPageShift; at < (page + 1) << st::kPageShift; at += st::kBucketBytes)
                for (unsigned slot = 0; slot < st::kSlots; ++slot) {
                    const uint32_t mark = store.marks.table().read(at, slot);
                    store.marks.table().write(at, slot, store->marks().kept() == MarkKind::lru ? mark - 2 * ticks : mark - (ticks / 16 << 8));
                }
        }
    }
    /// How many of these keys are there.
    unsigned left(unsigned from, unsigned to, unsigned database = 0) {
        unsigned found = 0;
        for (unsigned i = from; i < to; ++i) found += store.find(key(i), database).has_value();
        return found;
    }
    /// Evicts down to this share of what is used now.
    Evictor::Outcome shrink_to(double share) {
        const auto limit = static_cast<int64_t>(static_cast<double>(store->counted_bytes()) * share);
        store.configure(OptionId::maxmemory, limit);
        const Evictor::Outcome outcome = evictor.make_room(kLong);
        if (outcome == Evictor::Outcome::enough) CHECK(store->counted_bytes() <= static_cast<uint64_t>(limit));
        CHECK(store.faults() == "");
        return outcome;
    }

    TestStore store;
    Evictor evictor{*store};
};

constexpr int64_t kLater = 1ll << 50;

}  // namespace

TEST_CASE("evictor: without a limit, or below it, nothing goes") {
    Fixture fixture(EvictionPolicy::allkeys_lru);
    fixture.fill(0, 1000);
    CHECK_FALSE(fixture.evictor.over_limit());
    CHECK(fixture.evictor.make_room(kLong) == Evictor::Outcome::enough);
    fixture.store.configure(OptionId::maxmemory, static_cast<int64_t>(fixture.store->counted_bytes()));
    CHECK(fixture.evictor.make_room(kLong) == Evictor::Outcome::enough);
    CHECK(fixture.left(0, 1000) == 1000);
    CHECK(fixture.evictor.take_evicted() == 0);
}

TEST_CASE("evictor: noeviction evicts nothing") {
    Fixture fixture(EvictionPolicy::noeviction);
    fixture.fill(0, 100);
    CHECK(fixture.shrink_to(0.5) == Evictor::Outcome::nothing_left);
    CHECK(fixture.left(0, 100) == 100);
}

TEST_CASE("evictor: every policy makes room, and what it removes is in the oplog and counted") {
    for (unsigned policy = 0; policy < static_cast<unsigned>(EvictionPolicy::noeviction); ++policy) {
        CAPTURE(policy);
        Fixture fixture(static_cast<EvictionPolicy>(policy));
        fixture.fill(0, 3000, kLater);
        fixture.store->set_oplog_on(true);
        const uint64_t oplog = fixture.store.root().oplog_tail;
        REQUIRE(fixture.shrink_to(0.6) == Evictor::Outcome::enough);
        const unsigned left = fixture.left(0, 3000);
        CHECK(left < 2500);
        CHECK(left > 500);
        CHECK(fixture.evictor.take_evicted() == 3000 - left);
        CHECK(fixture.evictor.take_evicted() == 0);
        CHECK(fixture.store->keys(0) == left);
        CHECK(fixture.store->keys_with_expiry(0) == left);
        CHECK(fixture.store.root().oplog_tail > oplog);
    }
}

TEST_CASE("evictor: volatile policies leave keys alone that do not expire, and say when no other is left") {
    for (const EvictionPolicy policy : {EvictionPolicy::volatile_lru, EvictionPolicy::volatile_lfu, EvictionPolicy::volatile_random, EvictionPolicy::volatile_ttl}) {
        CAPTURE(static_cast<unsigned>(policy));
        Fixture fixture(policy);
        fixture.fill(0, 3000);
        fixture.fill(3000, 3100, kLater);
        fixture.fill(0, 50, kLater, 9);
        CHECK(fixture.shrink_to(0.99) == Evictor::Outcome::enough);
        CHECK(fixture.left(0, 3000) == 3000);
        CHECK(fixture.left(3000, 3100) > 0);
        CHECK(fixture.shrink_to(0.5) == Evictor::Outcome::nothing_left);
        CHECK(fixture.left(0, 3000) == 3000);
        CHECK(fixture.left(3000, 3100) == 0);
        CHECK(fixture.left(0, 50, 9) == 0);
    }
}

TEST_CASE("evictor: the one key of many that may go is found") {
    Fixture fixture(EvictionPolicy::volatile_ttl);
    fixture.fill(0, 30'000);
    REQUIRE(fixture.store.set("short", std::string(20'000, 'v'), kLater));
    CHECK(fixture.store->counted_bytes() > 20'000);
    fixture.store.configure(OptionId::maxmemory, static_cast<int64_t>(fixture.store->counted_bytes()) - 1000);
    CHECK(fixture.evictor.make_room(kLong) == Evictor::Outcome::enough);
    CHECK(fixture.store.get("short") == "<none>");
    CHECK(fixture.left(0, 30'000) == 30'000);
}

TEST_CASE("evictor: LRU takes what was not used for long") {
    Fixture fixture(EvictionPolicy::allkeys_lru);
    fixture.fill_and_use_half();
    fixture.age(10);
    REQUIRE(fixture.shrink_to(0.75) == Evictor::Outcome::enough);
    CHECK(fixture.left(2000, 4000) == 2000);
    CHECK(fixture.left(0, 2000) < 1200);
}

TEST_CASE("evictor: LRU takes what was never used again before what was") {
    Fixture fixture(EvictionPolicy::allkeys_lru);
    fixture.fill(0, 2000);
    fixture.use(0, 2000);
    fixture.age(200);
    fixture.fill(2000, 4000);  // a scan
    fixture.age(100);
    REQUIRE(fixture.shrink_to(0.75) == Evictor::Outcome::enough);
    CHECK(fixture.left(0, 2000) == 2000);  // idle for 300, the others for 100 x 4
    fixture.age(10'000);
    fixture.fill(4000, 4100);
    REQUIRE(fixture.shrink_to(0.75) == Evictor::Outcome::enough);
    CHECK(fixture.left(4000, 4100) == 100);  // but new keys do not go for ever
}

TEST_CASE("evictor: LFU takes what was seldom used, and of equals the longest unused") {
    Fixture fixture(EvictionPolicy::allkeys_lfu);
    fixture.store.configure(OptionId::lfu_log_factor, 0);  // each use counts
    fixture.fill(0, 4000);
    for (unsigned i = 0; i < 5; ++i) fixture.use(0, 2000);
    fixture.use(2000, 3000);
    fixture.age(MarkRules::kTicksPerSecond * 10);
    fixture.use(2500, 3000);  // their counters are the highest of the second half
    REQUIRE(fixture.shrink_to(0.90) == Evictor::Outcome::enough);
    CHECK(fixture.left(0, 2000) == 2000);
    CHECK(fixture.left(2000, 3000) >= 998);
    CHECK(fixture.left(3000, 4000) < 600);
    REQUIRE(fixture.shrink_to(0.85) == Evictor::Outcome::enough);
    CHECK(fixture.left(0, 2000) >= 1998);
    CHECK(fixture.left(2500, 3000) > fixture.left(2000, 2500));
}

TEST_CASE("evictor: volatile-ttl takes what expires next") {
    Fixture fixture(EvictionPolicy::volatile_ttl);
    fixture.fill(0, 2000, kLater);
    fixture.fill(2000, 4000, kLater / 2);
    REQUIRE(fixture.shrink_to(0.75) == Evictor::Outcome::enough);
    CHECK(fixture.left(0, 2000) == 2000);
    CHECK(fixture.left(2000, 4000) < 1200);
}

TEST_CASE("evictor: databases lose keys by how many they have") {
    Fixture fixture(EvictionPolicy::allkeys_random);
    fixture.fill(0, 6000);
    fixture.fill(0, 2000, md::kNoExpiry, 5);
    REQUIRE(fixture.shrink_to(0.6) == Evictor::Outcome::enough);
    const double first = fixture.left(0, 6000) / 6000.0, second = fixture.left(0, 2000, 5) / 2000.0;
    CHECK(first > second - 0.15);
    CHECK(first < second + 0.15);
}

TEST_CASE("evictor: large values count until they are freed, and no more goes for them") {
    Fixture fixture(EvictionPolicy::allkeys_random);
    for (unsigned i = 0; i < 20; ++i) REQUIRE(fixture.store.set(fixture.key(i), std::string(1'000'000, 'v')));
    REQUIRE(fixture.shrink_to(0.52) == Evictor::Outcome::enough);
    CHECK(fixture.left(0, 20) == 10);
    fixture.store.configure(OptionId::maxmemory, 1);
    REQUIRE(fixture.evictor.make_room(kLong) == Evictor::Outcome::nothing_left);  // what the index itself takes
    CHECK(fixture.left(0, 20) == 0);
}

TEST_CASE("evictor: candidates that are gone, or whose bucket is something else now, are not taken for others") {
    for (const EvictionPolicy policy : {EvictionPolicy::allkeys_lru, EvictionPolicy::allkeys_lfu, EvictionPolicy::allkeys_random}) {
        CAPTURE(static_cast<unsigned>(policy));
        Fixture fixture(policy);
        for (unsigned round = 0; round < 30; ++round) {
            fixture.fill(0, 1500, md::kNoExpiry, round % 3);
            REQUIRE(fixture.shrink_to(0.9) == Evictor::Outcome::enough);  // leaves candidates in the pool
            if (round % 4 == 0) fixture.store.clear(round % 3);
            if (round % 4 == 1) fixture.fill(1500, 4000);  // splits
            if (round % 4 == 2)
                for (unsigned i = 0; i < 1500; i += 2) fixture.store.erase(fixture.key(i), round % 3);
            if (round % 8 == 3) fixture.store.collect();
            fixture.store.configure(OptionId::maxmemory, 0);
            CHECK(fixture.store.faults() == "");
        }
    }
}

TEST_CASE("evictor: an end by time is said, and it goes on from there") {
    Fixture fixture(EvictionPolicy::allkeys_lru);
    fixture.fill(0, 20'000);
    const auto limit = fixture.store->counted_bytes() / 2;
    fixture.store.configure(OptionId::maxmemory, static_cast<int64_t>(limit));
    unsigned calls = 0;
    while (fixture.evictor.make_room(0) == Evictor::Outcome::time_over) ++calls;
    CHECK(calls > 100);
    CHECK(fixture.store->counted_bytes() <= limit);
    CHECK(fixture.store.faults() == "");
}

TEST_CASE("evictor: as long as marks are not ready keys go by chance") {
    Fixture fixture(EvictionPolicy::noeviction);
    fixture.fill(0, 2000);
    fixture.store.configure(OptionId::maxmemory_policy, static_cast<int64_t>(EvictionPolicy::allkeys_lru));
    REQUIRE(fixture.store->marks().kept() == MarkKind::none);
    REQUIRE(fixture.shrink_to(0.8) == Evictor::Outcome::enough);
    CHECK(fixture.left(0, 2000) < 1900);
}

TEST_CASE("evictor: whoever takes the store over evicts as before") {
    Fixture fixture(EvictionPolicy::allkeys_lru);
    fixture.fill_and_use_half();
    fixture.store.open();
    Evictor evictor(*fixture.store);
    fixture.store.configure(OptionId::maxmemory, static_cast<int64_t>(fixture.store->counted_bytes() * 3 / 4));
    CHECK(evictor.make_room(kLong) == Evictor::Outcome::enough);
    CHECK(fixture.left(2000, 4000) == 2000);
}

TEST_CASE("evictor: a sample that was chosen before the index went is not looked at") {
    for (unsigned policy = 0; policy < static_cast<unsigned>(EvictionPolicy::noeviction); ++policy) {
        CAPTURE(policy);
        Fixture fixture(static_cast<EvictionPolicy>(policy));
        fixture.fill(0, 10'000, kLater);
        REQUIRE(fixture.shrink_to(0.8) == Evictor::Outcome::enough);
        fixture.store.clear();
        fixture.store.collect();
        fixture.store->set_free_pages_kept(0);
        while (fixture.store->give_back_some(4)) {}  // what is read of it now is a fault
        fixture.store.configure(OptionId::maxmemory, 0);
        for (unsigned i = 0; i < 30; ++i) REQUIRE(fixture.store.set("large" + std::to_string(i), std::string(200'000, '\xff'), kLater));
        fixture.fill(0, 100, kLater);
        CHECK(fixture.shrink_to(0.5) == Evictor::Outcome::enough);
    }
}

TEST_CASE("evictor: the index of a database that has lost all keys goes too, and what fits is taken again") {
    Fixture fixture(EvictionPolicy::allkeys_lru);
    fixture.fill(0, 50'000);
    fixture.store.configure(OptionId::maxmemory, 500'000);  // less than the index takes
    CHECK(fixture.evictor.make_room(kLong) == Evictor::Outcome::enough);
    CHECK(fixture.store->counted_bytes() < 500'000);
    fixture.fill(0, 1000);
    CHECK_FALSE(fixture.evictor.over_limit());
    CHECK(fixture.store.faults() == "");
}
