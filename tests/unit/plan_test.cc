// Plans: nothing changes before commit, reads see the plan's own changes, expired keys are absent; P1 to P4 of md/plan.h.
#include "md/plan.h"

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::kNoExpiry;

namespace {

struct Fixture {
    Fixture() { begin(); }
    void begin(int64_t now_ms = 1000, unsigned database = 0) { plan.begin(database, now_ms); }
    void store_now(std::string_view key, std::string_view bytes, int64_t expire_at_ms = kNoExpiry) {
        REQUIRE(store.set(key, bytes, expire_at_ms));
    }
    void commit() {
        REQUIRE(plan.build());
        REQUIRE(store->commit());
    }
    std::string planned(std::string_view key) { return text(plan.find(key)); }
    /// What whoever takes the store over now finds.
    std::string stored(std::string_view key, unsigned database = 0) {
        const md::Store other(store.space.view());
        return text(other.find(database, key, other.place_of(key)));
    }
    int64_t expiry(std::string_view key) const { return store.find(key).value().expire_at_ms; }
    std::string text(const std::optional<md::Value>& value) { return value ? store.bytes_of(*value) : "<none>"; }

    TestStore store;
    md::ReplyWriter reply;
    md::PlanStatistics statistics;
    md::Plan plan{*store, reply, statistics};
};

}  // namespace

TEST_CASE("plan P1: the store is as before until commit") {
    Fixture fixture;
    fixture.store_now("old", "value");
    fixture.plan.set("new", "bytes", kNoExpiry);
    fixture.plan.append("old", *fixture.plan.find("old"), " and more");
    fixture.plan.erase("old");
    CHECK(fixture.stored("new") == "<none>");
    CHECK(fixture.stored("old") == "value");
    REQUIRE(fixture.plan.build());
    CHECK(fixture.stored("new") == "<none>");
    CHECK(fixture.stored("old") == "value");
    REQUIRE(fixture.store->commit());
    CHECK(fixture.stored("new") == "bytes");
    CHECK(fixture.stored("old") == "<none>");
}

TEST_CASE("plan P1: a plan that is begun anew changes nothing") {
    Fixture fixture;
    fixture.plan.set("k", "v", kNoExpiry);
    fixture.begin();
    CHECK(fixture.planned("k") == "<none>");
    fixture.commit();
    CHECK(fixture.stored("k") == "<none>");
}

TEST_CASE("plan P1: bytes appended and not committed are never seen") {
    Fixture fixture;
    fixture.store_now("k", "");
    fixture.plan.append("k", *fixture.plan.find("k"), "abc");
    fixture.commit();
    fixture.begin();
    fixture.plan.append("k", *fixture.plan.find("k"), "lost");
    fixture.begin();
    CHECK(fixture.stored("k") == "abc");
    fixture.plan.append("k", *fixture.plan.find("k"), "de");
    fixture.commit();
    CHECK(fixture.stored("k") == "abcde");
}

TEST_CASE("plan P2: changes are applied in the order in which they were stated") {
    Fixture fixture;
    fixture.plan.set("k", "first", kNoExpiry);
    fixture.plan.erase("k");
    fixture.plan.set("k", "last", 5000);
    fixture.commit();
    CHECK(fixture.stored("k") == "last");
    CHECK(fixture.expiry("k") == 5000);
}

TEST_CASE("plan P3: a read sees the plan's own changes, few or many") {
    for (const int keys : {1, 5, 16, 17, 100}) {
        CAPTURE(keys);
        Fixture fixture;
        std::vector<std::string> names;
        for (int i = 0; i < keys; ++i) names.push_back("key" + std::to_string(i));
        for (const std::string& name : names) fixture.plan.set(name, "first", kNoExpiry);
        for (const std::string& name : names) fixture.plan.set(name, fixture.plan.keep("second " + name), kNoExpiry);
        for (const std::string& name : names) REQUIRE(fixture.planned(name) == "second " + name);
        fixture.plan.erase(names[0]);
        CHECK(fixture.planned(names[0]) == "<none>");
        fixture.commit();
        CHECK(fixture.store->keys(0) == static_cast<uint64_t>(keys - 1));
    }
}

TEST_CASE("plan P3: an append to what was appended in the same plan") {
    Fixture fixture;
    fixture.plan.set("k", "a", kNoExpiry);
    for (int i = 0; i < 20; ++i) fixture.plan.append("k", *fixture.plan.find("k"), "bc");
    fixture.commit();
    CHECK(fixture.stored("k").size() == 41);
    CHECK(fixture.stored("k").ends_with("bcbc"));
}

