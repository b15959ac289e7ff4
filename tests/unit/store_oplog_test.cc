// The oplog: records parse back, wrap around and carry absolute values; what they say, done again, gives the store's contents.
#include "md/oplog.h"

#include <map>
#include <string>
#include <vector>

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::kNoExpiry;

namespace {

/// An effect with its bytes.
struct Logged {
    EffectKind kind;
    unsigned database;
    std::string key, bytes;
    int64_t expire_at_ms;  ///< of a range, where it begins
    bool operator==(const Logged&) const = default;
};
struct Record {
    uint64_t number;
    bool by_reference;
    std::vector<Logged> effects;
};

/// Bytes that tell where they are from.
std::string long_text(uint64_t length) {
    std::string bytes;
    for (uint64_t i = 0; bytes.size() < length; ++i) bytes += std::to_string(i) + ' ';
    bytes.resize(length);
    return bytes;
}

/// Copies bytes out of the ring.
std::string from_ring(TestStore& store, uint64_t at, uint64_t length) {
    std::string bytes(length, 0);
    for (uint64_t i = 0; i < length; ++i) bytes[i] = *store.memory().as<char>(st::kOplogAt + (at + i) % store.root().oplog_bytes);
    return bytes;
}
template <class T>
T from_ring(TestStore& store, uint64_t at) {
    T result;
    std::memcpy(&result, from_ring(store, at, sizeof result).data(), sizeof result);
    return result;
}
/// What a record by reference refers to.
std::string referred(TestStore& store, const OplogReference& reference) {
    std::string bytes;
    for (uint64_t chunk = store.memory().as<st::ReplyRecord>(reference.record)->first_chunk; chunk != 0;) {
        const auto& body = *store.memory().as<st::ReplyChunk>(chunk);
        bytes.append(store.memory().as<char>(chunk + sizeof body), body.bytes);
        if (body.item != 0) {
            std::string value(body.item_length, 0);
            store->read_large_value(body.item, 0, body.item_length, value.data());
            bytes += value;
        }
        chunk = body.next_chunk;
    }
    REQUIRE(bytes.size() == reference.bytes);
    return bytes;
}
/// The record at a position, written apart from md/oplog.cc.
Record parse(TestStore& store, uint64_t at, uint64_t& end) {
    const auto header = from_ring<OplogRecord>(store, at);
    REQUIRE(header.bytes % 8 == 0);
    Record record{header.number, header.by_reference != 0, {}};
    end = at + header.bytes;
    std::string bytes = from_ring(store, at + sizeof header, header.bytes - sizeof header);
    if (record.by_reference) bytes = referred(store, from_ring<OplogReference>(store, at + sizeof header));
    EffectReader reader(bytes);
    for (Effect effect; reader.next(effect);)
        record.effects.push_back({effect.header.kind, effect.header.database, std::string(effect.key), std::string(effect.value), effect.header.expire_at_ms});
    REQUIRE_FALSE(reader.faulty());
    return record;
}

/// Reads each record as soon as it is there.
struct Reader {
    explicit Reader(TestStore& store) : store(store), at(store.root().oplog_tail) { store->set_oplog_on(true); }
    std::vector<Record> read() {
        std::vector<Record> records;
        while (at < store.root().oplog_tail) records.push_back(parse(store, at, at));
        REQUIRE(at == store.root().oplog_tail);
        return records;
    }
    Logged only_effect() {
        const std::vector<Record> records = read();
        REQUIRE(records.size() == 1);
        REQUIRE(records[0].effects.size() == 1);
        return records[0].effects[0];
    }
    TestStore& store;
    uint64_t at;
};

}  // namespace

TEST_CASE("oplog: each operation is one record with the number of its commit; effects have absolute values") {
    TestStore store;
    Reader reader(store);
    REQUIRE(store.set("key", "value", 5000, 3));
    std::vector<Record> records = reader.read();
    REQUIRE(records.size() == 1);
    CHECK(records[0].number == store.root().number);
    CHECK(records[0].effects == std::vector<Logged>{{EffectKind::set, 3, "key", "value", 5000}});
    REQUIRE(store.append("key", " and", 3));
    CHECK(reader.only_effect() == Logged{EffectKind::set, 3, "key", "value and", 5000});
    REQUIRE(store.append("key", " m", 3));  // fits behind the value where it lies
    CHECK(reader.only_effect() == Logged{EffectKind::write_range, 3, "key", " m", 9});
    REQUIRE(store.append("key", std::string(100, 'x'), 3));
    CHECK(reader.only_effect().bytes == "value and m" + std::string(100, 'x'));
    REQUIRE(store.set_expiry("key", 6000, 3));
    CHECK(reader.only_effect() == Logged{EffectKind::set_expiry, 3, "key", "", 6000});
    REQUIRE(store.erase("key", 3));
    CHECK(reader.only_effect() == Logged{EffectKind::erase, 3, "key", "", kNoExpiry});
    REQUIRE(store.clear(3));
    CHECK(reader.only_effect() == Logged{EffectKind::clear_database, 3, "", "", kNoExpiry});
    REQUIRE(store.set("", ""));
    CHECK(reader.only_effect() == Logged{EffectKind::set, 0, "", "", kNoExpiry});
}

