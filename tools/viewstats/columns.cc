// See columns.h. Runs in viewstats.
#include "tools/viewstats/columns.h"

#include <fmt/format.h>

#include <functional>

#include "tools/viewstats/format.h"

namespace millrace::viewstats {

namespace {

constexpr int kLabelColumns = 26;
constexpr int kCellColumns = 13;

using Processes = std::vector<const ProcessCounters*>;

std::string row_of(std::string_view label, const std::vector<std::string>& cells, std::string_view unit) {
    std::string line = fmt::format("{:<{}}", label, kLabelColumns);
    for (const std::string& cell : cells) line += fmt::format("{:>{}}", cell, kCellColumns);
    return line + "  " + std::string(unit);
}

/// A line about the processes themselves.
std::string fact(std::string_view label, const Processes& processes,
                 const std::function<std::string(const ProcessCounters&)>& text) {
    std::vector<std::string> cells;
    for (const ProcessCounters* process : processes) cells.push_back(text(*process));
    return row_of(label, cells, "");
}

/// The rows of one role.
class Section {
  public:
    Section(const Snapshot& now, const Snapshot* before, Processes processes)
        : now_(now), before_(before), processes_(std::move(processes)) {}

    void append_to(std::vector<std::string>& lines) const {
        const ProcessCounters& first = *processes_.front();
        lines.push_back(fact(first.role, processes_, [](const auto& process) { return std::to_string(process.index); }));
        lines.push_back(fact("  state", processes_, [](const auto& process) { return std::string(millrace::name_of(process.state)); }));
        lines.push_back(fact("  pid", processes_, [](const auto& process) { return std::to_string(process.pid); }));
        lines.push_back(fact("  uptime", processes_, [this](const auto& process) {
            const int64_t seconds = uptime_s(now_, process);
            return seconds < 0 ? "-" : duration(seconds);
        }));
        for (const CounterSample& sample : first.samples)
            if (sample.name != "start_time" && is_used(sample.name)) append_row(lines, sample);
    }

  private:
    bool is_used(const std::string& name) const {
        for (const ProcessCounters* process : processes_)
            if (process->value(name) != 0) return true;
        return false;
    }

    void append_row(std::vector<std::string>& lines, const CounterSample& sample) const {
        if (sample.kind != CounterKind::histogram) {
            const bool rises = sample.kind == CounterKind::counter;
            lines.push_back(row_of("  " + sample.name, cells(sample.name, 0), sample.unit + (rises ? "/s" : "")));
            return;
        }
        lines.push_back(row_of("  " + sample.name + " p50", cells(sample.name, 0.5), sample.unit));
        lines.push_back(row_of("  " + sample.name + " p99", cells(sample.name, 0.99), sample.unit));
    }

    std::vector<std::string> cells(const std::string& name, double share) const {
        std::vector<std::string> result;
        for (const ProcessCounters* process : processes_) {
            const CounterSample* sample = find_sample(*process, name);
            result.push_back(sample == nullptr ? "" : cell(*process, *sample, share));
        }
        return result;
    }

    std::string cell(const ProcessCounters& process, const CounterSample& sample, double share) const {
        if (sample.kind == CounterKind::gauge) return short_number(static_cast<double>(sample.value));
        if (sample.kind == CounterKind::histogram) {
            const CounterSample recent = since(process, sample, before_);
            return recent.value == 0 ? "-" : short_number(static_cast<double>(recent.percentile(share)));
        }
        const double rate = rate_per_s(now_, process, sample, before_);
        return rate < 0 ? "-" : short_number(rate);
    }

    const Snapshot& now_;
    const Snapshot* before_;
    Processes processes_;
};

}  // namespace

std::vector<std::string> to_columns(const Snapshot& snapshot, const Snapshot* before) {
    std::vector<std::string> lines;
    for (const std::string& problem : snapshot.problems) lines.push_back("problem: " + problem);
    for (size_t first = 0; first < snapshot.processes.size();) {
        Processes same_role;
        size_t next = first;
        for (; next < snapshot.processes.size() && snapshot.processes[next].role == snapshot.processes[first].role; ++next)
            same_role.push_back(&snapshot.processes[next]);
        if (!lines.empty()) lines.push_back("");
        Section(snapshot, before, std::move(same_role)).append_to(lines);
        first = next;
    }
    if (snapshot.processes.empty()) lines.push_back("nothing runs here any more");
    return lines;
}

}  // namespace millrace::viewstats
