// Items: every length around the limits of chunks and extents, appends in place and not, expiry in both forms, pins.
#include "md/items.h"

#include <array>
#include <string>
#include <vector>

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::kNoExpiry;

namespace {

constexpr uint64_t kPage = st::kPageBytes;

/// Bytes that differ from place to place, so that a piece in the wrong place is seen.
std::string pattern(uint64_t length, unsigned start = 0) {
    std::string bytes(length, 0);
    for (uint64_t i = 0; i < length; ++i) bytes[i] = static_cast<char>((i + start) * 131 >> 3 ^ i >> 11);
    return bytes;
}
bool is_large(TestStore& store, std::string_view key) {
    return (store.memory().as<st::ItemHeader>(store.reference_of(key))->flags & st::kLarge) != 0;
}
st::LargeItem& large_item(TestStore& store, std::string_view key) {
    REQUIRE(is_large(store, key));
    return *store.memory().as<st::LargeItem>(store.reference_of(key));
}
/// A reply that refers to a key's large value; its reference.
uint64_t pin(TestStore& store, std::string_view key, unsigned channel = 2) {
    uint64_t record = 0;
    const md::ReplyPart part{"header", store.reference_of(key), large_item(store, key).value_length};
    REQUIRE(store.operation([&] { return (record = store->add_record(channel, {&part, 1})) != 0; }));
    return record;
}
void release(TestStore& store, uint64_t record, unsigned channel = 2) {
    REQUIRE(store.operation([&] { return store->release_record(channel, record); }));
}

/// Lengths around everything that changes the way in which an item is kept.
std::vector<uint64_t> lengths() {
    std::vector<uint64_t> result;
    for (const uint64_t around : {uint64_t{0}, uint64_t{100}, uint64_t{128}, uint64_t{1024}, uint64_t{st::kSmallItemMax}, kPage, 2 * kPage, 3 * kPage})
        for (uint64_t length = around < 40 ? 0 : around - 40; length <= around + 12; ++length) result.push_back(length);
    return result;
}

}  // namespace

TEST_CASE("items: a value of any length is read as it was written, with a short key and a long one, with an expiry and without") {
    TestStore store;
    for (const uint64_t key_length : {0, 1, 8, 300, 65535, 65536, 70000})
        for (const int64_t expire_at_ms : {kNoExpiry, int64_t{0}, int64_t{1234567890123}}) {
            const std::string key = pattern(key_length, 7);
            for (const uint64_t length : key_length == 8 ? lengths() : std::vector<uint64_t>{0, 1, 32000, kPage - key_length % kPage, kPage, 150000}) {
                CAPTURE(key_length);
                CAPTURE(length);
                const std::string bytes = pattern(length);
                REQUIRE(store.set(key, bytes, expire_at_ms));
                REQUIRE(store.get(key) == bytes);
                REQUIRE(store.find(key)->expire_at_ms == expire_at_ms);
                REQUIRE(store.find(key)->length() == length);
                const bool small = 8 + (expire_at_ms == kNoExpiry ? 0 : 8) + key_length + length <= st::kSmallItemMax && key_length < 65536;
                REQUIRE(is_large(store, key) == !small);
                store.with_items([&](md::Items& items) {
                    const uint64_t item = store.reference_of(key);
                    REQUIRE(items.key_of(item) == key);
                    REQUIRE(items.key_equals(item, key));
                    REQUIRE_FALSE(items.key_equals(item, key + "x"));
                    std::string other = key;
                    if (!other.empty()) {
                        other.back() ^= 1;
                        REQUIRE_FALSE(items.key_equals(item, other));
                    }
                    REQUIRE(items.hash_of(item, TestStore::kSeed) == store->place_of(key).hash);
                    REQUIRE(items.expiry_of(item) == expire_at_ms);
                });
            }
            store.collect();
            REQUIRE(store.faults() == "");
        }
    CHECK(store->keys(0) == 7);
}