TEST_CASE("oplog: an operation of several effects is one record, in their order") {
    TestStore store;
    REQUIRE(store.set("old", "v"));
    Reader reader(store);
    REQUIRE(store.operation([&] {
        store->erase(0, "old", store->place_of("old"));
        store->put(0, "a", store->place_of("a"), md::Value::of("1", kNoExpiry));
        store->put(0, "a", store->place_of("a"), md::Value::of("2", kNoExpiry));
        return true;
    }));
    const std::vector<Record> records = reader.read();
    REQUIRE(records.size() == 1);
    REQUIRE(records[0].effects.size() == 3);
    CHECK(records[0].effects[0].kind == EffectKind::erase);
    CHECK(records[0].effects[2].bytes == "2");
}

TEST_CASE("oplog T1: what has no effect, is given up or finds no memory leaves no record") {
    TestStore store;
    store->set_oplog_on(true);
    REQUIRE(store.set("k", "v"));
    const uint64_t tail = store.root().oplog_tail;
    CHECK_FALSE(store.erase("absent"));
    CHECK(store.operation([] { return true; }));
    store.operation([&] {
        CHECK(store->put(0, "k", store->place_of("k"), md::Value::of("lost", kNoExpiry)) == md::Store::Put::done);
        return false;
    });
    store.space.calls_left = 0;
    CHECK_FALSE(store.set("k", std::string(5'000'000, 'x')));
    store->free_some(1);
    store->give_back_some(1);
    CHECK(store.root().oplog_tail == tail);
    store.space.calls_left = TestMemory::kUnlimited;
    REQUIRE(store.set("k", "next"));
    uint64_t end;
    CHECK(parse(store, tail, end).effects[0].bytes == "next");
}

TEST_CASE("oplog: keys that expire are erased in it") {
    TestStore store;
    for (int i = 0; i < 20; ++i) REQUIRE(store.set("key" + std::to_string(i), "v", 1000 + i));
    Reader reader(store);
    CHECK(store->expire_some(1009, 1000) == 10);
    std::map<std::string, int> erased;
    for (const Record& record : reader.read())
        for (const Logged& effect : record.effects) {
            CHECK(effect.kind == EffectKind::erase);
            ++erased[effect.key];
        }
    CHECK(erased.size() == 10);
    CHECK(erased.contains("key9"));
    CHECK_FALSE(erased.contains("key10"));
}

TEST_CASE("oplog: a record longer than a quarter of the ring is there by reference, and so is a value in extents") {
    constexpr uint64_t kRing = 1 << 16, kShare = kRing / kOplogRecordShare;
    TestStore store(4096, kRing);
    Reader reader(store);
    const uint64_t longest = kShare - sizeof(OplogRecord) - sizeof(EffectHeader) - 3;
    for (const uint64_t length : {longest - 8, longest, longest + 8, uint64_t{30000}, uint64_t{200000}}) {
        CAPTURE(length);
        REQUIRE(store.set("key", long_text(length), 77));
        const std::vector<Record> records = reader.read();
        REQUIRE(records.size() == 1);
        CHECK(records[0].by_reference == (length > longest));
        CHECK(records[0].effects == std::vector<Logged>{{EffectKind::set, 0, "key", long_text(length), 77}});
    }
}

TEST_CASE("oplog O3: what a record refers to stays as it is until it is released, and then goes") {
    TestStore store(4096, 1 << 16);
    Reader reader(store);
    REQUIRE(store.set("other", "v"));
    reader.read();
    const uint64_t used = store->used_bytes();
    const std::string first = long_text(200000), patch(300, 'p');
    REQUIRE(store.set("key", first));
    md::Value value = store.find("key").value();
    value.patch = patch;
    value.patch_at = 100000;
    REQUIRE(store.set("key", value));
    REQUIRE(store.erase("key"));
    while (store->free_some(100)) {}
    const std::vector<Record> records = reader.read();
    REQUIRE(records.size() == 3);
    CHECK(records[0].effects[0].bytes == first);
    CHECK(records[1].effects[0].bytes == std::string(first).replace(100000, patch.size(), patch));
    CHECK(store.faults() == "");
    while (store->release_oplog(reader.at)) {}
    while (store->free_some(100)) {}
    CHECK(store.root().oplog_released == reader.at);
    CHECK(store.root().oplog_records == 0);
    CHECK(store->used_bytes() == used);
    CHECK(store.faults() == "");
}

