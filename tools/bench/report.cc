// See report.h. Durations are kept in nanoseconds and printed in microseconds.
#include "tools/bench/report.h"

#include <fmt/format.h>

#include <string_view>

namespace millrace::bench {

namespace {

constexpr double kNanosPerMicro = 1000.0;

struct PercentileRow {
    std::string_view name;
    double percent;
};
constexpr PercentileRow kPercentiles[] = {{"p50", 50}, {"p90", 90},     {"p95", 95},
                                          {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}};

double micros(int64_t nanos) {
    return static_cast<double>(nanos) / kNanosPerMicro;
}

double requests_per_second(const RunResult& result) {
    return result.seconds > 0 ? static_cast<double>(result.stats->replies) / result.seconds : 0;
}

std::string latency_json(const Histogram& latency) {
    std::string text = fmt::format("{{\"count\": {}, \"min\": {:.3f}, \"mean\": {:.3f}", latency.count(),
                                   micros(latency.min()), latency.mean() / kNanosPerMicro);
    for (const auto& row : kPercentiles) {
        text += fmt::format(", \"{}\": {:.3f}", row.name, micros(latency.percentile(row.percent)));
    }
    return text + fmt::format(", \"max\": {:.3f}}}", micros(latency.max()));
}

std::string latency_head() {
    std::string text = fmt::format("{:<10} {:>12} {:>9} {:>9}", "", "replies", "min", "mean");
    for (const auto& row : kPercentiles) text += fmt::format(" {:>9}", row.name);
    return text + fmt::format(" {:>9}  microseconds\n", "max");
}

std::string latency_line(std::string_view name, const Histogram& latency) {
    std::string text = fmt::format("{:<10} {:>12} {:>9.1f} {:>9.1f}", name, latency.count(),
                                   micros(latency.min()), latency.mean() / kNanosPerMicro);
    for (const auto& row : kPercentiles)
        text += fmt::format(" {:>9.1f}", micros(latency.percentile(row.percent)));
    return text + fmt::format(" {:>9.1f}\n", micros(latency.max()));
}

std::string load_text(const Options& options) {
    if (options.is_open_loop()) return fmt::format("{} requests/s on schedule", options.rate);
    return fmt::format("pipeline {}", options.pipeline);
}

std::string errors_text(const RunStats& stats) {
    std::string text;
    for (size_t i = 0; i < kErrorKinds; ++i) {
        const ErrorCount& error = stats.errors[i];
        if (error.count)
            text += fmt::format("error: {} {}; the first: {}\n", error.count, kErrorKindRows[i].label,
                                error.first);
    }
    if (stats.lost)
        text += fmt::format("{} requests got no reply, because their connection had ended\n", stats.lost);
    return text;
}

std::string notes_text(const Options& options, const RunResult& result) {
    const RunStats& stats = *result.stats;
    std::string text;
    if (stats.unsent) {
        text += fmt::format(
            "{} requests were due but could not be sent: connections were lost, or the server (or this "
            "program) is too slow for --rate {}\n",
            stats.unsent, options.rate);
    }
    if (stats.misses)
        text += fmt::format("{} values were not found (--preload would have set them)\n", stats.misses);
    if (result.was_stopped) text += "stopped early: this is what was measured until then\n";
    return text;
}

}  // namespace

std::string report_text(const Options& options, const RunResult& result) {
    const RunStats& stats = *result.stats;
    std::string text = fmt::format(
        "{}  {}  {} of {} connections  {}  {} keys {}  values of {} bytes  seed {}\n", options.target_name(),
        options.workload.mix.text(), result.connected, options.clients, load_text(options),
        options.workload.keys, options.dist_text, options.value_size_text, options.workload.values.seed);
    text += fmt::format("{} replies in {:.3f} s: {:.0f} requests/s; this program used {:.0f} % of a core\n",
                        stats.replies, result.seconds, requests_per_second(result),
                        result.seconds > 0 ? 100 * result.cpu_seconds / result.seconds : 0.0);
    text += latency_head();
    int commands = 0;
    for (size_t i = 0; i < kCommandCount; ++i) {
        if (stats.latency[i].count() == 0) continue;
        text += latency_line(kCommands[i].name, stats.latency[i]);
        ++commands;
    }
    if (commands != 1) text += latency_line("all", stats.latency_of_all());
    if (options.is_open_loop()) text += latency_line("send delay", stats.send_delay);
    return text + errors_text(stats) + notes_text(options, result);
}

std::string report_json(const Options& options, const RunResult& result) {
    const RunStats& stats = *result.stats;
    std::string text = fmt::format(
        "{{\"options\": {}, \"requests_per_second\": {:.3f}, \"seconds\": {:.6f}, \"client_cpu_seconds\": "
        "{:.6f}"
        ", \"connected\": {}, \"stopped\": {}, \"sent\": {}, \"replies\": {}, \"misses\": {}, \"unsent\": "
        "{}, \"lost\": {}",
        options.as_json(), requests_per_second(result), result.seconds, result.cpu_seconds, result.connected,
        result.was_stopped, stats.sent, stats.replies, stats.misses, stats.unsent, stats.lost);
    text += fmt::format(", \"failure\": {}, \"errors\": {{\"total\": {}", json_string(result.failure),
                        stats.error_total());
    for (size_t i = 0; i < kErrorKinds; ++i) {
        text += fmt::format(", \"{}\": {{\"count\": {}, \"first\": {}}}", kErrorKindRows[i].name,
                            stats.errors[i].count, json_string(stats.errors[i].first));
    }
    text += fmt::format("}}, \"latency_us\": {}, \"send_delay_us\": {}, \"commands\": {{",
                        latency_json(stats.latency_of_all()), latency_json(stats.send_delay));
    const char* separator = "";
    for (size_t i = 0; i < kCommandCount; ++i) {
        if (stats.latency[i].count() == 0) continue;
        text += fmt::format("{}\"{}\": {}", separator, kCommands[i].name, latency_json(stats.latency[i]));
        separator = ", ";
    }
    return text + "}}\n";
}

}  // namespace millrace::bench
