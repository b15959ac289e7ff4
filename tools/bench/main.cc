// millrace-bench: a load generator for servers that speak the Redis protocol (or memcached's, for get and
// set). This file is the order of events: options, run, report, exit status (0 done, 1 errors or unreachable,
// 2 bad usage).
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "tools/bench/options.h"
#include "tools/bench/progress.h"
#include "tools/bench/report.h"
#include "tools/bench/runner.h"

namespace {

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

// The first signal ends the run in order; a second one has its default effect.
void stop_on_signals() {
    struct sigaction action {};
    action.sa_handler = [](int) { stop_requested = true; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
    using namespace millrace::bench;
    Options options;
    const int usage_status = parse_options(argc, argv, options);
    if (usage_status >= 0) return usage_status;
    stop_on_signals();
    Progress progress(options.quiet, isatty(STDERR_FILENO) != 0);
    const RunResult result = run(options, progress, stop_requested);
    progress.end();
    if (options.json) fmt::print("{}", report_json(options, result));
    if (!result.failure.empty()) {
        fmt::print(stderr, "millrace-bench: {}\n", result.failure);
        return 1;
    }
    if (!options.json) fmt::print("{}", report_text(options, result));
    return result.stats->error_total() > 0 ? 1 : 0;
}
