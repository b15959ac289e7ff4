// The clocks: monotonic time for measuring and scheduling, wall-clock time for expiry. Used by every process.
//
// The hot path reads a clock once a batch, not once a request.
#pragma once

#include <time.h>

#include <cstdint>

namespace millrace {

/// Microseconds since an arbitrary point, never backwards; the same point in every process of this host.
inline uint64_t monotonic_us() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1'000;
}

/// From one reading of a monotonic clock to another, which may be a little older.
constexpr uint64_t elapsed(uint64_t now, uint64_t since) { return now > since ? now - since : 0; }

/// Milliseconds since the Unix epoch; follows clock adjustments, so it may step.
inline int64_t wall_ms() {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<int64_t>(now.tv_sec) * 1'000 + now.tv_nsec / 1'000'000;
}

}  // namespace millrace
