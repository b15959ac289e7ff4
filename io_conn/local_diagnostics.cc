// SLOWLOG and LATENCY, and INFO's sections of commands, errors and latencies: what all processes have noted (common/diagnostics.h).
// Answered from shared memory, so also while md is busy, stopped or dead. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/diagnostics.h"
#include "common/text.h"
#include "io_conn/diagnostics_text.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

namespace {

/// What all processes together have noted of a command.
struct CommandSum {
    uint64_t calls = 0, nanoseconds = 0, rejected = 0, failed = 0;
    std::array<uint64_t, kDurationBuckets> durations{};

    uint64_t measured() const {
        uint64_t sum = 0;
        for (const uint64_t count : durations) sum += count;
        return sum;
    }
    /// The upper bound of the bucket that has this share of the calls at or below it, nanoseconds.
    uint64_t percentile(double share) const {
        const auto rank = static_cast<uint64_t>(share * static_cast<double>(measured()));
        uint64_t seen = 0;
        for (unsigned bucket = 0; bucket < kDurationBuckets; ++bucket)
            if ((seen += durations[bucket]) > rank || seen == measured()) return duration_bucket_ns(bucket);
        return 0;
    }
};

std::vector<CommandSum> sums_of_commands(const Server& server) {
    const DaemonArguments& arguments = server.daemon().arguments();
    std::vector<CommandSum> sums(kCommandCount);
    const uint64_t resets = server.statistics_resets();
    for_each_diagnostics(arguments.dir, arguments.instance, [&](const DiagnosticsHead& head) {
        if (head.statistics_resets.load(std::memory_order_relaxed) != resets) return;  // of before CONFIG RESETSTAT
        const auto get = [](const std::atomic<uint64_t>& word) { return word.load(std::memory_order_relaxed); };
        for (unsigned i = 0; i < kCommandCount; ++i) {
            const CommandRecord& record = head.commands[i];
            sums[i].calls += get(record.calls), sums[i].nanoseconds += get(record.nanoseconds);
            sums[i].rejected += get(record.rejected), sums[i].failed += get(record.failed);
            for (unsigned bucket = 0; bucket < kDurationBuckets; ++bucket) sums[i].durations[bucket] += get(record.durations[bucket]);
        }
    });
    return sums;
}

/// A latency series of all processes together.
struct SeriesSum {
    uint64_t highest_ms = 0;
    std::map<uint64_t, uint64_t> samples;  ///< milliseconds by second
};

SeriesSum series_of(Server& server, LatencyEvent event) {
    const DaemonArguments& arguments = server.daemon().arguments();
    const uint64_t forgotten = server.link().roster().latency_forgotten[static_cast<unsigned>(event)].load(std::memory_order_relaxed);
    SeriesSum sum;
    for_each_diagnostics(arguments.dir, arguments.instance, [&](const DiagnosticsHead& head) {
        const LatencySeries& series = head.latency[static_cast<unsigned>(event)];
        const uint64_t written = series.written.load(std::memory_order_acquire);
        bool any = false;
        for (uint64_t i = written - std::min<uint64_t>(written, LatencySeries::kSamples); i < written; ++i) {
            const LatencySeries::Sample& sample = series.samples[i % LatencySeries::kSamples];
            if (sample.number.load(std::memory_order_relaxed) < forgotten) continue;
            const uint64_t value = sample.value.load(std::memory_order_relaxed);
            uint64_t& milliseconds = sum.samples[value >> 32];
            milliseconds = std::max(milliseconds, value & 0xffffffff);
            any = true;
        }
        if (any) sum.highest_ms = std::max(sum.highest_ms, series.highest_ms.load(std::memory_order_relaxed));
    });
    while (sum.samples.size() > LatencySeries::kSamples) sum.samples.erase(sum.samples.begin());
    return sum;
}

std::optional<LatencyEvent> find_event(std::string_view name) {
    for (unsigned i = 0; i < kLatencyEvents; ++i)
        if (equals_ignoring_case(name, name_of(static_cast<LatencyEvent>(i)))) return static_cast<LatencyEvent>(i);
    return std::nullopt;
}

uint64_t slow_commands_shown(const Server& server) { return static_cast<uint64_t>(server.live_number(OptionId::slowlog_max_len)); }

std::vector<SlowCommand> slow_commands_of(const LocalCall& call, uint64_t limit) {
    const DaemonArguments& arguments = call.server.daemon().arguments();
    return slow_commands(arguments.dir, arguments.instance, call.server.link().roster(), std::min(limit, slow_commands_shown(call.server)));
}

/// A histogram of durations as LATENCY HISTOGRAM shows it: how many took at most so many microseconds.
void write_histogram(RespWriter& out, const CommandSum& sum) {
    out.map(2);
    out.bulk("calls"), out.integer(static_cast<int64_t>(sum.measured()));
    out.bulk("histogram_usec");
    std::vector<std::pair<uint64_t, uint64_t>> steps;
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < kDurationBuckets; ++bucket) {
        if (sum.durations[bucket] == 0) continue;
        seen += sum.durations[bucket];
        steps.emplace_back(duration_bucket_ns(bucket) / 1000, seen);
    }
    out.map(static_cast<uint32_t>(steps.size()));
    for (const auto& [us, count] : steps) out.integer(static_cast<int64_t>(us)), out.integer(static_cast<int64_t>(count));
}

}  // namespace