TEST_CASE("items: a large item is whole pages and a tail, with nothing left over") {
    TestStore store;
    const std::string key = "12345678";
    for (const uint64_t pages : {0, 1, 2, 3})
        for (const uint64_t tail : {uint64_t{0}, uint64_t{1}, uint64_t{7}, uint64_t{8}, uint64_t{32768}, uint64_t{32769}, kPage - 1}) {
            if (pages == 0 && tail < st::kSmallItemMax) continue;
            CAPTURE(pages);
            CAPTURE(tail);
            const uint64_t length = pages * kPage + tail - key.size();
            REQUIRE(store.set(key, pattern(length)));
            store.collect();
            const st::LargeItem& item = large_item(store, key);
            CHECK(item.page_count == pages);
            CHECK((item.tail != 0) == (tail != 0));
            CHECK(item.key_length == key.size());
            CHECK(item.value_length == length);
            CHECK(item.pins == 0);
            CHECK(store.get(key) == pattern(length));
            CHECK(store.faults() == "");
        }
}

TEST_CASE("items: any part of a large item can be read") {
    Random random;
    INFO("SEED=" << random.seed);
    TestStore store;
    const std::string key = pattern(70000, 3), bytes = pattern(200000), together = key + bytes;
    REQUIRE(store.set(key, bytes));
    store.with_items([&](md::Items& items) {
        for (int i = 0; i < 300; ++i) {
            const uint64_t from = random.below(together.size()), length = random.below(together.size() - from + 1);
            std::string part(length, 0);
            items.read_large(store.reference_of(key), from, length, part.data());
            REQUIRE(part == together.substr(from, length));
        }
    });
}

TEST_CASE("items: a value longer than the table of its pages can name is refused like one that there is no memory for") {
    TestStore store;
    const std::string_view endless(store.memory().as<char>(0), uint64_t{2} << 30);  // never read
    const uint64_t number = store.root().number;
    REQUIRE(store.set("k", "v"));
    CHECK_FALSE(store.set("k", endless));
    CHECK(store.get("k") == "v");
    CHECK(store.root().number <= number + 2);
    CHECK(store.faults() == "");
}

TEST_CASE("items: appends of every size from every length give the same bytes as a string") {
    Random random;
    INFO("SEED=" << random.seed);
    TestStore store;
    for (const int64_t expire_at_ms : {kNoExpiry, int64_t{5000}})
        for (int round = 0; round < 12; ++round) {
            std::string bytes = pattern(1 + random.below(round < 6 ? 100 : 140000));
            REQUIRE(store.set("k", bytes, expire_at_ms));
            while (bytes.size() < 210000) {
                const std::string more = pattern(random.below(random.below(4) == 0 ? 40000 : 3000), static_cast<unsigned>(bytes.size()));
                md::Value value = store.find("k").value();
                value.rest = more;
                REQUIRE(store.set("k", value));
                bytes += more;
                REQUIRE(store.find("k")->length() == bytes.size());
                if (random.below(8) == 0) REQUIRE(store.get("k") == bytes);
            }
            REQUIRE(store.get("k") == bytes);
            REQUIRE(store.find("k")->expire_at_ms == expire_at_ms);
            store.collect();
            REQUIRE(store.faults() == "");
        }
}

TEST_CASE("items: a small value that has grown once grows on where it lies") {
    TestStore store;
    REQUIRE(store.set("k", pattern(1015)));
    REQUIRE(store.append("k", "a"));  // its chunk was full
    const uint64_t item = store.reference_of("k"), used = store.root().used_bytes;
    for (int i = 0; i < 200; ++i) REQUIRE(store.append("k", "b"));
    CHECK(store.reference_of("k") == item);
    CHECK(store.root().used_bytes == used);
    CHECK(store.get("k") == pattern(1015) + "a" + std::string(200, 'b'));
    REQUIRE(store.append("k", std::string(500, 'c')));
    CHECK(store.reference_of("k") != item);
    CHECK(store.faults() == "");
}

