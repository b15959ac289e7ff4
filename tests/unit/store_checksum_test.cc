// Checksums of the data: they are of the data alone, each operation keeps them, a walk beside operations finds the same, and a byte that is not what was
// written is found. T10 of common/store_layout.h (check_store looks at it, too), W1 to W3 of md/checksum_walk.h.
#include "common/data_checksum.h"

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

constexpr unsigned kKeys = 300;
constexpr uint64_t kSlice = 0;  ///< until when: a slice is as short as it can be

void keep(TestStore& store) {
    store->begin_checksum_walk();
    while (!store->walk_checksums(kSlice)) {}
    store->keep_checksums();
}

/// Operations of all kinds on some keys.
class Changes {
  public:
    Changes(TestStore& store, Random& random) : store_(store), random_(random) {}

    void one() {
        const std::string key = "key:" + std::to_string(random_.below(kKeys));
        const auto database = static_cast<unsigned>(random_.below(3));
        const auto value = store_.find(key, database);
        switch (random_.below(value ? 12 : 3)) {
            case 3: store_.erase(key, database); break;
            case 4: case 5: store_.append(key, random_.bytes(1 + random_.below(3000)), database); break;
            case 6: store_.set_expiry(key, random_.below(2) == 0 ? md::kNoExpiry : static_cast<int64_t>(random_.below(1'000'000)), database); break;
            case 7: patch(key, *value, database); break;
            case 8: if (random_.below(60) == 0) store_.clear(database); break;
            case 9: if (random_.below(40) == 0) swap(database); break;
            case 10: several(); break;
            default: store_.set(key, random_.bytes(length()), random_.below(4) == 0 ? static_cast<int64_t>(random_.below(1'000'000)) : md::kNoExpiry, database);
        }
        store_.collect();
    }

  private:
    uint64_t length() {
        constexpr uint64_t kLengths[] = {0, 1, 60, 64, 128, 4095, 4096, 4097, 9000, 33'000, 70'000, 131'072, 300'000};
        return random_.below(4) != 0 ? random_.below(200) : kLengths[random_.below(std::size(kLengths))];
    }
    void patch(const std::string& key, md::Value value, unsigned database) {
        if (value.large == 0) return;
        const uint64_t count = std::min<uint64_t>(1 + random_.below(300), value.stored_length);
        const std::string bytes = random_.bytes(count);
        value.patch = bytes;
        value.patch_at = random_.below(value.stored_length - count + 1);
        store_.set(key, value, database);
    }
    void swap(unsigned database) {
        store_.operation([&] {
            store_->swap_databases(database, (database + 1) % 3);
            return true;
        });
    }
    /// One operation that changes a key more than once, as MSET may.
    void several() {
        const std::string bytes[] = {random_.bytes(40), random_.bytes(40), random_.bytes(90)};
        store_.operation([&] {
            for (const std::string& each : bytes)
                if (store_->put(0, "several", store_->place_of("several"), md::Value::of(each, md::kNoExpiry)) != md::Store::Put::done) return false;
            return true;
        });
    }

    TestStore& store_;
    Random& random_;
};

}  // namespace

TEST_CASE("checksums: every operation keeps them") {
    Random random;
    INFO(random.seed);
    TestStore store;
    keep(store);
    Changes changes(store, random);
    for (unsigned turn = 0; turn < 60; ++turn) {
        for (unsigned i = 0; i < 40; ++i) changes.one();
        REQUIRE(store.faults() == "");
        if (turn % 10 == 0) store.open();
    }
}

TEST_CASE("checksums: a walk beside operations finds what is there, and what is kept agrees with it") {
    Random random;
    INFO(random.seed);
    TestStore store;
    Changes changes(store, random);
    for (unsigned i = 0; i < 2000; ++i) changes.one();
    CHECK_FALSE(store->keeps_checksums());
    store->begin_checksum_walk();
    unsigned slices = 0;
    for (bool ended = false; !ended; ++slices) {
        if (random.below(3) == 0) changes.one();
        ended = store->walk_checksums(kSlice);
    }
    CHECK(slices > 3);
    store->keep_checksums();
    REQUIRE(store.faults() == "");
    for (unsigned turn = 0; turn < 10; ++turn) {
        store->begin_checksum_walk();
        while (!store->walk_checksums(kSlice))
            if (random.below(2) == 0) changes.one();
        CHECK(store->walk_agrees());
        CHECK(store->checksum_walk().keys > 0);
        store->end_checksum_walk();
    }
    REQUIRE(store.faults() == "");
}

