// Says whether a connection may send its next request, and where that request's latency begins. Closed loop:
// while the pipeline has room, from the moment of sending. Open loop: when it is due by the schedule, from
// that moment; what a slow server has not let through a second after the schedule's end stays unsent.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tools/bench/connection.h"
#include "tools/bench/schedule.h"

namespace millrace::bench {

inline constexpr int64_t kBacklogGraceNs = kNanosPerSecond;

// What one worker has to do in one phase (preload or run).
struct PhasePlan {
    uint32_t depth = 1;     // unanswered requests per connection
    uint64_t requests = 0;  // in all; 0: no limit
    int64_t length_ns = 0;  // 0: no limit
    double rate = 0;        // per second; 0: closed loop
};

class Pacer {
  public:
    Pacer() = default;

    // `phase_ns` shifts this worker's schedule, so that several workers interleave.
    Pacer(const PhasePlan& plan, int64_t start_ns, int64_t phase_ns, uint64_t connections)
        : depth_(plan.depth),
          connections_(connections),
          is_open_(plan.rate > 0),
          closed_left_(plan.requests ? plan.requests : UINT64_MAX),
          end_ns_(plan.length_ns ? start_ns + plan.length_ns : INT64_MAX) {
        if (!is_open_) return;
        schedule_ = Schedule(start_ns + phase_ns, plan.rate, open_total(plan));
        end_ns_ = schedule_.due_time(schedule_.total()) + kBacklogGraceNs;
    }

    // Call once per turn, before take().
    void set_now(int64_t now_ns) {
        now_ns_ = now_ns;
        if (is_open_) due_ = schedule_.due_count(now_ns);
    }

    // The latency's start if `connection` may send one more request now, otherwise -1.
    int64_t take(Connection& connection) {
        if (connection.pending.size() >= depth_) return -1;
        if (!is_open_) {
            if (closed_left_ == 0 || now_ns_ >= end_ns_) return -1;
            --closed_left_;
            return now_ns_;
        }
        if (connection.turns_taken >= Schedule::share_of(due_, connection.slot, connections_)) return -1;
        if (now_ns_ >= end_ns_) return -1;
        ++taken_;
        return schedule_.due_time(connection.slot + connections_ * connection.turns_taken++);
    }

    bool is_open() const { return is_open_; }
    uint64_t due() const { return due_; }
    uint64_t backlog() const { return due_ - taken_; }  // open loop: due, but not sent

    // When the first request that is not due yet will be.
    int64_t next_due_ns() const { return due_ < schedule_.total() ? schedule_.due_time(due_) : INT64_MAX; }

    // Nothing more will be sent.
    bool is_over() const {
        return now_ns_ >= end_ns_ || (is_open_ ? taken_ == schedule_.total() : closed_left_ == 0);
    }

  private:
    static uint64_t open_total(const PhasePlan& plan) {
        const double by_time =
            plan.length_ns ? static_cast<double>(plan.length_ns) / kNanosPerSecond * plan.rate : 1e18;
        const auto total = static_cast<uint64_t>(by_time + 0.5);
        return plan.requests ? std::min(total, plan.requests) : total;
    }

    uint32_t depth_ = 1;
    uint64_t connections_ = 1;
    bool is_open_ = false;
    uint64_t closed_left_ = 0;
    int64_t end_ns_ = 0;
    int64_t now_ns_ = 0;
    uint64_t due_ = 0;
    uint64_t taken_ = 0;
    Schedule schedule_;
};

}  // namespace millrace::bench