std::string commandstats_text(const Server& server) {
    std::string text;
    const std::vector<CommandSum> sums = sums_of_commands(server);
    for (unsigned i = 0; i < kCommandCount; ++i) {
        const CommandSum& sum = sums[i];
        if (sum.calls == 0 && sum.rejected == 0) continue;
        const double us = static_cast<double>(sum.nanoseconds) / 1000;
        text += fmt::format("cmdstat_{}:calls={},usec={:.0f},usec_per_call={:.2f},rejected_calls={},failed_calls={}\r\n", command_rows()[i].name, sum.calls, us,
                            sum.calls == 0 ? 0 : us / static_cast<double>(sum.calls), sum.rejected, sum.failed);
    }
    return text;
}

std::string errorstats_text(const Server& server) {
    const DaemonArguments& arguments = server.daemon().arguments();
    std::map<std::string, uint64_t> counts;
    const uint64_t resets = server.statistics_resets();
    for_each_diagnostics(arguments.dir, arguments.instance, [&](const DiagnosticsHead& head) {
        if (head.statistics_resets.load(std::memory_order_relaxed) != resets) return;
        for (const ErrorRecord& record : head.errors) {
            std::string code;
            for (const auto& word : record.code) {
                const uint64_t bytes = word.load(std::memory_order_relaxed);
                code.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
            }
            code.resize(std::min(code.find('\0'), code.size()));
            if (!code.empty()) counts[code] += record.count.load(std::memory_order_relaxed);
        }
    });
    std::string text;
    for (const auto& [code, count] : counts) text += fmt::format("errorstat_{}:count={}\r\n", code, count);
    return text;
}

std::string latencystats_text(const Server& server) {
    std::string text;
    const std::vector<CommandSum> sums = sums_of_commands(server);
    for (unsigned i = 0; i < kCommandCount; ++i) {
        if (sums[i].measured() == 0) continue;
        const auto us = [&](double share) { return static_cast<double>(sums[i].percentile(share)) / 1000; };
        text += fmt::format("latency_percentiles_usec_{}:p50={:.3f},p99={:.3f},p99.9={:.3f}\r\n", command_rows()[i].name, us(0.5), us(0.99), us(0.999));
    }
    return text;
}

void local_slowlog_get(const LocalCall& call) {
    constexpr int64_t kShown = 10;
    int64_t limit = kShown;
    if (call.words.size() > 3) return call.out.error(fmt::format("ERR unknown subcommand or wrong number of arguments for '{}'. Try SLOWLOG HELP.", until_nul(call.words[1])));
    if (call.words.size() == 3 && (!parse_integer(call.words[2], limit) || limit < -1)) return call.out.error("ERR count should be greater than or equal to -1");
    const std::vector<SlowCommand> commands = slow_commands_of(call, limit < 0 ? ~uint64_t{0} : static_cast<uint64_t>(limit));
    call.out.array(static_cast<uint32_t>(commands.size()));
    for (const SlowCommand& command : commands) {
        call.out.array(6);
        call.out.integer(static_cast<int64_t>(command.number));
        call.out.integer(static_cast<int64_t>(command.at_s));
        call.out.integer(static_cast<int64_t>(command.duration_us));
        call.out.array(static_cast<uint32_t>(command.arguments.size()));
        for (const std::string& argument : command.arguments) call.out.bulk(argument);
        call.out.bulk(command.address);
        call.out.bulk(command.name);
    }
}

void local_slowlog_len(const LocalCall& call) { call.out.integer(static_cast<int64_t>(slow_commands_of(call, ~uint64_t{0}).size())); }

