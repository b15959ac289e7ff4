// The processor's own clock, for measuring every command: some nanoseconds a reading, where the system's clock takes 25 or more.
// Used by md and io_conn. Its unit is found by comparison with the system's clock, again and again, so a machine that moves is followed.
#pragma once

#include <cstdint>

#include "common/clock.h"

namespace millrace {

#if defined(__x86_64__)
inline uint64_t ticks() { return __builtin_ia32_rdtsc(); }  // the headers that name it are all vector instructions as well: 0.5 s a compilation
#else
inline uint64_t ticks() { return monotonic_us() * 1000; }
#endif

/// Nanoseconds of ticks.
class TickScale {
  public:
    TickScale() : began_ticks_(ticks()), began_us_(monotonic_us()) {}

    /// Compares with the system's clock. Before kSpanMinUs have passed since construction, or since the last call that changed anything, it does
    /// nothing.
    void adjust() {
        const uint64_t now_us = monotonic_us(), now_ticks = ticks();
        if (now_us - began_us_ < kSpanMinUs || now_ticks <= began_ticks_) return;
        per_tick_ = static_cast<uint64_t>((static_cast<unsigned __int128>(now_us - began_us_) * 1000 << kShift) / (now_ticks - began_ticks_));
        began_us_ = now_us;
        began_ticks_ = now_ticks;
    }
    uint64_t nanoseconds(uint64_t count) const { return static_cast<uint64_t>(static_cast<unsigned __int128>(count) * per_tick_ >> kShift); }
    /// The ticks of so many nanoseconds; the most there are if that is more.
    uint64_t ticks_of(uint64_t nanoseconds) const {
        const unsigned __int128 count = (static_cast<unsigned __int128>(nanoseconds) << kShift) / per_tick_;
        return count > ~uint64_t{0} ? ~uint64_t{0} : static_cast<uint64_t>(count);
    }

  private:
    static constexpr unsigned kShift = 32;
    static constexpr uint64_t kSpanMinUs = 10'000;  ///< over which the comparison is good to a ten-thousandth

    uint64_t began_ticks_, began_us_;
    uint64_t per_tick_ = (uint64_t{1} << kShift) / 2;  ///< nanoseconds << kShift; of 2 GHz until it is known
};

}  // namespace millrace
