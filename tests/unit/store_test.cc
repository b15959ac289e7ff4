// The store: values, expiry, clearing in slices, and memory accounting that comes back to zero.
#include "md/store.h"

#include <map>

#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::kNoExpiry;
using md::Store;

namespace {

md::Value value_of(std::string_view bytes, int64_t expire_at_ms = kNoExpiry) {
    return {md::Blob::of(bytes), static_cast<uint32_t>(bytes.size()), expire_at_ms};
}

std::string content(const Store& store, unsigned database, std::string_view key) {
    const md::Value* value = store.find(database, key);
    return value == nullptr ? "<none>" : std::string(value->bytes());
}

/// Not inlined: the compiler would follow the references and see a use after free where there is none.
[[gnu::noinline]] md::Blob shared_with(const md::Blob& blob) { return blob; }

void free_all(Store& store) {
    while (store.free_some(100)) {}
}

}  // namespace

TEST_CASE("store: put, replace, erase") {
    Store store(1);
    store.put(0, "k", value_of("one"));
    store.put(0, "k", value_of("two"));
    CHECK(content(store, 0, "k") == "two");
    CHECK(store.keys(0) == 1);
    CHECK(store.erase(0, "k"));
    CHECK_FALSE(store.erase(0, "k"));
    CHECK(content(store, 0, "k") == "<none>");
    CHECK(store.memory_bytes() == 0);
}

TEST_CASE("store: databases are apart, keys and values are any bytes") {
    Store store(1);
    const std::string key("a\0b\xff", 4);
    store.put(3, key, value_of(std::string_view("\0", 1)));
    store.put(4, "", value_of(""));
    CHECK(content(store, 3, key) == std::string(1, 0));
    CHECK(content(store, 2, key) == "<none>");
    CHECK(content(store, 3, "a") == "<none>");
    CHECK(content(store, 4, "") == "");
}

TEST_CASE("store: keys expire in the order of their time, not one too early, in slices") {
    Store store(1);
    for (int i = 0; i < 10; ++i) store.put(static_cast<unsigned>(i % 3), "k" + std::to_string(i), value_of("v", 100 + i));
    CHECK(store.next_expiry_ms() == 100);
    CHECK(store.expire_some(99, 100) == 0);
    CHECK(store.expire_some(104, 3) == 3);
    CHECK(store.expire_some(104, 100) == 2);
    CHECK(store.next_expiry_ms() == 105);
    CHECK(store.expire_some(1000, 100) == 5);
    CHECK(store.next_expiry_ms() == kNoExpiry);
    CHECK(store.memory_bytes() == 0);
}

TEST_CASE("store: a value's new expiry replaces the old one, or takes it away") {
    Store store(1);
    store.put(0, "k", value_of("v", 100));
    store.put(0, "k", value_of("v", 200));
    CHECK(store.keys_with_expiry(0) == 1);
    CHECK(store.expire_some(150, 10) == 0);
    store.put(0, "k", value_of("v"));
    CHECK(store.keys_with_expiry(0) == 0);
    CHECK(store.expire_some(1000, 10) == 0);
    CHECK(store.keys(0) == 1);
}

TEST_CASE("store: an expired key is still found until it is removed") {
    Store store(1);
    store.put(0, "k", value_of("v", 100));
    CHECK(content(store, 0, "k") == "v");
    store.erase(0, "k");
    CHECK(store.expire_some(1000, 10) == 0);
}

TEST_CASE("store: a cleared database is empty at once and freed in slices") {
    Store store(1);
    for (int i = 0; i < 1000; ++i) store.put(0, "key" + std::to_string(i), value_of("v", i % 2 == 0 ? 100 : kNoExpiry));
    store.put(1, "other", value_of("v"));
    store.clear(0);
    CHECK(store.keys(0) == 0);
    CHECK(store.keys_with_expiry(0) == 0);
    CHECK(content(store, 0, "key1") == "<none>");
    CHECK(store.next_expiry_ms() == kNoExpiry);
    const uint64_t before = store.memory_bytes();
    CHECK(store.free_some(10));
    CHECK(store.memory_bytes() < before);
    store.put(0, "key1", value_of("new"));
    free_all(store);
    CHECK(content(store, 0, "key1") == "new");
    CHECK(store.keys(1) == 1);
}

TEST_CASE("store: clearing what is empty leaves nothing to free") {
    Store store(1);
    store.clear(0);
    CHECK_FALSE(store.free_some(10));
}

TEST_CASE("store: memory grows with what is stored and counts large values nearly exactly") {
    Store store(1);
    store.put(0, "k", value_of(std::string(100'000, 'v')));
    CHECK(store.memory_bytes() > 100'000);
    CHECK(store.memory_bytes() < 101'000);
    store.put(0, "k", value_of("small"));
    CHECK(store.memory_bytes() < 1000);
}

TEST_CASE("store: random changes against a plain map, and the memory comes back to zero") {
    Random random;
    INFO("SEED=" << random.seed);
    Store store(random.seed);
    std::map<std::string, std::pair<std::string, int64_t>> model;
    for (int i = 0; i < 20'000; ++i) {
        const std::string key(1 + random.below(40), static_cast<char>('a' + random.below(26)));
        if (random.below(3) != 0) {
            const std::string bytes = random.bytes(random.below(50));
            const int64_t expiry = random.below(2) == 0 ? kNoExpiry : static_cast<int64_t>(i + random.below(1000));
            store.put(0, key, value_of(bytes, expiry));
            model[key] = {bytes, expiry};
        } else {
            REQUIRE(store.erase(0, key) == (model.erase(key) == 1));
        }
        if (i % 100 == 0) {
            store.expire_some(i, 1'000'000);
            std::erase_if(model, [i](const auto& entry) { return entry.second.second != kNoExpiry && entry.second.second <= i; });
        }
        REQUIRE(content(store, 0, key) == (model.count(key) != 0 ? model[key].first : "<none>"));
        REQUIRE(store.keys(0) == model.size());
    }
    store.clear(0);
    free_all(store);
    CHECK(store.memory_bytes() == 0);
}

TEST_CASE("blob: bytes behind the visible ones belong to whoever writes there first") {
    md::Blob blob = md::Blob::with_capacity(10);
    blob.append(0, "abc");
    const md::Blob shared = shared_with(blob);
    CHECK(blob.can_append(3, 7));
    CHECK_FALSE(blob.can_append(3, 8));
    blob.append(3, "de");
    CHECK_FALSE(shared.can_append(3, 1));
    CHECK(std::string_view(shared.data(), 3) == "abc");
    CHECK_FALSE(md::Blob().can_append(0, 0));
}
