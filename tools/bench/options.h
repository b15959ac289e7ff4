// What millrace-bench was asked to do: the command line, checked and completed (scenario, defaults, seed).
// Written once at start, read by everything else.
#pragma once

#include <cstdint>
#include <string>

#include "tools/bench/workload.h"

namespace millrace::bench {

inline constexpr uint32_t kClientsMax = 1'000'000;
inline constexpr uint32_t kPipelineMax = 65'536;
inline constexpr uint32_t kThreadsMax = 64;
inline constexpr uint32_t kKeysPerRequestMax = 1'000;
inline constexpr double kRateMax = 100e6;  // requests per second
inline constexpr double kSecondsMax = 1e6;
inline constexpr double kTimeoutMax = 3600;  // seconds
inline constexpr uint64_t kRequestsDefault = 100'000;
inline constexpr uint64_t kScenarioMessages = 10'000;
inline constexpr uint32_t kScenarioCrowd = 10'000;  // connections, each with a message a second
inline constexpr double kScenarioCrowdSeconds = 10;

struct Options {
    std::string host = "127.0.0.1";
    uint16_t port = 6379;
    std::string unix_path;
    Protocol protocol = Protocol::kRedis;

    std::string scenario;  // "", "single" or "crowd"
    uint32_t clients = 50;
    uint32_t threads = 1;
    uint32_t pipeline = 1;
    uint64_t requests = 0;        // 0: no limit by number
    double seconds = 0;           // 0: no limit by time
    double rate = 0;              // requests per second in all; 0: closed loop
    double connect_rate = 5'000;  // connections opened per second
    double timeout = 10;          // seconds without any reply on a connection that waits for one
    uint32_t in_flight_max = 0;   // open loop: unanswered requests per connection
    bool reconnect = false;

    std::string mix_text = "get=80,set=20";
    std::string dist_text = "uniform";
    std::string value_size_text = "64";
    WorkloadSpec workload;
    bool preload = false;
    bool verify = false;

    bool json = false;
    bool quiet = false;

    bool is_open_loop() const { return rate > 0; }
    std::string target_name() const;  // "127.0.0.1:6379" or the socket's path
    std::string as_json() const;      // all of it, one JSON object
};

// Reads the command line. Returns -1 to go on, otherwise the exit status to end with (0 after --help, 2 for
// bad usage; the reason is on stderr).
int parse_options(int argc, char** argv, Options& options);

// `text` as a JSON string, quotes included.
std::string json_string(std::string_view text);

}  // namespace millrace::bench
