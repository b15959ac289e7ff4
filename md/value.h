// Value: the bytes that a key holds, wherever they lie: in a small item, in the extents of a large one, in a request that
// is being executed, or one of the former with more behind it (APPEND) or with some bytes replaced (SETBIT of a large one). Valid until
// the next change of the store. Runs in md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace millrace::md {

/// "No expiry", in place of milliseconds since the epoch.
inline constexpr int64_t kNoExpiry = -1;

struct Value {
    const char* small = nullptr;  ///< bytes of a small item
    uint64_t large = 0;           ///< or the reference of a large item
    uint64_t stored_length = 0;   ///< bytes of that item that belong to the value
    std::string_view rest;        ///< bytes behind those
    int64_t expire_at_ms = kNoExpiry;
    std::string_view patch;       ///< bytes in place of some of the item's; never together with `rest`
    uint64_t patch_at = 0;        ///< where in the value they begin

    static Value of(std::string_view bytes, int64_t expire_at_ms) { return {nullptr, 0, 0, bytes, expire_at_ms, {}, 0}; }
    /// Puts what the patch replaces of bytes [from, from + count), which have been copied to `out`.
    void apply_patch(uint64_t from, uint64_t count, char* out) const {
        const uint64_t begin = std::max(from, patch_at), end = std::min(from + count, patch_at + patch.size());
        if (begin < end) std::memcpy(out + (begin - from), patch.data() + (begin - patch_at), end - begin);
    }
    uint64_t length() const { return stored_length + rest.size(); }
    /// The value's bytes copied into `buffer` of `room` bytes, or an empty view with no data when they do not fit.
    std::string_view copy_short(char* buffer, size_t room) const {
        if (large != 0 || length() > room) return {};
        if (stored_length != 0) std::memcpy(buffer, small, stored_length);
        if (!rest.empty()) std::memcpy(buffer + stored_length, rest.data(), rest.size());
        return {buffer, length()};
    }
};

}  // namespace millrace::md
