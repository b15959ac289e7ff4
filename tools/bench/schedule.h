// The open loop's timetable: request i (0, 1, 2, …) is due at start + i / rate, whatever the server does.
// Latency is measured from that moment, so a stall is charged to every request that was due during it (this
// is what "corrected for coordinated omission" means). Connections take turns: connection c of C owns
// requests c, c + C, c + 2C, … Everything is arithmetic on these numbers: a backlog of any length takes no
// memory.
#pragma once

#include <algorithm>
#include <cstdint>

namespace millrace::bench {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

class Schedule {
  public:
    Schedule() = default;

    // `total` requests at `rate` per second (> 0), the first one at `start_ns`.
    Schedule(int64_t start_ns, double rate, uint64_t total)
        : start_ns_(start_ns), interval_ns_(static_cast<double>(kNanosPerSecond) / rate), total_(total) {}

    uint64_t total() const { return total_; }
    int64_t due_time(uint64_t request) const {
        return start_ns_ + static_cast<int64_t>(static_cast<double>(request) * interval_ns_);
    }

    // How many requests are due at `now_ns`: the numbers below the result are.
    uint64_t due_count(int64_t now_ns) const {
        if (now_ns < start_ns_) return 0;
        auto count = static_cast<uint64_t>(static_cast<double>(now_ns - start_ns_) / interval_ns_) + 1;
        while (count > 0 && due_time(count - 1) > now_ns) --count;  // rounding, either way
        while (due_time(count) <= now_ns) ++count;
        return std::min(count, total_);
    }

    // How many of the first `due` requests belong to connection `index` of `connections`.
    static uint64_t share_of(uint64_t due, uint64_t index, uint64_t connections) {
        return due > index ? (due - 1 - index) / connections + 1 : 0;
    }

  private:
    int64_t start_ns_ = 0;
    double interval_ns_ = 1;
    uint64_t total_ = 0;
};

}  // namespace millrace::bench