TEST_CASE("oplog: thousands of effects, and a key that is longer than the ring, are there by reference") {
    TestStore store(4096, 1 << 16);
    Reader reader(store);
    const std::string key(70000, 'k');
    REQUIRE(store.set(key, "v"));
    CHECK(reader.only_effect() == Logged{EffectKind::set, 0, key, "v", kNoExpiry});
    std::vector<st::KeyPlace> places;
    for (int i = 0; i < 3000; ++i) places.push_back(store->place_of("key" + std::to_string(i)));
    REQUIRE(store->make_room(0, places));
    REQUIRE(store.operation([&] {
        for (size_t i = 0; i < places.size(); ++i)
            if (store->put(0, "key" + std::to_string(i), places[i], md::Value::of("value", kNoExpiry)) != md::Store::Put::done) return false;
        return true;
    }));
    const std::vector<Record> records = reader.read();
    REQUIRE(records.size() == 1);
    REQUIRE(records[0].effects.size() == 3000);
    CHECK(records[0].effects[2999] == Logged{EffectKind::set, 0, "key2999", "value", kNoExpiry});
    CHECK(store.faults() == "");
}

TEST_CASE("oplog O1: nothing is written over before it is released, and an operation without room is given up") {
    TestStore store(4096, 1 << 16);
    store->set_oplog_on(true);
    const std::string value(1000, 'v');
    const uint64_t began = store.root().oplog_tail;
    unsigned fitted = 0;
    const auto set = [&](const std::string& key) {
        const st::KeyPlace place = store->place_of(key);
        if (!store->make_room(0, {&place, 1})) return false;
        store->begin_record();
        if (store->put(0, key, place, md::Value::of(value, kNoExpiry)) == md::Store::Put::done && store->end_record()) return store->commit();
        store->abandon();
        return false;
    };
    while (fitted < 1000 && set("key" + std::to_string(fitted))) ++fitted;
    constexpr uint64_t kRing = 1 << 16, kShare = kRing / kOplogRecordShare;
    CHECK(fitted == (kRing - kShare) / (sizeof(OplogRecord) + sizeof(EffectHeader) + 1008) + 1);
    CHECK_FALSE(store->oplog_has_room());
    CHECK(store.get("key" + std::to_string(fitted)) == "<none>");
    uint64_t end;
    CHECK(parse(store, began, end).effects[0].key == "key0");
    CHECK_FALSE(store->release_oplog(store.root().oplog_tail));
    CHECK(store->oplog_has_room());
    CHECK(set("key" + std::to_string(fitted)));
}

TEST_CASE("oplog O2: nothing is written while nobody follows") {
    TestStore store;
    store->set_oplog_on(true);
    REQUIRE(store.set("large", long_text(100000)));
    store->set_oplog_on(false);
    const uint64_t tail = store.root().oplog_tail;
    CHECK(store.root().oplog_records == 0);
    REQUIRE(store.set("key", "value"));
    REQUIRE(store.set("large", long_text(90000)));
    CHECK(store.root().oplog_tail == tail);
    store->set_oplog_on(true);
    CHECK(store.root().oplog_started == tail);
    CHECK(store.root().oplog_released == tail);
    Reader reader(store);
    REQUIRE(store.erase("key"));
    CHECK(reader.only_effect() == Logged{EffectKind::erase, 0, "key", "", kNoExpiry});
    CHECK(store.faults() == "");
}

TEST_CASE("oplog: records around the ring, done again in their order, give the store's contents") {
    Random random;
    INFO("SEED=" << random.seed);
    TestStore store(4096, 1 << 16);
    Reader reader(store);
    using Contents = std::map<std::pair<unsigned, std::string>, Expected>;
    Contents replayed, written;
    for (int i = 0; i < 8000; ++i) {
        const auto database = static_cast<unsigned>(random.below(3));
        const std::string key = "key" + std::to_string(random.below(60)) + std::string(random.below(30), 'k');
        switch (random.below(40)) {
            case 0:
                REQUIRE(store.clear(database));
                std::erase_if(written, [&](const auto& entry) { return entry.first.first == database; });
                break;
            case 1: case 2: case 3: case 4: case 5: case 6: case 7: case 8:
                store.erase(key, database);
                written.erase({database, key});
                break;
            case 9: case 10: case 11: case 12:
                if (!written.contains({database, key})) break;
                REQUIRE(store.append(key, "more", database));
                written[{database, key}].bytes += "more";
                break;
            default: {
                const Expected value{random.bytes(random.below(random.below(50) == 0 ? 60000 : 200)), random.below(3) == 0 ? int64_t{9000} : kNoExpiry};
                REQUIRE(store.set(key, value.bytes, value.expire_at_ms, database));
                written[{database, key}] = value;
            }
        }
        for (const Record& record : reader.read())
            for (const Logged& effect : record.effects) {
                const std::pair at{effect.database, effect.key};
                if (effect.kind == EffectKind::erase) replayed.erase(at);
                else if (effect.kind == EffectKind::clear_database) std::erase_if(replayed, [&](const auto& entry) { return entry.first.first == effect.database; });
                else if (effect.kind == EffectKind::set) replayed[at] = {effect.bytes, effect.expire_at_ms};
                else if (effect.kind == EffectKind::write_range) replayed[at].bytes.replace(effect.expire_at_ms, std::string::npos, effect.bytes);
            }
    }
    CHECK(store.root().oplog_tail > 5 * store.root().oplog_bytes);
    CHECK(replayed == written);
    CHECK(store.faults() == "");
}
