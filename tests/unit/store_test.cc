// The store as a whole: random operations against maps, expiry and garbage in slices, memory that comes back, a new process.
#include "md/store.h"

#include <array>
#include <map>
#include <string>
#include <vector>

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::kNoExpiry;

namespace {

constexpr unsigned kDatabasesUsed = 4;

/// A store and the maps that it has to agree with.
struct Oracle {
    explicit Oracle(Random& random) : random(random) {}

    std::string some_key() {
        std::string key = "key" + std::to_string(random.below(3000));
        if (random.below(200) == 0) key += std::string(random.below(70000), 'k');
        return key;
    }
    std::string some_bytes() {
        static constexpr uint64_t kLimits[] = {10, 100, 300, 300, 300, 300, 300, 300, 3000, 40000, 200000};
        uint64_t limit = kLimits[random.below(std::size(kLimits))];
        if (limit > 3000 && random.below(8) != 0) limit = 60;
        std::string bytes(random.below(limit + 1), static_cast<char>('a' + random.below(26)));
        for (size_t i = 0; i < bytes.size(); i += 777) bytes[i] = static_cast<char>(random.below(256));
        return bytes;
    }
    void step() {
        const auto database = static_cast<unsigned>(random.below(kDatabasesUsed));
        auto& oracle = databases[database];
        const std::string key = some_key();
        const auto at = oracle.find(key);
        const uint64_t what = random.below(1000);
        if (what < 500) {
            const Expected value{some_bytes(), random.below(4) == 0 ? static_cast<int64_t>(now + random.below(1000)) : kNoExpiry};
            REQUIRE(store.set(key, value.bytes, value.expire_at_ms, database));
            oracle[key] = value;
        } else if (what < 640) {
            REQUIRE(store.erase(key, database) == (oracle.erase(key) == 1));
        } else if (what < 740 && at != oracle.end()) {
            const std::string more = some_bytes();
            REQUIRE(store.append(key, more, database));
            at->second.bytes += more;
        } else if (what < 780 && at != oracle.end()) {
            md::Value value = store.find(key, database).value();
            at->second.expire_at_ms = value.expire_at_ms = random.below(2) == 0 ? kNoExpiry : static_cast<int64_t>(now + random.below(1000));
            REQUIRE(store.set(key, value, database));
        } else if (what < 783) {
            REQUIRE(store.clear(database));
            oracle.clear();
        } else if (what < 840) {
            store->free_some(static_cast<unsigned>(1 + random.below(60)));
        } else if (what < 850) {
            store->give_back_some(static_cast<unsigned>(1 + random.below(30)));
        } else if (what < 870) {
            now += static_cast<int64_t>(random.below(30));
            store->expire_some(now, static_cast<unsigned>(random.below(200)));
            forget_expired();
        } else if (what < 872) {
            store.open();
        } else {
            compare(key, database);
        }
    }
    /// What expire_some() may have removed is compared and forgotten where it is gone.
    void forget_expired() {
        for (unsigned database = 0; database < kDatabasesUsed; ++database)
            std::erase_if(databases[database], [&](const auto& entry) {
                const bool over = entry.second.expire_at_ms != kNoExpiry && entry.second.expire_at_ms <= now;
                return over && !store.find(entry.first, database);
            });
    }
    void compare(const std::string& key, unsigned database) {
        const auto value = store.find(key, database);
        const auto at = databases[database].find(key);
        REQUIRE(value.has_value() == (at != databases[database].end()));
        if (!value) return;
        REQUIRE(value->expire_at_ms == at->second.expire_at_ms);
        REQUIRE(store.bytes_of(*value) == at->second.bytes);
    }
    void compare_all() {
        for (unsigned database = 0; database < kDatabasesUsed; ++database) {
            uint64_t expires = 0;
            for (const auto& [key, value] : databases[database]) {
                compare(key, database);
                expires += value.expire_at_ms != kNoExpiry;
            }
            REQUIRE(store->keys(database) == databases[database].size());
            REQUIRE(store->keys_with_expiry(database) == expires);
        }
        REQUIRE(store.faults() == "");
    }

    Random& random;
    TestStore store;
    int64_t now = 1000;
    std::array<std::map<std::string, Expected>, kDatabasesUsed> databases;
};

}  // namespace

