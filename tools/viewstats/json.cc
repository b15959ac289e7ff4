// See json.h. Runs in viewstats.
#include "tools/viewstats/json.h"

#include <fmt/format.h>

namespace millrace::viewstats {

namespace {

/// Bytes of the well-formed UTF-8 sequence that `text` starts with; 0 if it starts with none.
size_t sequence_length(std::string_view text) {
    const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const unsigned first = byte(0);
    const size_t length = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3
                                         : first >= 0xf0 && first < 0xf5   ? 4
                                                                           : 0;
    for (size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xc0) != 0x80) return 0;
    // Overlong forms, surrogates and what lies beyond Unicode.
    if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f)) return 0;
    if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) return 0;
    return length;
}

std::string histogram_json(const CounterSample& sample) {
    const double mean = sample.value == 0 ? 0 : static_cast<double>(sample.sum) / static_cast<double>(sample.value);
    return fmt::format(
        R"({{"unit": {}, "count": {}, "sum": {}, "max": {}, "mean": {:.3f}, "p50": {}, "p90": {}, "p99": {}, "p99.9": {}}})",
        json_string(sample.unit), sample.value, sample.sum, sample.max, mean, sample.percentile(0.5),
        sample.percentile(0.9), sample.percentile(0.99), sample.percentile(0.999));
}

void append_member(std::string& object, const std::string& name, const std::string& value) {
    if (!object.empty()) object += ", ";
    object += json_string(name) + ": " + value;
}

std::string process_json(const ProcessCounters& process) {
    std::string counters, histograms;
    for (const CounterSample& sample : process.samples) {
        if (sample.kind == CounterKind::histogram) append_member(histograms, sample.name, histogram_json(sample));
        else append_member(counters, sample.name, std::to_string(sample.value));
    }
    return fmt::format(R"({{"role": {}, "index": {}, "pid": {}, "state": {}, "counters": {{{}}}, "histograms": {{{}}}}})",
                       json_string(process.role), process.index, process.pid, json_string(millrace::name_of(process.state)),
                       counters, histograms);
}

}  // namespace

std::string json_string(std::string_view text) {
    std::string json = "\"";
    while (!text.empty()) {
        const size_t length = sequence_length(text);
        const char c = text[0];
        if (length == 0) json += "\\ufffd";
        else if (c == '"' || c == '\\') (json += '\\') += c;
        else if (length == 1 && static_cast<unsigned char>(c) < 0x20) json += fmt::format("\\u{:04x}", c);
        else json += text.substr(0, length);
        text.remove_prefix(length == 0 ? 1 : length);
    }
    return json + "\"";
}

std::string to_json(const Snapshot& snapshot) {
    std::string processes, problems;
    for (const ProcessCounters& process : snapshot.processes)
        processes += (processes.empty() ? "" : ", ") + process_json(process);
    for (const std::string& problem : snapshot.problems) problems += (problems.empty() ? "" : ", ") + json_string(problem);
    return fmt::format("{{\"dir\": {}, \"processes\": [{}], \"problems\": [{}]}}\n", json_string(snapshot.dir), processes,
                       problems);
}

}  // namespace millrace::viewstats
