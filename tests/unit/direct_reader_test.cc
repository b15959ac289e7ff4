// Reading the store without md: what is found of one key and of many, and that what changes meanwhile does not count.
#include "io_conn/direct_reader.h"

#include <utility>

#include "common/log_words.h"
#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using io_conn::Buffer;
using io_conn::BufferPool;
using io_conn::DirectLookup;
using io_conn::DirectReader;

namespace {

/// A store and a reader of it.
struct Fixture {
    explicit Fixture(uint64_t pages = TestMemory::kPagesDefault) : store(pages) {
        store->set_readers(md::Readers(*roster));
        reader = DirectReader(store.memory().at(0), line().reading, store.marks.table());
        line().pid = static_cast<uint32_t>(getpid());
    }
    RosterLine& line() { return roster->lines[7]; }

    std::vector<DirectLookup> find(std::vector<std::string_view> keys, unsigned database = 0) {
        std::vector<DirectLookup> lookups(keys.size());
        for (size_t i = 0; i < keys.size(); ++i) {
            lookups[i].key = keys[i];
            lookups[i].database = database;
        }
        reader.begin();
        reader.find(lookups);
        return lookups;
    }
    std::string value_of(const DirectLookup& lookup) {
        if (lookup.item == 0) return "<none>";
        BufferPool pool;
        Buffer buffer(pool);
        REQUIRE(reader.append_value(lookup, 0, lookup.value_length, buffer));
        return std::string(buffer.bytes());
    }
    /// A whole read of one key; "<changed>" when it does not count.
    std::string get(std::string_view key, unsigned database = 0) {
        const auto lookups = find({key}, database);
        const std::string bytes = lookups[0].stable ? value_of(lookups[0]) : "";
        const bool valid = reader.validate(lookups);
        reader.end();
        return valid ? bytes : "<changed>";
    }

    std::unique_ptr<Roster> roster = std::make_unique<Roster>();
    TestStore store;
    DirectReader reader;
};

std::string pattern(uint64_t length, unsigned seed = 0) {
    std::string bytes(length, 0);
    for (uint64_t i = 0; i < length; ++i) bytes[i] = static_cast<char>((i * 2654435761u + seed) >> 13);
    return bytes;
}

}  // namespace

TEST_CASE("direct reader: an empty store, a key, another database, a deleted key") {
    Fixture fixture;
    CHECK(fixture.get("a") == "<none>");
    fixture.store.set("a", "1");
    CHECK(fixture.get("a") == "1");
    CHECK(fixture.get("a", 3) == "<none>");
    fixture.store.set("a", "three", md::kNoExpiry, 3);
    CHECK(fixture.get("a", 3) == "three");
    CHECK(fixture.get("b") == "<none>");
    fixture.store.erase("a");
    CHECK(fixture.get("a") == "<none>");
    fixture.store.clear(3);
    CHECK(fixture.get("a", 3) == "<none>");
    fixture.store.set("a", "again", md::kNoExpiry, 3);
    CHECK(fixture.get("a", 3) == "again");
}

