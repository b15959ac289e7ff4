// Effects as bytes: what was put together comes apart again, and bytes that nobody has put together are faults and nothing worse.
#include <cstring>
#include <vector>

#include "common/effects.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

std::string one(EffectHeader header, std::string_view key, std::string_view value) {
    std::string bytes;
    append_effect(bytes, header, key, value);
    return bytes;
}

/// The number of effects before the end or the fault.
size_t count_of(std::string_view bytes, bool& faulty) {
    EffectReader reader(bytes);
    Effect effect;
    size_t count = 0;
    while (reader.next(effect)) ++count;
    faulty = reader.faulty();
    return count;
}

/// Whether bytes with this header, which is changed after they were made, are a fault.
template <class Change>
bool is_fault(EffectHeader header, std::string_view key, std::string_view value, Change change) {
    std::string bytes = one(header, key, value);
    std::memcpy(&header, bytes.data(), sizeof header);
    change(header);
    std::memcpy(bytes.data(), &header, sizeof header);
    bool faulty = false;
    const size_t count = count_of(bytes, faulty);
    REQUIRE(count + faulty == 1);
    return faulty;
}

constexpr EffectHeader kSet{EffectKind::set, 3, 0, 0, 0, -1};

}  // namespace

TEST_CASE("effects codec: round trip of every kind") {
    std::string bytes;
    const std::string long_value(100'001, 'v'), binary("\0\xff\n", 3);
    append_effect(bytes, {EffectKind::set, 15, 0, 0, 0, 1'700'000'000'000}, binary, long_value);
    append_effect(bytes, {EffectKind::erase, 0, 0, 0, 0, -1}, "gone", "");
    append_effect(bytes, {EffectKind::clear_database, 7, 0, 0, 0, -1}, "", "");
    append_effect(bytes, {EffectKind::swap_databases, 1, 2, 0, 0, -1}, "", "");
    append_effect(bytes, {EffectKind::write_range, 4, 0, 0, 0, 123'456}, "k", "1234567");
    append_effect(bytes, kSet, "", "");
    REQUIRE(bytes.size() % 8 == 0);
    EffectReader reader(bytes);
    std::vector<Effect> effects(6);
    for (Effect& effect : effects) REQUIRE(reader.next(effect));
    Effect none;
    CHECK_FALSE(reader.next(none));
    CHECK_FALSE(reader.faulty());
    CHECK(effects[0].key == binary);
    CHECK(effects[0].value == long_value);
    CHECK(effects[0].header.database == 15);
    CHECK(effects[0].header.expire_at_ms == 1'700'000'000'000);
    CHECK(effects[1].header.kind == EffectKind::erase);
    CHECK(effects[1].key == "gone");
    CHECK(effects[2].header.database == 7);
    CHECK(effects[3].header.other == 2);
    CHECK(effects[4].header.expire_at_ms == 123'456);
    CHECK(effects[4].value == "1234567");
    CHECK(effects[5].key.empty());
}

TEST_CASE("effects codec: the bytes may lie anywhere") {
    const std::string shifted = "x" + one(kSet, "key", "value");
    EffectReader reader(std::string_view(shifted).substr(1));
    Effect effect;
    REQUIRE(reader.next(effect));
    CHECK(effect.value == "value");
}

TEST_CASE("effects codec: cut anywhere it gives what was whole before, and a fault") {
    const std::string first = one(kSet, "first", "12345678"), second = one({EffectKind::erase, 1, 0, 0, 0, -1}, "second", "");
    const std::string bytes = first + second;
    for (size_t length = 0; length <= bytes.size(); ++length) {
        CAPTURE(length);
        bool faulty = false;
        CHECK(count_of(std::string_view(bytes).substr(0, length), faulty) == (length == bytes.size() ? 2 : length >= first.size() ? 1 : 0));
        CHECK(faulty == (length != 0 && length != first.size() && length != bytes.size()));
    }
}

TEST_CASE("effects codec: impossible numbers are faults") {
    CHECK_FALSE(is_fault(kSet, "key", "value", [](EffectHeader&) {}));
    CHECK(is_fault(kSet, "key", "value", [](EffectHeader& header) { header.database = 16; }));
    CHECK(is_fault(kSet, "key", "value", [](EffectHeader& header) { header.key_length = UINT32_MAX; }));
    CHECK(is_fault(kSet, "key", "value", [](EffectHeader& header) { header.value_length = UINT64_MAX; }));
    CHECK(is_fault(kSet, "key", "value", [](EffectHeader& header) { header.value_length = 0 - sizeof header - header.key_length; }));
    CHECK(is_fault(kSet, "key", "value", [](EffectHeader& header) { header.value_length = kEffectBytesMax; }));
    CHECK(is_fault(kSet, "key", "value", [](EffectHeader& header) { header.expire_at_ms = -2; }));
    CHECK(is_fault({EffectKind::erase, 0, 0, 0, 0, -1}, "key", "", [](EffectHeader& header) { header.value_length = 1; }));
    CHECK(is_fault({EffectKind::swap_databases, 0, 15, 0, 0, -1}, "", "", [](EffectHeader& header) { header.other = 16; }));
    CHECK_FALSE(is_fault({EffectKind::swap_databases, 0, 15, 0, 0, -1}, "", "", [](EffectHeader&) {}));
    CHECK(is_fault({EffectKind::write_range, 0, 0, 0, 0, 0}, "k", "v", [](EffectHeader& header) { header.expire_at_ms = -1; }));
    CHECK(is_fault({EffectKind::write_range, 0, 0, 0, 0, 0}, "k", "v", [](EffectHeader& header) { header.expire_at_ms = kEffectBytesMax; }));
    for (const unsigned kind : {0u, 4u, 7u, 255u})
        CHECK(is_fault(kSet, "key", "value", [&](EffectHeader& header) { header.kind = static_cast<EffectKind>(kind); }));
}

TEST_CASE("effects codec: random bytes are never read beyond their end") {
    Random random;
    INFO("SEED=", random.seed);
    for (int round = 0; round < 20'000; ++round) {
        std::string bytes = random.bytes(random.below(100));
        if (bytes.size() >= sizeof(EffectHeader)) {  // likely lengths
            EffectHeader header{static_cast<EffectKind>(random.below(8)), static_cast<uint8_t>(random.below(18)), 0, static_cast<uint32_t>(random.below(40)), random.below(40), 0};
            std::memcpy(bytes.data(), &header, sizeof header);
        }
        const std::vector<char> exact(bytes.begin(), bytes.end());
        EffectReader reader({exact.data(), exact.size()});
        Effect effect;
        size_t sum = 0;
        while (reader.next(effect)) {
            REQUIRE(effect.key.data() >= exact.data());
            REQUIRE(effect.value.data() + effect.value.size() <= exact.data() + exact.size());
            sum += effect_bytes(effect.key.size(), effect.value.size());
        }
        REQUIRE(sum <= exact.size());
        REQUIRE(reader.faulty() == (sum != exact.size()));
    }
}
