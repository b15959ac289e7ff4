// A whole run: connect, preload if asked, measure, merge what the workers found.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "tools/bench/options.h"
#include "tools/bench/progress.h"
#include "tools/bench/stats.h"

namespace millrace::bench {

struct RunResult {
    std::unique_ptr<RunStats> stats;
    double seconds = 0;  // from the first request to the last reply
    double cpu_seconds =
        0;  // of this program during that time: near `seconds` × threads, it is itself the limit
    uint32_t connected = 0;    // connections that were up when measuring began
    bool was_stopped = false;  // Ctrl-C
    std::string failure;       // one sentence if nothing could be measured
};

// `stop` may be set at any time, also by a signal handler.
RunResult run(const Options& options, Progress& progress, const std::atomic<bool>& stop);

}  // namespace millrace::bench
