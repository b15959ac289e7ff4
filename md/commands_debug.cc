// DEBUG's subcommands that are about data; the others are io_conn's, which also looks whether DEBUG is allowed. Runs in md; handlers only (see
// handlers.h).
#include <fmt/format.h>
#include <time.h>
#include <xxhash.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "common/clock.h"
#include "common/text.h"
#include "md/dump_format.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

constexpr std::string_view kNotPositive = "ERR value is out of range, must be positive";

/// 160 bits, as Redis's digests have.
struct Digest {
    std::array<uint64_t, 2> long_part{};
    uint32_t short_part = 0;

    void mix(const Digest& other) {
        for (size_t i = 0; i < long_part.size(); ++i) long_part[i] ^= other.long_part[i];
        short_part ^= other.short_part;
    }
    std::string text() const { return fmt::format("{:016x}{:016x}{:08x}", long_part[0], long_part[1], short_part); }
};

/// The digest of `head` and a value's bytes, of which only a piece is copied at a time.
Digest digest_of(Plan& plan, std::string_view head, const Value& value) {
    constexpr uint64_t kPieceBytes = 64 * 1024, kOtherSeed = 1;
    thread_local std::array<char, kPieceBytes> piece;
    const auto free_state = [](XXH3_state_t* state) { XXH3_freeState(state); };
    const std::unique_ptr<XXH3_state_t, decltype(free_state)> wide(XXH3_createState(), free_state), narrow(XXH3_createState(), free_state);
    XXH3_128bits_reset(wide.get());
    XXH3_64bits_reset_withSeed(narrow.get(), kOtherSeed);
    const auto take = [&](const char* bytes, size_t count) {
        XXH3_128bits_update(wide.get(), bytes, count);
        XXH3_64bits_update(narrow.get(), bytes, count);
    };
    take(head.data(), head.size());
    for (uint64_t at = 0; at < value.length(); at += kPieceBytes) {
        const uint64_t count = std::min(kPieceBytes, value.length() - at);
        plan.copy(value, {at, count}, piece.data());
        take(piece.data(), count);
        plan.tick();
    }
    const XXH128_hash_t both = XXH3_128bits_digest(wide.get());
    return {{both.high64, both.low64}, static_cast<uint32_t>(XXH3_64bits_digest(narrow.get()))};
}

bool parse_not_negative(std::string_view word, int64_t& number) { return parse_integer(word, number) && number >= 0; }

}  // namespace

/// The same for the same data, in whatever order and by whatever commands it came: digests of single keys, one over the other.
void handle_debug_digest(Plan& plan, Arguments) {
    const unsigned selected = plan.database();
    Digest all;
    for (unsigned database = 0; database < plan.databases(); ++database) {
        plan.select(database);
        uint64_t position = 0;
        do {
            position = plan.walk_keys(position, ~uint64_t{0}, [&](std::string key, const Value& value) {
                if (value.expire_at_ms != kNoExpiry && value.expire_at_ms <= plan.now_ms()) return;
                all.mix(digest_of(plan, fmt::format("{} {} {} {}", database, value.expire_at_ms, key.size(), key), value));
                plan.tick();
            });
        } while (position != 0);
    }
    plan.select(selected);
    plan.reply().status(all.text());
}

void handle_debug_digest_value(Plan& plan, Arguments arguments) {
    const Arguments keys = arguments.subspan(1);
    plan.reply().array(static_cast<uint32_t>(keys.size()));
    for (const std::string_view key : keys) {
        const std::optional<Value> value = plan.inspect(key);
        plan.reply().status(value ? digest_of(plan, {}, *value).text() : Digest().text());
    }
}

void handle_debug_object(Plan& plan, Arguments arguments) {
    constexpr size_t kDumpFrame = 11;  // bytes of DUMP around the value: its type, a version, a checksum
    constexpr uint64_t kLruClockMask = 0xffffff;
    const std::string_view key = arguments[1];
    const std::optional<Value> value = plan.inspect(key);
    if (!value) return plan.reply().error(error_text::kNoSuchKey);
    const uint64_t idle = idle_seconds(plan, key);
    plan.reply().status(fmt::format("Value at:{:#x} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}", plan.place_of(*value), encoding_of(*value),
                                    dump_string(plan.bytes(value), plan.compresses()).size() - kDumpFrame, (static_cast<uint64_t>(plan.now_ms()) / 1000 - idle) & kLruClockMask, idle));
}

void handle_debug_populate(Plan& plan, Arguments arguments) {
    constexpr int64_t kKeysMax = 100'000, kBytesMax = 1 << 30;
    int64_t count, size = 0;
    const bool sized = arguments.size() == 4;
    if (!parse_not_negative(arguments[1], count) || (sized && !parse_not_negative(arguments[3], size))) return plan.reply().error(kNotPositive);
    if (count > kKeysMax || size > kBytesMax || count * size > kBytesMax)
        return plan.reply().error(fmt::format("ERR at most {} keys and {} bytes are made at once; give several a prefix each", kKeysMax, kBytesMax));
    const std::string_view prefix = arguments.size() > 2 ? arguments[2] : "key";
    for (int64_t i = 0; i < count; ++i) {
        const std::string key = fmt::format("{}:{}", prefix, i);
        plan.tick();
        if (plan.find(key)) continue;
        std::string value = fmt::format("value:{}", i);
        if (size != 0) value.resize(static_cast<size_t>(size), '\0');
        plan.set(plan.keep(key), plan.keep(value), kNoExpiry);
    }
    plan.reply().ok();
}

void handle_debug_set_active_expire(Plan& plan, Arguments arguments) {
    plan.set_expiry_on(std::atoi(std::string(arguments[1]).c_str()) != 0);
    plan.reply().ok();
}

/// In pieces, each of which says that md is not stuck. A signal ends it.
void handle_debug_sleep(Plan& plan, Arguments arguments) {
    constexpr double kSecondsMax = 60;
    constexpr uint64_t kPieceUs = 5'000;
    const double seconds = std::min(std::strtod(std::string(arguments[1]).c_str(), nullptr), kSecondsMax);
    const uint64_t until_us = monotonic_us() + static_cast<uint64_t>(seconds > 0 ? seconds * 1e6 : 0);
    for (uint64_t now_us; (now_us = monotonic_us()) < until_us; plan.tick()) {
        const timespec piece{0, static_cast<long>(std::min(kPieceUs, until_us - now_us)) * 1000};
        if (nanosleep(&piece, nullptr) != 0 && errno == EINTR) break;
    }
    plan.reply().ok();
}

}  // namespace millrace::md