void local_slowlog_reset(const LocalCall& call) {
    Roster& roster = call.server.link().roster();
    roster.slow_forgotten.store(roster.slow_commands.load(std::memory_order_relaxed), std::memory_order_relaxed);
    call.out.ok();
}

void local_latency_latest(const LocalCall& call) {
    std::vector<std::pair<LatencyEvent, SeriesSum>> found;
    for (unsigned i = 0; i < kLatencyEvents; ++i) {
        SeriesSum sum = series_of(call.server, static_cast<LatencyEvent>(i));
        if (!sum.samples.empty()) found.emplace_back(static_cast<LatencyEvent>(i), std::move(sum));
    }
    call.out.array(static_cast<uint32_t>(found.size()));
    for (const auto& [event, sum] : found) {
        const auto& [at_s, milliseconds] = *sum.samples.rbegin();
        call.out.array(4);
        call.out.bulk(name_of(event));
        call.out.integer(static_cast<int64_t>(at_s)), call.out.integer(static_cast<int64_t>(milliseconds)), call.out.integer(static_cast<int64_t>(sum.highest_ms));
    }
}

void local_latency_history(const LocalCall& call) {
    const auto event = find_event(call.words[2]);
    const SeriesSum sum = event ? series_of(call.server, *event) : SeriesSum();
    call.out.array(static_cast<uint32_t>(sum.samples.size()));
    for (const auto& [at_s, milliseconds] : sum.samples) {
        call.out.array(2);
        call.out.integer(static_cast<int64_t>(at_s)), call.out.integer(static_cast<int64_t>(milliseconds));
    }
}

void local_latency_reset(const LocalCall& call) {
    Roster& roster = call.server.link().roster();
    int64_t forgotten = 0;
    for (unsigned i = 0; i < kLatencyEvents; ++i) {
        const auto event = static_cast<LatencyEvent>(i);
        const bool asked = call.words.size() == 2 ||
                           std::ranges::any_of(call.words.subspan(2), [&](std::string_view word) { return equals_ignoring_case(word, name_of(event)); });
        if (!asked || series_of(call.server, event).samples.empty()) continue;
        roster.latency_forgotten[i].store(roster.latency_samples.load(std::memory_order_relaxed), std::memory_order_relaxed);
        ++forgotten;
    }
    call.out.integer(forgotten);
}

void local_latency_doctor(const LocalCall& call) {
    std::string text;
    for (unsigned i = 0; i < kLatencyEvents; ++i) {
        const auto event = static_cast<LatencyEvent>(i);
        const SeriesSum sum = series_of(call.server, event);
        if (sum.samples.empty()) continue;
        uint64_t total = 0;
        for (const auto& [at_s, milliseconds] : sum.samples) total += milliseconds;
        text += fmt::format("{}: {} seconds with a latency of {} ms or more, the last at {}; mean {} ms, highest {} ms.\n", name_of(event), sum.samples.size(),
                            call.server.live_number(OptionId::latency_monitor_threshold), sum.samples.rbegin()->first, total / sum.samples.size(), sum.highest_ms);
    }
    if (text.empty() && call.server.live_number(OptionId::latency_monitor_threshold) == 0)
        text = "Latencies are not noted: CONFIG SET latency-monitor-threshold <milliseconds> begins with it.\n";
    else if (text.empty()) text = "No latency has been noted.\n";
    else text += "SLOWLOG GET names the slow commands; viewstats shows queues and turns of each process; redis-cli --intrinsic-latency 10 measures the machine.\n";
    call.out.verbatim(text);
}

void local_latency_histogram(const LocalCall& call) {
    const std::vector<CommandSum> sums = sums_of_commands(call.server);
    std::vector<const CommandRow*> rows;
    const auto take = [&](const CommandRow& row) {
        if (sums[static_cast<unsigned>(row.id)].measured() != 0 && std::ranges::find(rows, &row) == rows.end()) rows.push_back(&row);
    };
    for (const CommandRow& row : command_rows()) {
        const std::string_view container = row.name.substr(0, row.name.find('|'));
        const bool asked = call.words.size() == 2 || std::ranges::any_of(call.words.subspan(2), [&](std::string_view word) {
            return equals_ignoring_case(word, row.name) || equals_ignoring_case(word, container);
        });
        if (asked) take(row);
    }
    call.out.map(static_cast<uint32_t>(rows.size()));
    for (const CommandRow* row : rows) {
        call.out.bulk(row->name);
        write_histogram(call.out, sums[static_cast<unsigned>(row->id)]);
    }
}

}  // namespace millrace::io_conn
