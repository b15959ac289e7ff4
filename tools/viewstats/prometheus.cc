// See prometheus.h. Runs in viewstats.
//
// The format wants all samples of a family together behind one HELP and one TYPE, so samples of all processes are sorted
// into families first. Roles give one name different sentences; then each sentence is in the HELP, behind its role.
#include "tools/viewstats/prometheus.h"

#include <fmt/format.h>

#include <bit>
#include <map>
#include <utility>
#include <vector>

#include "common/text.h"

namespace millrace::viewstats {

namespace {

struct Row {
    const ProcessCounters* process;
    const CounterSample* sample;
};

struct Family {
    CounterKind kind;
    std::vector<Row> rows;
};

std::string metric_name(const CounterSample& sample) {
    std::string name = "millrace_";
    for (const char c : sample.name) {
        const bool allowed = c == '_' || (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z');
        name += allowed ? c : '_';
    }
    if (sample.kind == CounterKind::counter && !name.ends_with("_total")) name += "_total";
    return name;
}

/// `text` with backslash, line feed and (in labels) quotes escaped.
std::string escaped(std::string_view text, bool label) {
    std::string result;
    for (const char c : text) {
        if (c == '\\' || (label && c == '"')) (result += '\\') += c;
        else if (c == '\n') result += "\\n";
        else result += c;
    }
    return result;
}

std::string labels_of(const ProcessCounters& process) {
    return fmt::format("role=\"{}\",index=\"{}\"", escaped(process.role, true), process.index);
}

/// The families in the order in which their names first came up.
std::vector<std::pair<std::string, Family>> families_of(const Snapshot& snapshot) {
    std::vector<std::pair<std::string, Family>> families;
    std::map<std::string, size_t> places;
    for (const ProcessCounters& process : snapshot.processes) {
        for (const CounterSample& sample : process.samples) {
            const std::string name = metric_name(sample);
            const auto [at, is_new] = places.try_emplace(name, families.size());
            if (is_new) families.push_back({name, {sample.kind, {}}});
            Family& family = families[at->second].second;
            // One name with two types, or twice in one process, is no valid exposition; only a strange build does that.
            const bool twice = !family.rows.empty() && family.rows.back().process == &process;
            if (family.kind == sample.kind && !twice) family.rows.push_back({&process, &sample});
        }
    }
    return families;
}

std::string help_of(const Family& family) {
    std::vector<std::pair<std::string, std::string>> by_role;
    bool same = true;
    for (const auto& [process, sample] : family.rows) {
        if (!by_role.empty() && by_role.back().first == process->role) continue;
        by_role.push_back({process->role, fmt::format("{} Unit: {}.", sample->help, sample->unit)});
        same &= by_role.back().second == by_role.front().second;
    }
    if (same) return by_role.front().second;
    std::string help;
    for (const auto& [role, sentence] : by_role) help += (help.empty() ? "" : " ") + role + ": " + sentence;
    return help;
}

std::string_view type_of(CounterKind kind) {
    switch (kind) {
        case CounterKind::counter: return "counter";
        case CounterKind::gauge: return "gauge";
        case CounterKind::histogram: return "histogram";
    }
    return "untyped";
}

/// Cumulative buckets at each power of two, then sum and count. The count is that of the buckets as read, so that it
/// fits the last of them while the process goes on counting.
void append_histogram(std::string& out, const std::string& name, const std::string& labels, const CounterSample& sample) {
    uint64_t total = 0;
    for (unsigned bucket = 0; bucket < sample.buckets.size(); ++bucket) {
        total += sample.buckets[bucket];
        const uint64_t bound = histogram::upper_bound(bucket);
        if (std::has_single_bit(bound + 1) && bucket + 1 < sample.buckets.size())
            out += fmt::format("{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, bound, total);
    }
    out += fmt::format("{}_bucket{{{},le=\"+Inf\"}} {}\n", name, labels, total);
    out += fmt::format("{}_sum{{{}}} {}\n{}_count{{{}}} {}\n", name, labels, sample.sum, name, labels, total);
}

void append_family(std::string& out, const std::string& name, const Family& family) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, escaped(help_of(family), false), name, type_of(family.kind));
    for (const auto& [process, sample] : family.rows) {
        const std::string labels = labels_of(*process);
        if (family.kind == CounterKind::histogram) append_histogram(out, name, labels, *sample);
        else out += fmt::format("{}{{{}}} {}\n", name, labels, sample->value);
    }
}

}  // namespace

std::string to_prometheus(const Snapshot& snapshot) {
    std::string out =
        "# HELP millrace_up Whether the process is running: 1 up, 0 stopped or dead.\n# TYPE millrace_up gauge\n";
    for (const ProcessCounters& process : snapshot.processes)
        out += fmt::format("millrace_up{{{}}} {}\n", labels_of(process), process.state == ProcessState::up ? 1 : 0);
    for (const auto& [name, family] : families_of(snapshot))
        if (name != "millrace_up" && !family.rows.empty()) append_family(out, name, family);
    return out;
}

}  // namespace millrace::viewstats