TEST_CASE("plan P3: after clear_all every key reads as absent") {
    Fixture fixture;
    fixture.store_now("stored", "v");
    fixture.plan.set("planned", "v", kNoExpiry);
    fixture.plan.clear_all();
    CHECK(fixture.planned("stored") == "<none>");
    CHECK(fixture.planned("planned") == "<none>");
}

TEST_CASE("plan P4: a key whose time is over is absent, counted, and gone after commit") {
    Fixture fixture;
    fixture.store_now("k", "v", 1000);
    fixture.store_now("later", "v", 1001);
    CHECK(fixture.planned("k") == "<none>");
    CHECK(fixture.planned("k") == "<none>");
    CHECK(fixture.planned("later") == "v");
    CHECK(fixture.statistics.expired == 1);
    CHECK(fixture.stored("k") == "v");
    fixture.commit();
    CHECK(fixture.stored("k") == "<none>");
    CHECK(fixture.stored("later") == "v");
}

TEST_CASE("plan P4: an expired key that is set again stays") {
    Fixture fixture;
    fixture.store_now("k", "old", 500);
    CHECK(fixture.planned("k") == "<none>");
    fixture.plan.set("k", "new", kNoExpiry);
    fixture.commit();
    CHECK(fixture.stored("k") == "new");
}

TEST_CASE("plan: an append keeps the expiry") {
    Fixture fixture;
    fixture.store_now("k", "abc", 5000);
    fixture.plan.append("k", *fixture.plan.find("k"), "def");
    fixture.commit();
    CHECK(fixture.stored("k") == "abcdef");
    CHECK(fixture.expiry("k") == 5000);
}

TEST_CASE("plan: an append that makes a value large, and one to a large value") {
    Fixture fixture;
    std::string expected(st::kSmallItemMax - 100, 'a');
    fixture.store_now("k", expected);
    for (const char letter : {'b', 'c', 'd'}) {
        const std::string more(70'000, letter);
        fixture.begin();
        fixture.plan.append("k", *fixture.plan.find("k"), more);
        fixture.plan.append("k", *fixture.plan.find("k"), "!");
        expected += more + "!";
        REQUIRE((fixture.planned("k") == expected));
        fixture.commit();
        REQUIRE((fixture.stored("k") == expected));
    }
    fixture.store.collect();
    CHECK(fixture.store.faults() == "");
}

TEST_CASE("plan: reads are counted as hits and misses, looks before a change are not") {
    Fixture fixture;
    fixture.store_now("k", "v");
    fixture.plan.read("k");
    fixture.plan.read("absent");
    fixture.plan.find("k");
    CHECK(fixture.statistics.hits == 1);
    CHECK(fixture.statistics.misses == 1);
}

TEST_CASE("plan: it works on the database it was begun with, clear_all on every one") {
    Fixture fixture;
    fixture.begin(1000, 7);
    fixture.plan.set("k", "v", kNoExpiry);
    fixture.commit();
    CHECK(fixture.stored("k", 7) == "v");
    CHECK(fixture.plan.key_count() == 1);
    fixture.store_now("k", "v");
    fixture.begin();
    fixture.plan.clear_all();
    fixture.commit();
    CHECK(fixture.stored("k", 7) == "<none>");
    CHECK(fixture.stored("k") == "<none>");
}

TEST_CASE("plan: without memory nothing has happened, wherever it ends") {
    Fixture fixture;
    fixture.store_now("old", "v");
    const std::string large(4'000'000, 'x');  // more than a few calls give
    for (uint64_t calls = 0; calls < 4; ++calls) {
        CAPTURE(calls);
        fixture.begin();
        fixture.store.space.calls_left = calls;
        fixture.plan.erase("old");
        fixture.plan.set("new", "v", kNoExpiry);
        fixture.plan.set("large", large, kNoExpiry);
        CHECK_FALSE(fixture.plan.build());
        fixture.store->abandon();
        CHECK(fixture.stored("old") == "v");
        CHECK(fixture.stored("new") == "<none>");
        CHECK(fixture.store.faults() == "");
    }
    fixture.store.space.calls_left = TestMemory::kUnlimited;
    fixture.commit();
    CHECK(fixture.stored("old") == "<none>");
    CHECK(fixture.stored("new") == "v");
}

TEST_CASE("plan: the databases that were changed are noted, those that were read are not") {
    Fixture fixture;
    fixture.begin(1000, 3);
    fixture.plan.read("k");
    fixture.commit();
    CHECK(fixture.plan.changes_nothing());
    CHECK(fixture.statistics.databases_changed == 0);
    fixture.plan.set("k", "v", kNoExpiry);
    fixture.commit();
    CHECK(fixture.statistics.databases_changed == 1u << 3);
    fixture.begin();
    fixture.plan.clear_all();
    fixture.commit();
    CHECK(fixture.statistics.databases_changed == (1u << md::kDatabases) - 1);
}