TEST_CASE("items: an append in place fills a chunk to its last byte and not one further") {
    TestStore store;
    const std::string key = "key!";
    REQUIRE(store.set(key, "0123"));  // 16 bytes with header and key: the chunk is full
    const uint64_t full = store.reference_of(key);
    REQUIRE(store.append(key, "4"));
    CHECK(store.reference_of(key) != full);
    const uint64_t item = store.reference_of(key);
    const uint64_t capacity = store.with_items([&](md::Items&) {
        md::WriteSet set(store.memory());
        return md::Allocator(store.memory(), set).capacity_of(item);
    });
    REQUIRE(store.append(key, std::string(capacity - 8 - 4 - 5, 'x')));
    CHECK(store.reference_of(key) == item);
    REQUIRE(store.append(key, "y"));
    CHECK(store.reference_of(key) != item);
    CHECK(store.faults() == "");
}

TEST_CASE("items: a large value grows in its tail until that is full, and then moves") {
    TestStore store;
    REQUIRE(store.set("k", pattern(100000)));
    const uint64_t item = store.reference_of("k");
    const uint64_t tail = large_item(store, "k").tail;
    std::string bytes = pattern(100000);
    const uint64_t room = kPage - (bytes.size() + 1) % kPage;
    std::string more = pattern(1000, 5);
    REQUIRE(store.append("k", more));
    bytes += more;
    CHECK(store.reference_of("k") == item);
    more = pattern(room - 1000 - 1);  // a tail never becomes a whole page
    REQUIRE(store.append("k", more));
    bytes += more;
    CHECK(store.reference_of("k") == item);
    CHECK(large_item(store, "k").tail == tail);
    CHECK(store.get("k") == bytes);
    REQUIRE(store.append("k", "z"));
    CHECK(store.reference_of("k") != item);
    CHECK(large_item(store, "k").tail == 0);
    CHECK(store.get("k") == bytes + "z");
    REQUIRE(store.append("k", "z"));  // nor does it begin one in place
    CHECK(store.get("k") == bytes + "zz");
    store.collect();
    CHECK(store.faults() == "");
}

TEST_CASE("items T1: what an append that was given up has written is never seen") {
    for (const uint64_t length : {1000, 100000}) {
        CAPTURE(length);
        TestStore store;
        REQUIRE(store.set("k", pattern(length)));
        REQUIRE(store.append("k", "first"));
        store.operation([&] {
            md::Value value = store.find("k").value();
            value.rest = "lost";
            CHECK(store->put(0, "k", store->place_of("k"), value) == md::Store::Put::done);
            CHECK(store.find("k")->length() == length + 9);
            return false;
        });
        CHECK(store.get("k") == pattern(length) + "first");
        REQUIRE(store.append("k", "next"));
        CHECK(store.get("k") == pattern(length) + "firstnext");
    }
}

TEST_CASE("items: two appends in one operation, and one to a value that the operation has built") {
    // The last one fills its tail, so that the append copies a tail whose first word is not in memory yet.
    for (const uint64_t length : {uint64_t{50}, uint64_t{1000}, uint64_t{100000}, kPage + 1023}) {
        CAPTURE(length);
        TestStore store;
        const st::KeyPlace place = store->place_of("k");
        REQUIRE(store->make_room(0, {&place, 1}));
        const std::string first = pattern(length);
        std::array<std::string, 3> more = {"one", std::string(300, '2'), "three"};
        REQUIRE(store.operation([&] {
            if (store->put(0, "k", place, md::Value::of(first, kNoExpiry)) != md::Store::Put::done) return false;
            for (const std::string& part : more) {
                md::Value value = store->find(0, "k", place).value();
                value.rest = part;
                if (store->put(0, "k", place, value) != md::Store::Put::done) return false;
            }
            return true;
        }));
        // What the operation has built is read through its write set until the commit.
        CHECK(store.get("k").substr(length) == more[0] + more[1] + more[2]);
        CHECK(store.get("k") == first + more[0] + more[1] + more[2]);
        CHECK(store->keys(0) == 1);
        store.collect();
        CHECK(store.faults() == "");
    }
}

TEST_CASE("items: nothing appended is still the same value, whatever its expiry") {
    TestStore store;
    for (const uint64_t length : {5, 100000}) {
        for (const int64_t expire_at_ms : {kNoExpiry, int64_t{7000}}) {
            REQUIRE(store.set("k", pattern(length), expire_at_ms));
            REQUIRE(store.set("k", store.find("k").value()));
            CHECK(store.get("k") == pattern(length));
            CHECK(store.find("k")->expire_at_ms == expire_at_ms);
        }
    }
    store.collect();
    CHECK(store.faults() == "");
}

