// See options.h. CLI11 reads the words; what depends on several of them is settled in `complete`.
#include "tools/bench/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <random>

namespace millrace::bench {

namespace {

constexpr uint32_t kInFlightTotal = 200'000;  // open loop: shared out among the connections …
constexpr uint32_t kInFlightMin = 16;         // … within these bounds
constexpr uint32_t kInFlightMax = 65'536;
constexpr uint32_t kValueSizeMax = 512u << 20;   // bytes
constexpr uint64_t kRequestBytesMax = 1u << 30;  // one mset with all its values

struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

void add_target(CLI::App& app, Options& o) {
    app.add_option("-h,--host", o.host, "host name or address of the server")->capture_default_str();
    app.add_option("-p,--port", o.port, "TCP port")->capture_default_str()->check(CLI::Range(1, 65535));
    app.add_option("-s,--unix", o.unix_path, "path of a Unix socket, instead of host and port");
    const std::map<std::string, Protocol> names{{"redis", Protocol::kRedis},
                                                {"memcached", Protocol::kMemcached}};
    app.add_option("--protocol", o.protocol, "redis, or memcached (text protocol; get and set only)")
        ->transform(CLI::CheckedTransformer(names).description("{redis,memcached}"))
        ->default_str("redis");
}

void add_load(CLI::App& app, Options& o) {
    app.add_option(
           "--scenario", o.scenario,
           "single: 10,000 messages on one connection, one after another; "
           "crowd: 10,000 connections with a message a second each, for 10 s. Other options adjust either")
        ->check(CLI::IsMember({"single", "crowd"}));
    app.add_option("-c,--clients", o.clients, "connections")
        ->capture_default_str()
        ->check(CLI::Range(1u, kClientsMax));
    app.add_option("-P,--pipeline", o.pipeline, "closed loop: unanswered requests per connection")
        ->capture_default_str()
        ->check(CLI::Range(1u, kPipelineMax));
    app.add_option("-n,--requests", o.requests,
                   "end after so many requests (default 100000 without --seconds)");
    app.add_option("--seconds", o.seconds, "end after so many seconds")->check(CLI::Range(0.0, kSecondsMax));
    app.add_option("--rate", o.rate,
                   "open loop: requests per second in all, on a fixed schedule; latency counts from "
                   "the scheduled moment")
        ->check(CLI::Range(0.0, kRateMax));
    app.add_option("--in-flight", o.in_flight_max,
                   "open loop: unanswered requests per connection (default: by --clients)")
        ->check(CLI::Range(1u, kInFlightMax));
    app.add_option("--threads", o.threads, "threads that share the connections")
        ->capture_default_str()
        ->check(CLI::Range(1u, kThreadsMax));
    app.add_option("--connect-rate", o.connect_rate, "connections opened per second")
        ->capture_default_str()
        ->check(CLI::Range(1.0, 1e6));
    app.add_option("--timeout", o.timeout, "seconds without a reply after which a connection is given up")
        ->capture_default_str()
        ->check(CLI::Range(0.01, kTimeoutMax));
    app.add_flag("--reconnect", o.reconnect, "open lost connections again instead of going on without them");
}

void add_workload(CLI::App& app, Options& o) {
    app.add_option("--mix", o.mix_text,
                   "commands and their shares, such as get=80,set=20; "
                   "get set incr mget mset ping append del exists strlen")
        ->capture_default_str();
    app.add_option("-r,--keys", o.workload.keys, "different keys")
        ->default_str("100000")
        ->check(CLI::Range(uint64_t{1}, kKeysMax));
    app.add_option("-d,--value-size", o.value_size_text, "bytes per value, or MIN-MAX")
        ->capture_default_str();
    app.add_option("--dist", o.dist_text, "which keys: uniform, zipf:THETA or sequential")
        ->capture_default_str();
    app.add_option("--keys-per-request", o.workload.keys_per_request, "keys of one mget or mset")
        ->capture_default_str()
        ->check(CLI::Range(1u, kKeysPerRequestMax));
    app.add_flag("--preload", o.preload, "set every key once before measuring");
    app.add_option("--seed", o.workload.values.seed,
                   "makes keys, commands and values repeatable (default: random)");
    app.add_flag("--verify", o.verify,
                 "check the value of every get and mget; a wrong one is an error. The keys must "
                 "have been written with the same --seed and --value-size, or not at all");
}

void parse_value_size(const std::string& text, ValueModel& values) {
    const size_t dash = text.find('-');
    const std::string low = text.substr(0, dash);
    const std::string high = dash == std::string::npos ? low : text.substr(dash + 1);
    const bool is_read =
        CLI::detail::lexical_cast(low, values.size_min) && CLI::detail::lexical_cast(high, values.size_max);
    if (!is_read || values.size_min > values.size_max || values.size_max > kValueSizeMax) {
        throw UsageError(fmt::format(
            "--value-size '{}' is no size: give bytes such as 64, or a range such as 16-4096, up to {}", text,
            kValueSizeMax));
    }
}

// A scenario fills in what the command line left open.
void apply_scenario(const CLI::App& app, Options& o) {
    const auto is_open = [&](const char* name) { return app.count(name) == 0; };
    if (o.scenario == "single") {
        if (is_open("--clients")) o.clients = 1;
        if (is_open("--requests") && is_open("--seconds")) o.requests = kScenarioMessages;
    } else if (o.scenario == "crowd") {
        if (is_open("--clients")) o.clients = kScenarioCrowd;
        if (is_open("--rate")) o.rate = o.clients;
        if (is_open("--requests") && is_open("--seconds")) o.seconds = kScenarioCrowdSeconds;
    }
}

void check_mix(const Options& o) {
    for (size_t i = 0; i < kCommandCount; ++i) {
        const Command& command = kCommands[i];
        if (!o.workload.mix.weight[i]) continue;
        if (o.workload.protocol == Protocol::kMemcached && !command.in_memcached) {
            throw UsageError(fmt::format("--mix {}: the memcached protocol is supported for get and set only",
                                         command.name));
        }
        const bool is_large =
            command.shape == Shape::kKeyValues &&
            uint64_t{o.workload.values.size_max} * o.workload.keys_per_request > kRequestBytesMax;
        if (is_large)
            throw UsageError(
                fmt::format("an mset of this size exceeds {} bytes: lower --value-size or --keys-per-request",
                            kRequestBytesMax));
    }
}

void complete(const CLI::App& app, Options& o) {
    std::string error;
    o.workload.protocol = o.protocol;
    if (!parse_mix(o.mix_text, o.workload.mix, error)) throw UsageError("--mix: " + error);
    if (!parse_dist(o.dist_text, o.workload.dist, error)) throw UsageError("--dist: " + error);
    parse_value_size(o.value_size_text, o.workload.values);
    for (const double number : {o.seconds, o.rate, static_cast<double>(o.connect_rate), static_cast<double>(o.timeout)})
        if (!std::isfinite(number)) throw UsageError("'nan' and 'inf' are no numbers to measure with");
    check_mix(o);
    apply_scenario(app, o);
    if (o.requests == 0 && o.seconds == 0) o.requests = kRequestsDefault;
    if (o.is_open_loop() && app.count("--pipeline")) {
        throw UsageError("--pipeline belongs to the closed loop: leave it out with --rate (see --in-flight)");
    }
    if (o.threads > o.clients) o.threads = o.clients;
    if (o.in_flight_max == 0)
        o.in_flight_max = std::clamp(kInFlightTotal / o.clients, kInFlightMin, kInFlightMax);
    if (!app.count("--seed")) o.workload.values.seed = std::random_device{}();
}

}  // namespace

int parse_options(int argc, char** argv, Options& options) {
    CLI::App app{"Measures how fast a Redis or memcached server answers, and how late.", "millrace-bench"};
    app.set_help_flag("--help", "print this and end");
    app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    options.workload.keys = 100'000;
    add_target(app, options);
    add_load(app, options);
    add_workload(app, options);
    app.add_flag("--json", options.json, "print one JSON object on stdout instead of the table");
    app.add_flag("-q,--quiet", options.quiet, "no progress on stderr");
    try {
        app.parse(argc, argv);
        complete(app, options);
    } catch (const CLI::CallForHelp& help) {
        return app.exit(help);
    } catch (const CLI::ParseError& bad) {
        fmt::print(stderr, "millrace-bench: {}; see millrace-bench --help\n", bad.what());
        return 2;
    } catch (const UsageError& bad) {
        fmt::print(stderr, "millrace-bench: {}\n", bad.what());
        return 2;
    }
    return -1;
}

std::string Options::target_name() const {
    if (!unix_path.empty()) return unix_path;
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                               : fmt::format("[{}]:{}", host, port);
}

std::string json_string(std::string_view text) {
    std::string result = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            result += '\\';
            result += c;
        } else if (byte < 0x20 || byte >= 0x7f) {
            result += fmt::format("\\u{:04x}", byte);
        } else {
            result += c;
        }
    }
    return result + '"';
}

