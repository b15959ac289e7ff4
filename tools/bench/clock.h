// The one clock of the load generator: nanoseconds of the steady clock.
#pragma once

#include <time.h>

#include <cstdint>

namespace millrace::bench {

inline int64_t now_ns() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

}  // namespace millrace::bench