TEST_CASE("store: random operations on several databases agree with maps, and the store is good at any time") {
    Random random;
    INFO("SEED=" << random.seed);
    Oracle oracle(random);
    for (int i = 0; i < 30000; ++i) {
        oracle.step();
        if (i % 1500 == 1499) REQUIRE(oracle.store.faults() == "");
        if (i % 10000 == 9999) oracle.compare_all();
    }
    for (unsigned database = 0; database < st::kDatabases; ++database) REQUIRE(oracle.store.clear(database));
    oracle.store.collect();
    oracle.store->give_back_some(~0u);
    CHECK(oracle.store.root().used_bytes == 0);
    CHECK(oracle.store.report().pages == 0);
    CHECK(oracle.store.faults() == "");
}

TEST_CASE("store: random operations while memory fails now and then") {
    Random random;
    INFO("SEED=" << random.seed);
    TestStore store(400);
    std::map<std::string, std::string> oracle;
    unsigned refused = 0;
    for (int i = 0; i < 6000; ++i) {
        store.space.calls_left = random.below(5) == 0 ? TestMemory::kUnlimited : random.below(2);
        const std::string key = "key" + std::to_string(random.below(400));
        const std::string bytes(random.below(random.below(10) == 0 ? 200000 : 500), static_cast<char>('a' + i % 26));
        switch (random.below(6)) {
            case 0:
                if (store.erase(key)) REQUIRE(oracle.erase(key) == 1);
                else REQUIRE(!oracle.contains(key));
                break;
            case 1:
                store->free_some(5);
                break;
            case 2:
                if (!oracle.contains(key)) break;
                if (store.append(key, bytes)) oracle[key] += bytes;
                else ++refused;
                break;
            case 3:
                store->give_back_some(10);
                break;
            default:
                if (store.set(key, bytes)) oracle[key] = bytes;
                else ++refused;
        }
        REQUIRE(store.get(key) == (oracle.contains(key) ? oracle[key] : "<none>"));
        if (i % 500 == 499) REQUIRE(store.faults() == "");
    }
    CHECK(refused > 0);
    for (const auto& [key, bytes] : oracle) REQUIRE(store.get(key) == bytes);
    CHECK(store->keys(0) == oracle.size());
}

TEST_CASE("store: a new process finds everything, the caches of the old one are not missed") {
    TestStore store;
    for (int i = 0; i < 2000; ++i) {
        REQUIRE(store.set("key" + std::to_string(i), std::to_string(i), i % 3 == 0 ? 5000 : kNoExpiry, static_cast<unsigned>(i % 16)));
        if (i % 100 == 0) store.open();
    }
    store.open();
    for (int i = 0; i < 2000; ++i) REQUIRE(store.get("key" + std::to_string(i), static_cast<unsigned>(i % 16)) == std::to_string(i));
    CHECK(store.faults() == "");
}

TEST_CASE("store: an oplog that is not whole pages, or reaches into the second region, is our own bug") {
    TestStore largest(4096, 8 << 20);
    CHECK(largest.set("k", "v"));
    CHECK(largest.faults() == "");
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{32768}, uint64_t{3} << 16, uint64_t{16} << 20})
        CHECK_FALSE(survives([&] { TestStore store(4096, bytes); }));
}

TEST_CASE("store: the seed of the hash is the segment's, so keys go elsewhere in another") {
    TestStore store;
    CHECK(store->place_of("key").hash == store->place_of("key").hash);
    store.root().hash_seed = 43;
    CHECK(store->place_of("key").hash != st::KeyPlace{TestStore().operator->()->place_of("key")}.hash);
}

TEST_CASE("store: an operation sees its own changes, and abandon makes them never have been") {
    TestStore store;
    const uint64_t number = store.root().number;
    REQUIRE(store.set("a", "old", 5000));
    REQUIRE(store.set("b", "old"));
    const TestMemory::Image before = store.space.image();
    const auto put = [&](std::string_view key, std::string_view bytes) {
        return store->put(0, key, store->place_of(key), md::Value::of(bytes, kNoExpiry)) == md::Store::Put::done;
    };
    CHECK(put("a", "new"));
    CHECK(put("c", "another"));
    CHECK(store->erase(0, "b", store->place_of("b")));
    CHECK_FALSE(store->erase(0, "b", store->place_of("b")));
    CHECK(store->keys(0) == 2);
    CHECK(store->keys_with_expiry(0) == 0);
    CHECK_FALSE(store.find("b").has_value());
    CHECK(store.find("c")->length() == 7);
    CHECK(store->used_bytes() > 0);
    CHECK(put("b", "again"));
    CHECK(store->keys(0) == 3);
    store->abandon();
    CHECK(store.get("a") == "old");
    CHECK(store.get("b") == "old");
    CHECK(store.get("c") == "<none>");
    CHECK(store->keys(0) == 2);
    CHECK(store->keys_with_expiry(0) == 1);
    CHECK(store.root().number == number + 3);  // a directory and two keys
    CHECK(before.backed == store.space.image().backed);
    CHECK(store.faults() == "");
}

