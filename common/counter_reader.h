// Reads the counter segments of all processes of an instance, asking none of them. Used by viewstats and by INFO.
//
// A segment describes itself (counters.h); what it says is checked against its size before it is followed, so a segment
// of another build or a damaged one is left out with a sentence and harms nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/counters.h"

namespace millrace {

/// One counter as read. A histogram has `buckets` (histogram.h); value is its number of samples.
struct CounterSample {
    std::string name, unit, help;
    CounterKind kind = CounterKind::counter;
    uint64_t value = 0;
    uint64_t sum = 0, max = 0;
    std::vector<uint64_t> buckets;

    /// For histograms: the value below which `share` of the samples lie.
    uint64_t percentile(double share) const;
};

enum class ProcessState { up, stopped, dead };
std::string_view name_of(ProcessState state);

/// One process's counters.
struct ProcessCounters {
    std::string role;
    unsigned index = 0;
    int pid = 0;
    ProcessState state = ProcessState::dead;
    std::vector<CounterSample> samples;

    /// A counter's value by name; 0 if there is none.
    uint64_t value(std::string_view name) const;
};

/// Tells how the process is that had this pid and started then (CounterPrologue::process_start).
using StateOf = ProcessState (*)(int pid, uint64_t start);
/// What /proc says.
ProcessState state_in_proc(int pid, uint64_t start);

/// All processes' counters, sorted by role (md first) and index. Segments that cannot be read are named in `problems`.
std::vector<ProcessCounters> read_counters(const std::string& dir, std::vector<std::string>& problems, StateOf state_of = state_in_proc);

}  // namespace millrace
