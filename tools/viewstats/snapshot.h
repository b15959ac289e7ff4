// One look at a group: what all counter segments said at one moment, and the differences between two looks. Used by
// viewstats only; it reads shared memory through common/counter_reader.h and asks no process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/counter_reader.h"

namespace millrace::viewstats {

/// All processes of an instance as they were seen at `taken_us`.
struct Snapshot {
    std::string dir;
    uint64_t taken_us = 0;    ///< monotonic_us()
    int64_t wall_clock_s = 0; ///< seconds since 1970
    std::vector<ProcessCounters> processes;
    std::vector<std::string> problems;  ///< a sentence for each segment that cannot be read
};

Snapshot take_snapshot(const std::string& dir);

/// "md-0": how a process is called on the screen.
std::string name_of(const ProcessCounters& process);
/// The process of the same role and index in another look; null if there is none.
const ProcessCounters* find_process(const Snapshot& snapshot, const ProcessCounters& process);
/// A counter by name, null if the process has none of it.
const CounterSample* find_sample(const ProcessCounters& process, const std::string& name);

/// Seconds that the process has been running; -1 when it is dead or has not said when it started.
int64_t uptime_s(const Snapshot& snapshot, const ProcessCounters& process);

/// How fast a counter rose between two looks, per second. Negative: nothing to compare with, or it began anew.
double rate_per_s(const Snapshot& now, const ProcessCounters& process, const CounterSample& sample, const Snapshot* before);
/// A histogram's samples since the look before; all of them when there is nothing to compare with.
CounterSample since(const ProcessCounters& process, const CounterSample& sample, const Snapshot* before);

}  // namespace millrace::viewstats
