// The oplog: records parse back, wrap around and carry absolute values; what they say, done again, gives the store's contents.
#include "md/oplog.h"

#include <map>
#include <string>
#include <vector>

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::EffectKind;
using md::kNoExpiry;

namespace {

struct Effect {
    EffectKind kind;
    unsigned database;
    std::string key;
    std::string bytes;  ///< of the value, if the record has them
    uint64_t value_length;
    int64_t expire_at_ms;
    bool operator==(const Effect&) const = default;
};
struct Record {
    uint64_t number;
    std::vector<Effect> effects;
};

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
/// The record at a position, written apart from md/oplog.cc.
Record parse(TestStore& store, uint64_t at, uint64_t& end) {
    const auto header = from_ring<md::OplogRecord>(store, at);
    REQUIRE(header.bytes % 8 == 0);
    Record record{header.number, {}};
    end = at + header.bytes;
    at += sizeof header;
    for (uint32_t i = 0; i < header.effects; ++i) {
        const auto effect = from_ring<md::EffectHeader>(store, at);
        REQUIRE(effect.other == 0);
        const uint64_t bytes = effect.kind == EffectKind::set ? effect.value_length : 0;
        at += sizeof effect;
        record.effects.push_back({effect.kind, effect.database, from_ring(store, at, effect.key_length),
                                  from_ring(store, at + effect.key_length, bytes), effect.value_length, effect.expire_at_ms});
        at = round_up(at + effect.key_length + bytes, 8);
    }
    REQUIRE(at == end);
    return record;
}

/// Reads each record as soon as it is there.
struct Reader {
    explicit Reader(TestStore& store) : store(store), at(store.root().oplog_tail) {}
    std::vector<Record> read() {
        std::vector<Record> records;
        while (at < store.root().oplog_tail) records.push_back(parse(store, at, at));
        REQUIRE(at == store.root().oplog_tail);
        return records;
    }
    Effect only_effect() {
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
    CHECK(records[0].effects == std::vector<Effect>{{EffectKind::set, 3, "key", "value", 5, 5000}});
    REQUIRE(store.append("key", " and more", 3));
    CHECK(reader.only_effect() == Effect{EffectKind::set, 3, "key", "value and more", 14, 5000});
    REQUIRE(store.append("key", std::string(100, 'x'), 3));
    CHECK(reader.only_effect().bytes == "value and more" + std::string(100, 'x'));
    REQUIRE(store.erase("key", 3));
    CHECK(reader.only_effect() == Effect{EffectKind::erase, 3, "key", "", 0, kNoExpiry});
    REQUIRE(store.clear(3));
    CHECK(reader.only_effect() == Effect{EffectKind::clear_database, 3, "", "", 0, kNoExpiry});
    REQUIRE(store.set("", ""));
    CHECK(reader.only_effect() == Effect{EffectKind::set, 0, "", "", 0, kNoExpiry});
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
        for (const Effect& effect : record.effects) {
            CHECK(effect.kind == EffectKind::erase);
            ++erased[effect.key];
        }
    CHECK(erased.size() == 10);
    CHECK(erased.contains("key9"));
    CHECK_FALSE(erased.contains("key10"));
}

TEST_CASE("oplog: a value too long for an eighth of the ring is there by reference, and so is one in extents") {
    constexpr uint64_t kRing = 1 << 17, kShare = kRing / 8;
    TestStore store(4096, kRing);
    Reader reader(store);
    const uint64_t longest = kShare - sizeof(md::OplogRecord) - sizeof(md::EffectHeader) - 8 - 3;
    for (const uint64_t length : {longest - 8, longest, longest + 1, uint64_t{30000}, uint64_t{200000}}) {
        CAPTURE(length);
        REQUIRE(store.set("key", std::string(length, 'v'), 77));
        const Effect effect = reader.only_effect();
        CHECK(effect.kind == (length <= longest ? EffectKind::set : EffectKind::set_by_reference));
        CHECK(effect.bytes.size() == (length <= longest ? length : 0));
        CHECK(effect.value_length == length);
        CHECK(effect.expire_at_ms == 77);
        CHECK(effect.key == "key");
    }
}

TEST_CASE("oplog: what half of the ring cannot hold is left out, and the record still parses") {
    TestStore store(4096, 1 << 16);
    Reader reader(store);
    REQUIRE(store.set(std::string(70000, 'k'), "v"));
    CHECK(reader.read().empty());
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
    CHECK(records[0].effects.size() < 3000);
    CHECK(records[0].effects.size() > 100);
    CHECK(records[0].effects.back().kind == EffectKind::set_by_reference);
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
            for (const Effect& effect : record.effects) {
                const std::pair at{effect.database, effect.key};
                if (effect.kind == EffectKind::erase) replayed.erase(at);
                else if (effect.kind == EffectKind::clear_database) std::erase_if(replayed, [&](const auto& entry) { return entry.first.first == effect.database; });
                else if (effect.kind == EffectKind::set) replayed[at] = {effect.bytes, effect.expire_at_ms};
                else replayed[at] = {store.get(effect.key, effect.database), effect.expire_at_ms};
            }
    }
    CHECK(store.root().oplog_tail > 5 * store.root().oplog_bytes);
    CHECK(replayed == written);
    CHECK(store.faults() == "");
}