std::string Options::as_json() const {
    const WorkloadSpec& w = workload;
    std::string text = fmt::format(
        "{{\"target\": {}, \"host\": {}, \"port\": {}, \"unix\": {}, \"protocol\": \"{}\", \"scenario\": {}",
        json_string(target_name()), json_string(host), port, json_string(unix_path),
        protocol == Protocol::kRedis ? "redis" : "memcached", json_string(scenario));
    text += fmt::format(
        ", \"loop\": \"{}\", \"clients\": {}, \"threads\": {}, \"pipeline\": {}, \"requests\": {}, "
        "\"seconds\": {}"
        ", \"rate\": {}, \"in_flight\": {}, \"connect_rate\": {}, \"timeout\": {}, \"reconnect\": {}",
        is_open_loop() ? "open" : "closed", clients, threads, pipeline, requests, seconds, rate,
        in_flight_max, connect_rate, timeout, reconnect);
    text += fmt::format(
        ", \"mix\": {}, \"keys\": {}, \"value_size_min\": {}, \"value_size_max\": {}, \"dist\": {}"
        ", \"keys_per_request\": {}, \"preload\": {}, \"verify\": {}, \"seed\": {}}}",
        json_string(w.mix.text()), w.keys, w.values.size_min, w.values.size_max, json_string(dist_text),
        w.keys_per_request, preload, verify, w.values.seed);
    return text;
}

}  // namespace millrace::bench