TEST_CASE("store: a key set, erased and set in one operation is there once and leaves nothing behind") {
    for (const uint64_t length : {5, 100000}) {
        CAPTURE(length);
        TestStore store;
        const std::string bytes(length, 'x');
        const st::KeyPlace place = store->place_of("k");
        REQUIRE(store->make_room(0, {&place, 1}));
        REQUIRE(store.operation([&] {
            for (int i = 0; i < 3; ++i) {
                if (store->put(0, "k", place, md::Value::of(bytes, i == 1 ? 7000 : kNoExpiry)) != md::Store::Put::done) return false;
                if (i < 2 && !store->erase(0, "k", place)) return false;
            }
            return true;
        }));
        CHECK(store.get("k") == bytes);
        CHECK(store->keys(0) == 1);
        CHECK(store->keys_with_expiry(0) == 0);
        store.collect();
        CHECK(store.faults() == "");
        CHECK(store.report().garbage == 0);
    }
}

TEST_CASE("store: clear takes a database out of reach at once and frees it in slices; others are not touched") {
    TestStore store;
    REQUIRE(store.set("other", "v", kNoExpiry, 1));
    const uint64_t used = store.root().used_bytes;
    for (int i = 0; i < 3000; ++i) REQUIRE(store.set("key" + std::to_string(i), std::string(i % 500 == 0 ? 200000 : 50, 'v'), 5000));
    REQUIRE(store.clear());
    CHECK(store->keys(0) == 0);
    CHECK(store->keys_with_expiry(0) == 0);
    CHECK(store.get("key1") == "<none>");
    CHECK(store.faults() == "");
    REQUIRE(store.set("key1", "new"));  // while the old ones are still being freed
    unsigned slices = 0;
    for (uint64_t before = store.root().used_bytes; store->free_some(50); ++slices) {
        REQUIRE(store.root().used_bytes <= before);
        REQUIRE(before - store.root().used_bytes < 50 * st::kPageBytes);
        before = store.root().used_bytes;
        if (slices % 10 == 0) REQUIRE(store.faults() == "");
    }
    CHECK(slices > 60);
    CHECK(store.get("key1") == "new");
    CHECK(store.get("other", 1) == "v");
    REQUIRE(store.clear());
    CHECK(store.clear(7));  // never used
    store.collect();
    CHECK(store.root().used_bytes == used);
    CHECK(store.faults() == "");
}

TEST_CASE("store: two databases cleared, one of them twice, are all freed") {
    TestStore store;
    for (int round = 0; round < 2; ++round) {
        for (unsigned database = 0; database < 2; ++database)
            for (int i = 0; i < 800; ++i) REQUIRE(store.set("key" + std::to_string(i), "v", kNoExpiry, database));
        REQUIRE(store.clear(0));
        store->free_some(100);
    }
    REQUIRE(store.clear(1));
    CHECK(store.report().garbage == 3);
    CHECK(store.faults() == "");
    store.collect();
    CHECK(store.root().used_bytes == 0);
    CHECK(store.faults() == "");
}

TEST_CASE("store: expire_some removes what is over and nothing else, in all databases, however small the slices") {
    for (const unsigned slice : {1u, 7u, 64u, 100000u}) {
        CAPTURE(slice);
        TestStore store;
        for (unsigned database = 0; database < st::kDatabases; database += 5)
            for (int i = 0; i < 700; ++i)
                REQUIRE(store.set("key" + std::to_string(i), "v", i % 2 == 0 ? kNoExpiry : 1000 + i, database));
        CHECK(store->any_expiry());
        const auto rounds = [&](int64_t now) {
            unsigned removed = 0;
            for (int i = 0; i < 4 * static_cast<int>(st::kBuckets * 4 * st::kDatabases / slice + 1); ++i) removed += store->expire_some(now, slice);
            return removed;
        };
        CHECK(rounds(1000) == 0);
        CHECK(rounds(1301) == 4 * 151);  // 1001, 1003 .. 1301
        CHECK(store->keys(5) == 700 - 151);
        CHECK(store->keys_with_expiry(5) == 350 - 151);
        CHECK_FALSE(store.find("key301", 5).has_value());
        CHECK(store.find("key303", 5).has_value());
        CHECK(rounds(9999) == 4 * (350 - 151));
        CHECK_FALSE(store->any_expiry());
        CHECK(store->keys(15) == 350);
        CHECK(store.faults() == "");
    }
}