TEST_CASE("items: an expiry comes, changes and goes with the value kept, and the counts follow") {
    for (const uint64_t length : {0, 5, 1000, 32740, 32760, 100000}) {
        CAPTURE(length);
        TestStore store;
        REQUIRE(store.set("k", pattern(length)));
        CHECK(store->keys_with_expiry(0) == 0);
        for (const int64_t expire_at_ms : {int64_t{1000}, int64_t{2000}, int64_t{2000}, kNoExpiry, int64_t{0}, kNoExpiry}) {
            md::Value value = store.find("k").value();
            value.expire_at_ms = expire_at_ms;
            REQUIRE(store.set("k", value));
            CHECK(store.get("k") == pattern(length));
            CHECK(store.find("k")->expire_at_ms == expire_at_ms);
            CHECK(store.slot_of("k").content.expires == (expire_at_ms != kNoExpiry));
            CHECK(store->keys_with_expiry(0) == (expire_at_ms != kNoExpiry));
            CHECK(store->any_expiry() == (expire_at_ms != kNoExpiry));
            CHECK(store.faults() == "");
        }
        CHECK(store->keys(0) == 1);
    }
}

TEST_CASE("items: a large value that is erased is freed in slices, and all of its memory comes back") {
    TestStore store;
    REQUIRE(store.set("other", "x"));
    const uint64_t used = store.root().used_bytes;
    REQUIRE(store.set("k", pattern(10 * kPage + 100)));
    REQUIRE(store.erase("k"));
    CHECK(store.root().used_bytes > used + 10 * kPage);
    CHECK(store.report().garbage == 1);
    for (int i = 0; i < 3; ++i) {
        CHECK(store->free_some(3));
        CHECK(store.faults() == "");
        CHECK(store.report().garbage == 1);
    }
    CHECK(store->free_some(3));
    CHECK(store.root().used_bytes == used);
    CHECK_FALSE(store->free_some(3));
    CHECK(store.faults() == "");
}

TEST_CASE("items: a pinned value outlives its key until the last reply that refers to it is freed") {
    TestStore store;
    REQUIRE(store.set("other", "x"));
    REQUIRE(store.set("k", pattern(100000)));
    const uint64_t item = store.reference_of("k");
    const uint64_t first = pin(store, "k"), second = pin(store, "k");
    CHECK(large_item(store, "k").pins == 2);
    CHECK(store.faults() == "");
    SUBCASE("erased") { REQUIRE(store.erase("k")); }
    SUBCASE("overwritten") { REQUIRE(store.set("k", "new")); }
    SUBCASE("cleared") {
        REQUIRE(store.clear());
        store.collect();
    }
    const auto& large = *store.memory().as<st::LargeItem>(item);
    CHECK(large.pins == 2 + st::kUnlinked);
    CHECK(store.report().garbage == 0);
    CHECK(store.faults() == "");
    const auto still_there = [&] {
        std::string bytes(100000, 0);
        store.with_items([&](md::Items& items) { items.read_large(item, 1, bytes.size(), bytes.data()); });
        return bytes == pattern(100000);
    };
    CHECK(still_there());
    release(store, first);
    store.collect();
    CHECK(large.pins == 1 + st::kUnlinked);
    CHECK(still_there());
    CHECK(store.faults() == "");
    release(store, second);
    store.collect();
    CHECK(store.faults() == "");
    CHECK(store.root().garbage == 0);
    REQUIRE(store.clear());
    store.collect();
    CHECK(store.root().used_bytes == 0);
}

TEST_CASE("items: a pinned value that keeps its key is not freed with the reply") {
    TestStore store;
    REQUIRE(store.set("k", pattern(100000)));
    release(store, pin(store, "k"));
    store.collect();
    CHECK(large_item(store, "k").pins == 0);
    CHECK(store.get("k") == pattern(100000));
    CHECK(store.faults() == "");
}

