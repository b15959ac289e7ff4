// The progress line on stderr: a bar that is redrawn on a terminal, a plain line now and then elsewhere (so
// that a log stays readable), nothing with --quiet.
#pragma once

#include <cstdint>
#include <string>

#include "tools/bench/options.h"

namespace millrace::bench {

enum class ProgressPhase : uint8_t { kConnect, kPreload, kMeasure };

struct ProgressSample {
    uint64_t replies = 0;  // since the program began
    uint64_t errors = 0;
    uint64_t connected = 0;
};

class Progress {
  public:
    static constexpr int64_t kTerminalIntervalNs = 250'000'000;
    static constexpr int64_t kPlainIntervalNs = 5'000'000'000;
    static constexpr int kBarWidth = 24;

    Progress(bool is_quiet, bool is_terminal) : is_quiet_(is_quiet), is_terminal_(is_terminal) {}

    void begin(ProgressPhase phase, int64_t now);
    void update(const Options& options, const ProgressSample& sample, int64_t now);
    void end();  // leaves the cursor on a clean line

  private:
    std::string line(const Options& options, const ProgressSample& sample, int64_t now) const;

    const bool is_quiet_;
    const bool is_terminal_;
    bool is_drawn_ = false;
    ProgressPhase phase_ = ProgressPhase::kConnect;
    int64_t phase_begin_ns_ = 0;
    uint64_t phase_begin_replies_ = 0;
    int64_t last_ns_ = 0;
    uint64_t last_replies_ = 0;
};

}  // namespace millrace::bench
