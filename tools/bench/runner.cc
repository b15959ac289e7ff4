// The phases of a run over all workers: connect, preload, measure, merge; see runner.h.
#include "tools/bench/runner.h"

#include <fmt/format.h>
#include <time.h>

#include <thread>
#include <vector>

#include "tools/bench/clock.h"
#include "tools/bench/worker.h"

namespace millrace::bench {

namespace {

constexpr int64_t kStartDelayNs = 1'000'000;  // lets all threads reach the start line

using Workers = std::vector<std::unique_ptr<Worker>>;

// Worker 0 runs in the calling thread.
void for_all(Workers& workers, const std::function<void(Worker&, uint32_t)>& task) {
    std::vector<std::thread> threads;
    for (uint32_t i = 1; i < workers.size(); ++i) threads.emplace_back([&, i] { task(*workers[i], i); });
    task(*workers[0], 0);
    for (std::thread& thread : threads) thread.join();
}

uint32_t connected(const Workers& workers) {
    uint32_t sum = 0;
    for (const auto& worker : workers) sum += worker->up();
    return sum;
}

void merge_stats(const Workers& workers, RunStats& into) {
    for (const auto& worker : workers) into.merge(worker->stats());
}

std::string connect_failure(const Options& options, const RunStats& stats) {
    const std::string& reason = stats.error(ErrorKind::kConnect).first;
    return fmt::format("cannot connect to {}: {}", options.target_name(),
                       reason.empty() ? "the connection was closed at once" : reason);
}

void preload(const Options& options, Workers& workers) {
    WorkloadSpec spec = options.workload;
    std::string error;
    parse_mix("set", spec.mix, error);
    parse_dist("sequential", spec.dist, error);
    const int64_t start = now_ns() + kStartDelayNs;
    for_all(workers, [&](Worker& worker, uint32_t) {
        PhasePlan plan;
        plan.depth = Worker::kPreloadDepth;
        plan.requests = worker.share_of(spec.keys);
        if (plan.requests > 0) worker.run_phase(spec, plan, start, 0);
    });
}

// Empty, or why measuring makes no sense after this preload.
std::string preload_failure(const Options& options, const Workers& workers) {
    RunStats stats;
    merge_stats(workers, stats);
    for (size_t i = 0; i < kErrorKinds; ++i) {
        if (stats.errors[i].count == 0 || static_cast<ErrorKind>(i) == ErrorKind::kConnect) continue;
        return fmt::format("preloading {} keys failed with {} {}, the first: {}", options.workload.keys,
                           stats.errors[i].count, kErrorKindRows[i].label, stats.errors[i].first);
    }
    return {};
}

void forget_preload(Workers& workers) {
    for (auto& worker : workers) {
        ErrorCount not_opened = worker->stats().error(ErrorKind::kConnect);
        worker->stats() = RunStats{};
        worker->stats().count_error(ErrorKind::kConnect, not_opened.first, not_opened.count);
    }
}

void measure(const Options& options, Workers& workers, int64_t start) {
    for_all(workers, [&](Worker& worker, uint32_t index) {
        PhasePlan plan;
        plan.depth = worker.depth_max();
        plan.requests = worker.share_of(options.requests);
        plan.length_ns = static_cast<int64_t>(options.seconds * kNanosPerSecond);
        plan.rate = options.rate / options.threads;
        const auto phase =
            options.is_open_loop() ? static_cast<int64_t>(index * kNanosPerSecond / options.rate) : 0;
        if (options.requests == 0 || plan.requests > 0)
            worker.run_phase(options.workload, plan, start, phase);
    });
}

double process_cpu_seconds() {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / kNanosPerSecond;
}

void show(const Options& options, const Workers& workers, Progress& progress, int64_t now) {
    ProgressSample sample;
    for (const auto& worker : workers) {
        sample.replies += worker->live().replies.load(std::memory_order_relaxed);
        sample.errors += worker->live().errors.load(std::memory_order_relaxed);
        sample.connected += worker->live().connected.load(std::memory_order_relaxed);
    }
    progress.update(options, sample, now);
}

}  // namespace

RunResult run(const Options& options, Progress& progress, const std::atomic<bool>& stop) {
    RunResult result;
    result.stats = std::make_unique<RunStats>();
    Target target;
    if (!raise_file_limit(options.clients, result.failure) || !target.resolve(options, result.failure))
        return result;

    Workers workers;
    const RunContext context{options, target, stop,
                             [&](int64_t now) { show(options, workers, progress, now); }};
    for (uint32_t i = 0; i < options.threads; ++i) workers.push_back(std::make_unique<Worker>(context, i));

    progress.begin(ProgressPhase::kConnect, now_ns());
    for_all(workers, [](Worker& worker, uint32_t) { worker.connect_all(); });
    result.connected = connected(workers);
    if (result.connected == 0 && !stop) {
        merge_stats(workers, *result.stats);
        result.failure = connect_failure(options, *result.stats);
        return result;
    }
    if (options.preload && !stop) {
        progress.begin(ProgressPhase::kPreload, now_ns());
        preload(options, workers);
        result.failure = preload_failure(options, workers);
        if (!result.failure.empty()) return result;
        forget_preload(workers);
    }
    const int64_t start = now_ns() + kStartDelayNs;
    const double cpu_before = process_cpu_seconds();
    progress.begin(ProgressPhase::kMeasure, start);
    if (!stop) measure(options, workers, start);
    progress.end();
    merge_stats(workers, *result.stats);
    result.cpu_seconds = process_cpu_seconds() - cpu_before;
    result.seconds =
        static_cast<double>(std::max<int64_t>(result.stats->last_reply_ns - start, 0)) / kNanosPerSecond;
    result.was_stopped = stop;
    return result;
}

}  // namespace millrace::bench
