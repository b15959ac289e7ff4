// What a run found out. Each worker fills its own RunStats; they are merged when the workers have ended.
// LiveCounts is the little that the progress line reads while they run.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "tools/bench/histogram.h"
#include "tools/bench/workload.h"

namespace millrace::bench {

enum class ErrorKind : uint8_t { kErrorReply, kWrongValue, kBadReply, kDisconnect, kTimeout, kConnect };
inline constexpr size_t kErrorKinds = 6;

struct ErrorKindRow {
    std::string_view name;   // in JSON
    std::string_view label;  // for people
};
inline constexpr ErrorKindRow kErrorKindRows[kErrorKinds] = {
    {"error_replies", "error replies"},
    {"wrong_values", "wrong values"},
    {"bad_replies", "unexpected replies"},
    {"disconnects", "connections lost"},
    {"timeouts", "requests without reply in time"},
    {"connect_failures", "connections not opened"},
};

struct ErrorCount {
    uint64_t count = 0;
    std::string first;  // what the first one said
};

struct RunStats {
    std::array<Histogram, kCommandCount> latency;  // per command
    Histogram send_delay;                          // open loop: from the scheduled moment to send()
    std::array<ErrorCount, kErrorKinds> errors;
    uint64_t sent = 0;  // requests
    uint64_t replies = 0;
    uint64_t misses = 0;        // values that get and mget did not find
    uint64_t unsent = 0;        // open loop: requests that were due and could not be sent
    uint64_t lost = 0;          // requests whose connection ended before the reply
    int64_t last_reply_ns = 0;  // steady clock

    void count_error(ErrorKind kind, std::string_view text, uint64_t count = 1);
    uint64_t error_total() const;
    const ErrorCount& error(ErrorKind kind) const { return errors[static_cast<size_t>(kind)]; }
    Histogram latency_of_all() const;
    void merge(const RunStats& other);
};

struct LiveCounts {
    std::atomic<uint64_t> replies{0};
    std::atomic<uint64_t> errors{0};
    std::atomic<uint64_t> connected{0};
};

}  // namespace millrace::bench
