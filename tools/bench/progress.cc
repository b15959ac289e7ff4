// Draws the progress line of a run; see progress.h for where it goes and how often.
#include "tools/bench/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tools/bench/schedule.h"

namespace millrace::bench {

void Progress::begin(ProgressPhase phase, int64_t now) {
    end();
    phase_ = phase;
    phase_begin_ns_ = last_ns_ = now;
    phase_begin_replies_ = last_replies_;
}

void Progress::end() {
    if (is_drawn_) fmt::print(stderr, "\r\033[K");
    is_drawn_ = false;
}

void Progress::update(const Options& options, const ProgressSample& sample, int64_t now) {
    if (is_quiet_ || now - last_ns_ < (is_terminal_ ? kTerminalIntervalNs : kPlainIntervalNs)) return;
    const std::string text = line(options, sample, now);
    if (is_terminal_) {
        fmt::print(stderr, "\r{}\033[K", text);
    } else {
        fmt::print(stderr, "{}\n", text);
    }
    std::fflush(stderr);
    is_drawn_ = is_terminal_;
    last_ns_ = now;
    last_replies_ = sample.replies;
}

std::string Progress::line(const Options& options, const ProgressSample& sample, int64_t now) const {
    const double elapsed = static_cast<double>(now - phase_begin_ns_) / kNanosPerSecond;
    const auto replies = static_cast<double>(sample.replies - phase_begin_replies_);
    const double rate = static_cast<double>(sample.replies - last_replies_) * kNanosPerSecond /
                        static_cast<double>(now - last_ns_);
    const char* name = "running";
    double share = 0;
    if (phase_ == ProgressPhase::kConnect) {
        name = "connecting";
        share = static_cast<double>(sample.connected) / options.clients;
    } else if (phase_ == ProgressPhase::kPreload) {
        name = "preloading";
        share = replies / static_cast<double>(options.workload.keys);
    } else {
        if (options.seconds > 0) share = elapsed / options.seconds;
        if (options.requests > 0) share = std::max(share, replies / static_cast<double>(options.requests));
    }
    share = std::clamp(share, 0.0, 1.0);
    const auto filled = static_cast<int>(share * kBarWidth);
    std::string text = fmt::format(
        "{:<10} [{:#<{}}{:.<{}}] {:3.0f} %  {:.0f} requests/s  {} connections  {} errors  {:.1f} s", name, "",
        filled, "", kBarWidth - filled, share * 100, rate, sample.connected, sample.errors, elapsed);
    if (phase_ == ProgressPhase::kMeasure && options.seconds > 0)
        text += fmt::format(" of {} s", options.seconds);
    return text;
}

}  // namespace millrace::bench
