// The part of a value that GETRANGE means, as Redis counts it. Used by md and by io_conn's direct reads.
#pragma once

#include <algorithm>
#include <cstdint>

namespace millrace {

struct ByteRange {
    uint64_t from = 0;
    uint64_t count = 0;
};

/// Bytes `start` to `end`, both included, of a value of `length` bytes; negative ones count from the end, -1 is the last.
inline ByteRange byte_range(int64_t start, int64_t end, uint64_t length) {
    if (start < 0 && end < 0 && start > end) return {};
    const auto size = static_cast<int64_t>(length);
    const int64_t first = std::max<int64_t>(start < 0 ? size + start : start, 0);
    const int64_t last = std::min<int64_t>(std::max<int64_t>(end < 0 ? size + end : end, 0), size - 1);
    if (first > last) return {};
    return {static_cast<uint64_t>(first), static_cast<uint64_t>(last - first + 1)};
}

/// What TTL and PTTL say of an expiry time, in units of `unit_ms`.
inline int64_t time_to_live(int64_t expire_at_ms, int64_t now_ms, int64_t unit_ms) {
    return (std::max<int64_t>(expire_at_ms - now_ms, 0) + unit_ms / 2) / unit_ms;
}

}  // namespace millrace