TEST_CASE("store: a slice of expiry is bounded by what it finds, not only by the buckets it looks at") {
    TestStore store;
    for (int i = 0; i < 3000; ++i) REQUIRE(store.set("key" + std::to_string(i), "v", 1000));
    constexpr unsigned kKeyWork = md::Store::kLookWork + md::Store::kRemovalWork, kWork = 400;
    while (store->keys(0) != 0) {
        const unsigned removed = store->expire_some(1000, kWork);
        CHECK(removed <= kWork / kKeyWork + st::kSlots);  // a bucket is finished
    }
    CHECK(store.faults() == "");
}

TEST_CASE("store: expire_some goes on while the index grows, and comes to every key in the end") {
    TestStore store;
    for (int i = 0; i < 6000; ++i) {
        REQUIRE(store.set("key" + std::to_string(i), "v", 1000));
        if (i % 20 == 0) store->expire_some(999, 3);
    }
    unsigned removed = 0;
    for (int i = 0; i < 3000 && removed < 6000; ++i) removed += store->expire_some(1000, 10);
    CHECK(removed == 6000);
    CHECK(store->keys(0) == 0);
    CHECK(store.faults() == "");
}

TEST_CASE("store: memory that is not needed goes back to the system, but for what is kept, and is taken again") {
    TestStore store;
    REQUIRE(store.set("k", std::string(300 * st::kPageBytes, 'x')));
    const uint64_t taken = store->taken_bytes(), backed = store.space.backed_bytes();
    CHECK_FALSE(store->give_back_some(10));
    REQUIRE(store.erase("k"));
    store.collect();
    CHECK(store->taken_bytes() == taken);
    CHECK(store->give_back_some(10));
    CHECK(store->taken_bytes() == taken - 10 * st::kPageBytes);
    while (store->give_back_some(10)) {}
    CHECK(store->taken_bytes() < taken - 230 * st::kPageBytes);
    CHECK(backed - store.space.backed_bytes() == taken - store->taken_bytes());
    CHECK(store.report().free_pages == 64);
    CHECK(store.faults() == "");
    REQUIRE(store.set("k", std::string(300 * st::kPageBytes, 'y')));
    CHECK(store.get("k") == std::string(300 * st::kPageBytes, 'y'));
    CHECK(store->taken_bytes() == taken);
    CHECK(store.faults() == "");
}

TEST_CASE("store: a key that was overwritten a thousand times takes the memory of one") {
    TestStore store;
    REQUIRE(store.set("k", std::string(100, 'x')));
    const uint64_t used = store.root().used_bytes, frontier = store.root().frontier;
    for (int i = 0; i < 1000; ++i) REQUIRE(store.set("k", std::string(100, static_cast<char>('a' + i % 26))));
    CHECK(store.root().used_bytes == used);
    CHECK(store.root().frontier == frontier);
}

namespace {

/// All keys that a walk visits, in its steps; calls `between` after each.
std::vector<std::string> walk(TestStore& store, uint64_t wanted, const std::function<void()>& between = [] {}) {
    std::vector<std::string> visited;
    uint64_t position = 0;
    do {
        position = store->walk_keys(0, position, wanted, [&](std::string key, const md::Value&) { visited.push_back(std::move(key)); });
        between();
    } while (position != 0);
    return visited;
}

std::string numbered(unsigned i) { return "key" + std::to_string(i); }

}  // namespace

TEST_CASE("store: a walk visits every key once, in steps of any size") {
    TestStore store;
    CHECK(walk(store, 10).empty());
    for (unsigned i = 0; i < 5000; ++i) REQUIRE(store.set(numbered(i), "v"));
    for (const uint64_t wanted : {uint64_t{1}, uint64_t{7}, uint64_t{10}, uint64_t{1000}, ~uint64_t{0}}) {
        std::vector<std::string> visited = walk(store, wanted);
        CHECK(visited.size() == 5000);
        std::ranges::sort(visited);
        CHECK(std::unique(visited.begin(), visited.end()) == visited.end());
    }
}

TEST_CASE("store: a walk gives about as many keys as were wanted") {
    TestStore store;
    for (unsigned i = 0; i < 5000; ++i) REQUIRE(store.set(numbered(i), "v"));
    uint64_t position = 0, most = 0;
    do {
        uint64_t visited = 0;
        position = store->walk_keys(0, position, 10, [&](const std::string&, const md::Value&) { ++visited; });
        most = std::max(most, visited);
    } while (position != 0);
    CHECK(most < 10 + 40);  // the keys of one more home bucket
}

