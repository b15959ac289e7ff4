// See snapshot.h. Runs in viewstats.
#include "tools/viewstats/snapshot.h"

#include <algorithm>

#include "common/clock.h"

namespace millrace::viewstats {

Snapshot take_snapshot(const std::string& dir) {
    Snapshot snapshot;
    snapshot.dir = dir;
    snapshot.taken_us = monotonic_us();
    snapshot.wall_clock_s = wall_ms() / 1000;
    snapshot.processes = read_counters(dir, snapshot.problems);
    return snapshot;
}

std::string name_of(const ProcessCounters& process) { return process.role + "-" + std::to_string(process.index); }

const ProcessCounters* find_process(const Snapshot& snapshot, const ProcessCounters& process) {
    for (const ProcessCounters& candidate : snapshot.processes)
        if (candidate.role == process.role && candidate.index == process.index) return &candidate;
    return nullptr;
}

const CounterSample* find_sample(const ProcessCounters& process, const std::string& name) {
    for (const CounterSample& sample : process.samples)
        if (sample.name == name) return &sample;
    return nullptr;
}

int64_t uptime_s(const Snapshot& snapshot, const ProcessCounters& process) {
    const auto started = static_cast<int64_t>(process.value("start_time"));
    if (process.state == ProcessState::dead || started <= 0) return -1;
    return std::max<int64_t>(snapshot.wall_clock_s - started, 0);
}

namespace {

const CounterSample* earlier(const ProcessCounters& process, const CounterSample& sample, const Snapshot* before) {
    const ProcessCounters* then = before == nullptr ? nullptr : find_process(*before, process);
    return then == nullptr ? nullptr : find_sample(*then, sample.name);
}

}  // namespace

double rate_per_s(const Snapshot& now, const ProcessCounters& process, const CounterSample& sample,
                  const Snapshot* before) {
    const CounterSample* then = earlier(process, sample, before);
    if (then == nullptr || then->value > sample.value || now.taken_us <= before->taken_us) return -1;
    return static_cast<double>(sample.value - then->value) * 1e6 / static_cast<double>(now.taken_us - before->taken_us);
}

CounterSample since(const ProcessCounters& process, const CounterSample& sample, const Snapshot* before) {
    const CounterSample* then = earlier(process, sample, before);
    CounterSample difference = sample;
    if (then == nullptr || then->value > sample.value || then->buckets.size() != sample.buckets.size()) return difference;
    difference.value -= then->value;
    difference.sum -= then->sum;
    for (size_t i = 0; i < difference.buckets.size(); ++i)
        difference.buckets[i] -= std::min(then->buckets[i], difference.buckets[i]);
    return difference;
}

}  // namespace millrace::viewstats
