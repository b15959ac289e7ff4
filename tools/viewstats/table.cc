// See table.h. Runs in viewstats.
#include "tools/viewstats/table.h"

#include <fmt/format.h>

#include "tools/viewstats/format.h"

namespace millrace::viewstats {

namespace {

std::string heading(const Snapshot& snapshot, const ProcessCounters& process) {
    const int64_t uptime = uptime_s(snapshot, process);
    return fmt::format("{}  {}  pid {}{}\n", name_of(process), millrace::name_of(process.state), process.pid,
                       uptime < 0 ? "" : "  up for " + duration(uptime));
}

std::string number_line(const Snapshot& now, const ProcessCounters& process, const CounterSample& sample,
                        const Snapshot* before) {
    const double rate = sample.kind == CounterKind::counter ? rate_per_s(now, process, sample, before) : -1;
    const std::string rate_text = rate < 0 ? "" : short_number(rate) + "/s";
    return fmt::format("  {:<26} {:>20} {}{}\n", sample.name, sample.value,
                       before == nullptr ? "" : fmt::format("{:>9} ", rate_text), sample.unit);
}

std::string histogram_line(const CounterSample& sample) {
    return fmt::format("  {:<26} {:>14} {:>10} {:>10} {:>12} {}\n", sample.name, sample.value, sample.percentile(0.5),
                       sample.percentile(0.99), sample.max, sample.unit);
}

std::string block(const Snapshot& snapshot, const ProcessCounters& process, const Snapshot* before) {
    std::string numbers, histograms;
    for (const CounterSample& sample : process.samples) {
        if (sample.value == 0) continue;
        if (sample.kind == CounterKind::histogram) histograms += histogram_line(sample);
        else numbers += number_line(snapshot, process, sample, before);
    }
    if (!histograms.empty())
        histograms = fmt::format("  {:<26} {:>14} {:>10} {:>10} {:>12}\n", "", "samples", "p50", "p99", "max") + histograms;
    return heading(snapshot, process) + numbers + histograms;
}

}  // namespace

std::string to_table(const Snapshot& snapshot, const Snapshot* before) {
    std::string out;
    for (const ProcessCounters& process : snapshot.processes) out += (out.empty() ? "" : "\n") + block(snapshot, process, before);
    for (const std::string& problem : snapshot.problems) out += fmt::format("\nproblem: {}\n", problem);
    return out;
}

}  // namespace millrace::viewstats