TEST_CASE("store: a walk misses no key that is there all the time, while the index grows and keys go") {
    TestStore store;
    for (unsigned i = 0; i < 2000; ++i) REQUIRE(store.set(numbered(i), "v"));
    unsigned next = 2000;
    std::vector<std::string> visited = walk(store, 10, [&] {
        for (unsigned i = 0; i < 67; ++i, ++next) REQUIRE(store.set(numbered(next), "v"));
        if (next % 1000 == 0) store.erase(numbered(next - 500));
    });
    std::ranges::sort(visited);
    for (unsigned i = 0; i < 2000; ++i) {
        CAPTURE(i);
        REQUIRE(std::ranges::binary_search(visited, numbered(i)));
    }
    CHECK(store->splits() > 20);
}

TEST_CASE("store: a walk from a position that nobody gave ends") {
    TestStore store;
    for (unsigned i = 0; i < 1000; ++i) REQUIRE(store.set(numbered(i), "v"));
    for (const uint64_t position : {~uint64_t{0}, uint64_t{1} << 34, uint64_t{1} << 63, (uint64_t{1} << 34) - 1, uint64_t{12345}}) {
        uint64_t at = position;
        for (unsigned steps = 0; at != 0; ++steps) {
            REQUIRE(steps < 10'000);
            at = store->walk_keys(0, at, 1, [](const std::string&, const md::Value&) {});
        }
    }
}

TEST_CASE("store: another expiry for the same bytes, whatever the item is") {
    for (const uint64_t length : {0, 10, 1000, 30'000, 200'000, 3'000'000}) {
        CAPTURE(length);
        TestStore store;
        const std::string bytes(length, 'b');
        const auto set_expiry = [&](int64_t at_ms) {
            md::Value value = store.find("key").value();
            value.expire_at_ms = at_ms;
            return store.operation([&] { return store->put(0, "key", store->place_of("key"), value) == md::Store::Put::done; });
        };
        REQUIRE(store.set("key", bytes));
        for (const int64_t at_ms : {int64_t{5000}, int64_t{7000}, kNoExpiry, int64_t{9000}}) {
            REQUIRE(set_expiry(at_ms));
            CHECK(store.find("key")->expire_at_ms == at_ms);
            CHECK((store.get("key") == bytes));
            CHECK(store->keys_with_expiry(0) == (at_ms == kNoExpiry ? 0 : 1));
            CHECK(store.slot_of("key").content.expires == (at_ms != kNoExpiry));
            CHECK(store.faults() == "");
        }
        const uint64_t used = store->used_bytes();
        REQUIRE(set_expiry(10'000));
        store.collect();
        CHECK(store->used_bytes() == used);
        CHECK(store->expire_some(10'001, 100'000) == 1);
    }
}

TEST_CASE("store: some bytes of a large value are replaced where they lie, wherever that is") {
    for (const std::string key : {"k", "a key of 13 b"}) {
        TestStore store;
        std::string bytes(300'001, 'b');
        REQUIRE(store.set(key, bytes, 5000));
        const uint64_t reference = store.reference_of(key), used = store->used_bytes();
        const auto patch = [&](uint64_t at, const std::string& with) {
            md::Value value = store.find(key).value();
            value.patch = with;
            value.patch_at = at;
            REQUIRE(store.operation([&] { return store->put(0, key, store->place_of(key), value) == md::Store::Put::done; }));
            bytes.replace(at, with.size(), with);
            REQUIRE((store.get(key) == bytes));
        };
        for (const uint64_t at : {0, 1, 5, 7, 8, 65'530, 65'535, 65'536, 131'071, 262'140, 299'000, 300'000})
            for (const uint64_t count : {1, 2, 7, 8, 9, 100, 4096})
                if (at + count <= bytes.size()) patch(at, std::string(count, static_cast<char>('c' + count % 20)));
        CHECK(store.reference_of(key) == reference);
        CHECK(store->used_bytes() == used);
        CHECK(store.find(key)->expire_at_ms == 5000);
        CHECK(store.faults() == "");
        // A reply that refers to the value keeps its bytes.
        REQUIRE(store.operation([&] {
            const md::ReplyPart part{"", reference, bytes.size()};
            store->reset_channel(1, 7);
            return store->add_record(1, std::span(&part, 1)) != 0;
        }));
        patch(10, "new");
        CHECK(store.reference_of(key) != reference);
        CHECK(store.memory().load(reference) != 0);
        CHECK(store.faults() == "");
    }
}
