// See progress.h. Runs in millrace-convert.
#include "tools/convert/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "common/clock.h"

namespace millrace::convert {

namespace {

constexpr uint64_t kIntervalUs = 200'000;

}  // namespace

Progress::Progress(std::string what) : what_(std::move(what)), on_terminal_(isatty(STDERR_FILENO) == 1), due_us_(monotonic_us() + kIntervalUs) {}

Progress::~Progress() {
    if (shown_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::show(uint64_t done, uint64_t total) {
    if (!on_terminal_ || monotonic_us() < due_us_) return;
    due_us_ = monotonic_us() + kIntervalUs;
    shown_ = true;
    fmt::print(stderr, "\rmillrace: {}: {} % ...\x1b[K", what_, total == 0 ? 0 : std::min<uint64_t>(100 * (done / 1024) / (total / 1024 + 1), 99));
    std::fflush(stderr);
}

}  // namespace millrace::convert