TEST_CASE("checksums: a value that takes long to read is read again when it has changed, and in the end in one go") {
    TestStore store(16384);
    store.set("long", std::string(20 << 20, 'x'));
    store->begin_checksum_walk();
    unsigned slices = 0;
    for (; !store->walk_checksums(kSlice); ++slices) {
        if (slices % 7 == 0) store.append("long", "y");
        REQUIRE(slices < 5000);
    }
    CHECK(slices > 20);
    store->keep_checksums();
    CHECK(store.faults() == "");
}

TEST_CASE("checksums: an operation that is given up changes none") {
    TestStore store;
    keep(store);
    store.set("key", "value");
    const uint64_t before = store->checksum();
    store.operation([&] {
        store->put(0, "key", store->place_of("key"), md::Value::of("another", md::kNoExpiry));
        return false;
    });
    CHECK(store->checksum() == before);
    store->begin_checksum_walk();
    store.operation([&] {
        store->put(0, "key", store->place_of("key"), md::Value::of("another", md::kNoExpiry));
        return false;
    });
    while (!store->walk_checksums(kSlice)) {}
    CHECK(store->walk_agrees());
}

TEST_CASE("checksums: they are of the data and of nothing else, and each part of it counts") {
    TestStore one, other;
    keep(one), keep(other);
    one.set("a", "1"), one.set("b", std::string(50'000, 'b')), one.set("c", "3", 77);
    other.set("c", "0"), other.set("b", std::string(49'990, 'b')), other.set("x", "gone");
    CHECK(one->checksum() != other->checksum());
    other.append("b", "bbbbbbbbbb"), other.set("c", "3"), other.set_expiry("c", 77), other.erase("x"), other.set("a", "1");
    CHECK(one->checksum() == other->checksum());
    const uint64_t same = one->checksum();
    other.set_expiry("c", 78);
    CHECK(other->checksum() != same);
    other.set_expiry("c", 77);
    CHECK(other->checksum() == same);
    other.set("a", "1", md::kNoExpiry, 1), other.erase("a");  // the same key in another database
    CHECK(other->checksum() != same);
    TestStore lengths;
    keep(lengths);
    const uint64_t empty = lengths->checksum();
    lengths.set("key", "");
    CHECK(lengths->checksum() != empty);
    lengths.erase("key");
    CHECK(lengths->checksum() == empty);
}

TEST_CASE("checksums: a byte that is not what was written is found, wherever it lies") {
    TestStore store;
    keep(store);
    store.set("small", "a value"), store.set("large", std::string(200'000, 'x')), store.set("timed", "value", 12345);
    REQUIRE(store.faults() == "");
    const auto finds = [&](std::byte* at) {
        *at ^= std::byte{4};
        store->begin_checksum_walk();
        while (!store->walk_checksums(kSlice)) {}
        const bool agrees = store->walk_agrees();
        store->end_checksum_walk();
        const bool said = contains(store.faults(), "is not what was written");
        *at ^= std::byte{4};
        return !agrees && said;
    };
    CHECK(finds(store.memory().at(store.reference_of("small") + sizeof(st::ItemHeader) + 6)));
    CHECK(finds(store.memory().at(store.reference_of("timed") + sizeof(st::ItemHeader) + 1)));
    const auto& large = *store.memory().as<st::LargeItem>(store.reference_of("large"));
    const uint32_t page = store.memory().as<uint32_t>(store.reference_of("large") + sizeof large)[1];
    CHECK(finds(store.memory().at((uint64_t{page} << st::kPageShift) + 40'000)));
    CHECK(finds(store.memory().at(large.tail + 100)));
    CHECK(store.faults() == "");
}

TEST_CASE("checksums: kept no more they cost nothing and say nothing") {
    TestStore store;
    keep(store);
    store.set("key", "value");
    store->forget_checksums();
    CHECK_FALSE(store->keeps_checksums());
    CHECK(store.root().databases[0].checksum == 0);
    store.set("key", "another"), store.clear();
    CHECK(store.root().databases[0].checksum == 0);
    CHECK(store.faults() == "");
}

TEST_CASE("checksums: what is said in the oplog comes alone, with its number") {
    TestStore store;
    store->set_oplog_on(true);
    keep(store);
    store.set("key", "value");
    const uint64_t tail = store.root().oplog_tail;
    store.operation([&] { return store->log_checksum(store->checksum(), true), true; });
    OplogRecord record;
    store->oplog().copy_out(tail, &record, sizeof record);
    std::string bytes(record.bytes - sizeof record, '\0');
    store->oplog().copy_out(tail + sizeof record, bytes.data(), bytes.size());
    EffectReader reader(bytes);
    Effect effect;
    REQUIRE(reader.next(effect));
    CHECK(effect.header.kind == EffectKind::checksum);
    CHECK(effect.header.checksum() == store->checksum());
    CHECK(effect.header.other == 1);
    CHECK_FALSE(reader.next(effect));
}