TEST_CASE("items: a pinned value grows in place; the reply has the length that it was given") {
    TestStore store;
    REQUIRE(store.set("k", pattern(100000)));
    const uint64_t record = pin(store, "k");
    REQUIRE(store.append("k", "more"));
    CHECK(store.memory().as<st::ReplyChunk>(store.memory().as<st::ReplyRecord>(record)->first_chunk)->item_length == 100000);
    CHECK(large_item(store, "k").pins == 1);
    release(store, record);
    store.collect();
    CHECK(store.get("k") == pattern(100000) + "more");
    CHECK(store.faults() == "");
}

TEST_CASE("items: a value is pinned and let go of in one operation, in either order") {
    TestStore store;
    REQUIRE(store.set("k", pattern(100000)));
    const uint64_t item = store.reference_of("k");
    const md::ReplyPart part{"", item, 100000};
    uint64_t record = 0;
    const auto let_go = [&] { return store->erase(0, "k", store->place_of("k")); };
    const auto pin_it = [&] { return (record = store->add_record(2, {&part, 1})) != 0; };
    bool collected_before = true;
    SUBCASE("pinned first") { REQUIRE(store.operation([&] { return pin_it() && let_go(); })); }
    SUBCASE("pinned last") { REQUIRE(store.operation([&] { return let_go() && pin_it(); })); }
    SUBCASE("pinned last, and released before the garbage is looked at") {
        REQUIRE(store.operation([&] { return let_go() && pin_it(); }));
        collected_before = false;
    }
    CHECK(store.faults() == "");
    if (collected_before) {
        store.collect();
        CHECK(store.report().garbage == 0);
        CHECK(store.memory().as<st::LargeItem>(item)->pins == 1 + st::kUnlinked);
        CHECK(store.faults() == "");
        std::string bytes(100000, 0);
        store.with_items([&](md::Items& items) { items.read_large(item, 1, bytes.size(), bytes.data()); });
        CHECK(bytes == pattern(100000));
    }
    release(store, record);
    while (store->free_some(1)) REQUIRE(store.faults() == "");
    CHECK(store.faults() == "");
    REQUIRE(store.clear());
    store.collect();
    CHECK(store.root().used_bytes == 0);
}

TEST_CASE("records: a channel's replies are a list; only its own can be released, each once; all go with the channel") {
    TestStore store;
    std::vector<uint64_t> records;
    const std::vector<md::ReplyPart> parts = {{pattern(10), 0, 0}, {pattern(60000), 0, 0}, {"", 0, 0}};
    for (int i = 0; i < 5; ++i) REQUIRE(store.operation([&] { return (records.emplace_back(store->add_record(4, parts))) != 0; }));
    CHECK(store.report().records == 5);
    CHECK(store.faults() == "");
    const auto released = [&](unsigned channel, uint64_t record) {
        return store.operation([&] { return store->release_record(channel, record); });
    };
    CHECK_FALSE(released(5, records[0]));
    CHECK_FALSE(released(4, 0));
    CHECK_FALSE(released(4, records[0] + 8));
    for (const int i : {2, 0, 4}) {  // in the middle, the oldest, the youngest
        CHECK(released(4, records[static_cast<size_t>(i)]));
        CHECK_FALSE(released(4, records[static_cast<size_t>(i)]));
        CHECK(store.faults() == "");
    }
    CHECK(store.report().records == 2);
    REQUIRE(store.operation([&] {
        store->set_cursors(4, 100, 200);
        return true;
    }));
    CHECK(store->channel(4).request_head == 100);
    CHECK(store->channel(4).reply_tail == 200);
    REQUIRE(store.operation([&] {
        store->reset_channel(4, 77);
        return true;
    }));
    CHECK(store->channel(4).generation == 77);
    CHECK(store->channel(4).request_head == 0);
    CHECK(store->channel(4).reply_tail == 0);
    CHECK(store.report().records == 0);
    CHECK(store.report().garbage == 5);
    CHECK(store.faults() == "");
    while (store->free_some(1)) REQUIRE(store.faults() == "");
    CHECK(store.root().used_bytes == 0);
}