TEST_CASE("direct reader: keys and values of all lengths, wherever they lie") {
    Fixture fixture;
    for (const uint64_t key_length : {0, 1, 7, 8, 9, 300, 65535, 65536, 70'000})
        for (const uint64_t length : {0, 1, 6, 7, 8, 9, 63, 64, 1000, 32'000, 32'768, 65'535, 65'536, 65'537, 200'000}) {
            CAPTURE(key_length);
            CAPTURE(length);
            const std::string key = pattern(key_length), bytes = pattern(length, 99);
            REQUIRE(fixture.store.set(key, bytes));
            REQUIRE((fixture.get(key) == bytes));
            REQUIRE(fixture.get(key + "x") == "<none>");
            REQUIRE(fixture.store.set(key, bytes, 1ll << 60));
            REQUIRE((fixture.get(key) == bytes));
            REQUIRE(fixture.store.erase(key));
            REQUIRE(fixture.get(key) == "<none>");
            fixture.store.collect();
        }
}

TEST_CASE("direct reader: the marks of keys that are used say so, if marks are kept") {
    Fixture fixture;
    const auto use = [&](std::vector<std::string_view> keys) {
        const auto lookups = fixture.find(keys);
        REQUIRE(fixture.reader.validate(lookups));
        fixture.reader.use(lookups);
        fixture.reader.end();
    };
    std::vector<std::string> keys;
    for (unsigned i = 0; i < 3000; ++i) keys.push_back("key" + std::to_string(i));
    for (const std::string& key : keys) fixture.store.set(key, "value");
    use({"key1", "none"});  // there is no memory for marks now, so writing one would be seen
    fixture.store.set_policy(EvictionPolicy::allkeys_lru);
    const auto used = [&](std::string_view key) { return MarkRules::used_again(fixture.store->mark_of(0, key, fixture.store->place_of(key)).value()); };
    for (unsigned i = 0; i < 3000; i += 2) use({keys[i], "none"});
    for (unsigned i = 0; i < 3000; ++i) {
        CAPTURE(i);
        REQUIRE(used(keys[i]) == (i % 2 == 0));
    }
    fixture.store.set("over", "value", 1);
    use({"over"});
    CHECK_FALSE(used("over"));
    fixture.store.configure(OptionId::lfu_log_factor, 0);
    fixture.store.set_policy(EvictionPolicy::allkeys_lfu);
    for (unsigned i = 0; i < 20; ++i) use({"key7", "key8"});
    const auto frequency = [&](std::string_view key) {
        const md::Marks& marks = fixture.store->marks();
        return marks.rules().frequency(fixture.store->mark_of(0, key, fixture.store->place_of(key)).value(), marks.now());
    };
    CHECK(frequency("key7") == MarkRules::kLfuFirst + 20);
    CHECK(frequency("key9") == MarkRules::kLfuFirst);
    fixture.store.set_policy(EvictionPolicy::noeviction);
    use({"key7"});
    CHECK(fixture.store.marks.space.backed_bytes() == 0);
}

TEST_CASE("direct reader: any part of a value") {
    Fixture fixture;
    for (const uint64_t length : {40, 150'000}) {
        const std::string bytes = pattern(length);
        fixture.store.set("key", bytes);
        const auto lookups = fixture.find({"key"});
        BufferPool pool;
        for (const uint64_t from : {uint64_t{0}, uint64_t{3}, length / 2, length - 1}) {
            Buffer buffer(pool);
            REQUIRE(fixture.reader.append_value(lookups[0], from, length - from, buffer));
            REQUIRE((buffer.bytes() == bytes.substr(from)));
        }
    }
}

TEST_CASE("direct reader: a value that was lengthened where it lies, and one overwritten there") {
    Fixture fixture;
    fixture.store.set("small", "12345");
    fixture.store.set("large", pattern(100'000));
    for (int i = 0; i < 50; ++i) {
        fixture.store.append("small", "abc");
        fixture.store.append("large", pattern(777, 5));
        CHECK((fixture.get("small") == fixture.store.get("small")));
        CHECK((fixture.get("large") == fixture.store.get("large")));
    }
    fixture.store.set("same", "value-1");
    fixture.store.set("same", "value-2");
    CHECK(fixture.get("same") == "value-2");
}

TEST_CASE("direct reader: expired keys are absent, others are not") {
    Fixture fixture;
    fixture.store.set("over", "x", 1000);
    fixture.store.set("later", "y", 1ll << 60);
    fixture.store.set("large over", pattern(100'000), 1000);
    CHECK(fixture.get("over") == "<none>");
    CHECK(fixture.get("large over") == "<none>");
    CHECK(fixture.get("later") == "y");
    CHECK(fixture.find({"later"})[0].expire_at_ms == 1ll << 60);
}

TEST_CASE("direct reader: every key of a store that grows, through deep directories too") {
    Fixture fixture(16384);
    const auto name = [](int i) { return "key:" + std::to_string(i); };
    int made = 0;
    for (const int until : {1, 10, 1000, 50'000}) {
        for (; made < until; ++made) REQUIRE(fixture.store.set(name(made), std::to_string(made)));
        for (int i = 0; i < made; i += 1 + made / 500) REQUIRE(fixture.get(name(i)) == std::to_string(i));
        REQUIRE(fixture.get(name(made)) == "<none>");
    }
    // Directories of two levels come long before that many keys when one place is split on purpose.
    while (st::Route::from(fixture.store.root().databases[0].route).depth < st::kDirectoryChunkDepthMax + 2)
        REQUIRE(fixture.store->split(0, fixture.store->place_of(name(0))));
    for (int i = 0; i < made; i += 100) REQUIRE(fixture.get(name(i)) == std::to_string(i));
    REQUIRE(fixture.get(name(made)) == "<none>");
}

TEST_CASE("direct reader: many keys together, more than are asked for ahead at once") {
    Fixture fixture;
    std::vector<std::string> names;
    for (int i = 0; i < 200; ++i) {
        names.push_back("k" + std::to_string(i));
        if (i % 3 != 0) fixture.store.set(names.back(), std::to_string(i));
    }
    const auto lookups = fixture.find({names.begin(), names.end()});
    for (int i = 0; i < 200; ++i) CHECK(fixture.value_of(lookups[static_cast<size_t>(i)]) == (i % 3 != 0 ? std::to_string(i) : "<none>"));
    CHECK(fixture.reader.validate(lookups));
}

TEST_CASE("direct reader: what changes between finding and validating does not count") {
    const std::vector<std::pair<const char*, void (*)(TestStore&)>> changes = {
        {"overwritten", [](TestStore& store) { store.set("key", "other"); }},
        {"of another length", [](TestStore& store) { store.set("key", std::string(500, 'x')); }},
        {"deleted", [](TestStore& store) { store.erase("key"); }},
        {"lengthened", [](TestStore& store) { store.append("key", "more"); }},
        {"given an expiry", [](TestStore& store) { store.set("key", "value", 1ll << 60); }},
        {"all cleared", [](TestStore& store) { store.clear(); }},
        {"all cleared and set again", [](TestStore& store) { store.clear(), store.set("key", "value"); }},
        {"its segment split", [](TestStore& store) { store->split(0, store->place_of("key")); }},
    };
    for (const auto& [what, change] : changes) {
        CAPTURE(what);
        Fixture fixture;
        fixture.store.set("key", "value");
        const auto found = fixture.find({"key", "nobody"});
        CHECK(fixture.reader.validate(found));
        change(fixture.store);
        CHECK_FALSE(fixture.reader.validate(std::span(found).first(1)));
        CHECK_FALSE(fixture.reader.validate(found));
        CHECK(fixture.get("key") == fixture.store.get("key"));
    }
}

TEST_CASE("direct reader: a miss does not count when the key was set meanwhile") {
    Fixture fixture;
    const auto in_empty = fixture.find({"key"});
    fixture.store.set("other", "1");
    CHECK_FALSE(fixture.reader.validate(in_empty));  // the database has an index now
    const auto missed = fixture.find({"key"});
    CHECK(fixture.reader.validate(missed));
    fixture.store.set("key", "1");
    CHECK_FALSE(fixture.reader.validate(missed));
}

TEST_CASE("direct reader: a bucket that md has left odd is not read") {
    Fixture fixture;
    fixture.store.set("key", "value");
    const uint64_t at = fixture.store.slot_of("key").bucket_at, version = fixture.store.memory().load(at);
    fixture.store.memory().store(at, version + 1);
    CHECK(fixture.get("key") == "<changed>");
    fixture.store.memory().store(at, version + 2);  // of a commit that is not finished
    CHECK(fixture.get("key") == "<changed>");
    fixture.store.memory().store(at, version);
    CHECK(fixture.get("key") == "value");
}

TEST_CASE("direct reader T8: a bucket changed after the reader began counts only with a fresh number") {
    Fixture fixture;
    fixture.store.set("key", "old");
    fixture.reader.begin();
    fixture.store.set("key", "new");
    DirectLookup lookup;
    lookup.key = "key";
    fixture.reader.find({&lookup, 1});
    CHECK_FALSE(lookup.stable);
    fixture.reader.refresh();
    fixture.reader.find({&lookup, 1});
    CHECK(lookup.stable);
    CHECK(fixture.value_of(lookup) == "new");
}

TEST_CASE("direct reader T9: memory stays while somebody reads who may have found it, and goes afterwards") {
    Fixture fixture;
    for (int i = 0; i < 60'000; ++i) fixture.store.set("key" + std::to_string(i), std::string(100, 'x'));
    fixture.reader.begin();
    fixture.store.clear();
    fixture.store.collect();
    for (int i = 0; i < 1000; ++i) fixture.store->give_back_some(64);
    CHECK(fixture.store.space.given_back == 0);
    CHECK(fixture.store->waits_for_readers());
    CHECK(fixture.store.faults().empty());
    SUBCASE("it ends") { fixture.reader.end(); }
    SUBCASE("it begins anew") {
        fixture.reader.begin();
        for (int i = 0; i < 1000; ++i) fixture.store->give_back_some(64);
        CHECK(fixture.store.space.given_back > 20 * st::kPageBytes);  // but not all: it may have found what goes from now on
        fixture.reader.end();
    }
    SUBCASE("its process has gone") { fixture.line().pid = 0x7fffffff; }
    for (int i = 0; i < 1000; ++i) fixture.store->give_back_some(64);
    CHECK(fixture.store.space.given_back > 20 * st::kPageBytes);
    CHECK_FALSE(fixture.store->waits_for_readers());
    CHECK(fixture.store.faults().empty());
}

TEST_CASE("direct reader T9: a new md finds the empty index pages that its predecessor had kept") {
    Fixture fixture;
    for (int i = 0; i < 60'000; ++i) fixture.store.set("key" + std::to_string(i), std::string(100, 'x'));
    fixture.reader.begin();
    fixture.store.clear();
    fixture.store.collect();
    fixture.store.open();
    fixture.store->set_readers(md::Readers(*fixture.roster));
    CHECK(fixture.store->waits_for_readers());
    fixture.reader.end();
    while (fixture.store->give_back_some(64)) {}
    CHECK_FALSE(fixture.store->waits_for_readers());
    CHECK(fixture.store.report().faults.empty());
}

namespace {

/// A fixture whose reader shows only what the disk has, which is nothing yet.
struct DurableFixture : Fixture {
    DurableFixture() {
        reader.show_up_to(&durable);
        durable = number();
    }
    uint64_t number() { return store.memory().root().number; }
    /// What the disk has is all that there is now.
    void sync() { durable = number(); }
    /// The same read by somebody who does not wait for the disk.
    std::string get_at_once(std::string_view key, unsigned database = 0) {
        reader.show_up_to(nullptr);
        const std::string bytes = get(key, database);
        reader.show_up_to(&durable);
        return bytes;
    }
    bool is_not_durable(std::string_view key, unsigned database = 0) {
        const bool result = find({key}, database)[0].not_durable;
        reader.end();
        return result;
    }
    void check_hidden(std::string_view key, std::string_view value, unsigned database = 0) {
        CHECK(get(key, database) == "<changed>");
        CHECK(is_not_durable(key, database));
        CHECK(get_at_once(key, database) == value);
        sync();
        CHECK(get(key, database) == value);
        CHECK_FALSE(is_not_durable(key, database));
    }

    std::atomic<uint64_t> durable{0};
};

}  // namespace

TEST_CASE("direct reader D3 of log_words.h: a value, its change and its end are shown once the disk has them") {
    DurableFixture fixture;
    fixture.store.set("key", "old");
    fixture.check_hidden("key", "old");
    fixture.store.set("key", "new");
    fixture.check_hidden("key", "new");
    fixture.store.erase("key");
    fixture.check_hidden("key", "<none>");
    fixture.store.set("key", "again");
    fixture.durable = kAllDurable;
    CHECK(fixture.get("key") == "again");
}

TEST_CASE("direct reader D3 of log_words.h: other buckets are read meanwhile") {
    DurableFixture fixture;
    for (int i = 0; i < 1000; ++i) fixture.store.set("key" + std::to_string(i), "value");
    fixture.sync();
    fixture.store.set("key7", "new");
    unsigned shown = 0;
    for (int i = 0; i < 1000; ++i) shown += fixture.get("key" + std::to_string(i)) == "value";
    CHECK(shown > 900);
    CHECK(shown < 1000);
}

TEST_CASE("direct reader D5: databases that were emptied or swapped are shown once the disk has that") {
    DurableFixture fixture;
    fixture.store.set("key", "zero");
    fixture.store.set("key", "three", md::kNoExpiry, 3);
    fixture.store.set("key", "five", md::kNoExpiry, 5);
    fixture.sync();
    CHECK(fixture.get("key", 5) == "five");
    SUBCASE("emptied") {
        fixture.store.clear(0);
        CHECK(fixture.get("key", 5) == "five");  // nothing has happened to that one
        fixture.check_hidden("key", "<none>");
    }
    SUBCASE("emptied and filled") {
        fixture.store.clear(0);
        fixture.store.set("other", "value");
        fixture.check_hidden("key", "<none>");
    }
    SUBCASE("swapped") {
        fixture.store->swap_databases(0, 3);
        REQUIRE(fixture.store->commit());
        CHECK(fixture.get("key", 3) == "<changed>");
        fixture.check_hidden("key", "three");
        CHECK(fixture.get("key", 3) == "zero");
    }
}

TEST_CASE("direct reader D5: a new route is not shown while a commit is under way, whose other words may not be there yet") {
    DurableFixture fixture;
    fixture.store.set("key", "value");
    fixture.store.clear(0);
    st::Root& root = fixture.store.memory().root();
    const uint64_t cleared = std::exchange(root.routed_at, 0);
    fixture.durable = cleared - 1;
    root.committed = cleared;
    CHECK(fixture.get("key") == "<changed>");
    CHECK_FALSE(fixture.is_not_durable("key"));
    root.routed_at = cleared;
    root.committed = 0;
    CHECK(fixture.get("key") == "<changed>");
    CHECK(fixture.is_not_durable("key"));
    fixture.durable = cleared;
    CHECK(fixture.get("key") == "<none>");
}
