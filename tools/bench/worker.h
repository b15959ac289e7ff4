// One thread of load: its connections, its share of the requests, its event loop. A turn of a connection is
// one recv(), all replies in it, as many new requests as the pacer allows, one send(). Nothing is allocated
// per request.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tools/bench/connection_pool.h"
#include "tools/bench/options.h"
#include "tools/bench/pacer.h"
#include "tools/bench/stats.h"
#include "tools/bench/target.h"
#include "tools/bench/workload.h"

namespace millrace::bench {

// What the workers of a run share.
struct RunContext {
    const Options& options;
    const Target& target;
    const std::atomic<bool>& stop;         // Ctrl-C
    std::function<void(int64_t)> on_tick;  // called by worker 0, several times a second, with the time
};

class Worker : private PayloadCheck {
  public:
    static constexpr size_t kReceiveBytes = 256 << 10;  // one recv() at most
    static constexpr size_t kTurnBytes = 64 << 10;      // a turn's requests: none is added beyond
    static constexpr int64_t kTickNs = 100'000'000;     // timeouts, progress
    static constexpr uint32_t kPreloadDepth = 64;

    Worker(const RunContext& context, uint32_t index);

    // Opens the connections; ends when each is up or has failed. Gives up early when the first one fails.
    void connect_all();
    // Sends and receives according to the plan, from `start_ns` on, until all is answered, lost or timed out.
    void run_phase(const WorkloadSpec& spec, const PhasePlan& plan, int64_t start_ns, int64_t phase_ns);

    // This worker's part of `total` things.
    uint64_t share_of(uint64_t total) const {
        return Schedule::share_of(total, index_, context_.options.threads);
    }
    uint32_t depth_max() const;
    uint32_t up() const { return pool_->up(); }
    RunStats& stats() { return *stats_; }
    const LiveCounts& live() const { return live_; }

  private:
    bool is_finished(int64_t now) const;
    uint64_t in_flight() const { return stats_->sent - stats_->replies - stats_->lost; }
    void wait_and_handle(int64_t until_ns);
    void handle_event(Connection& connection, uint32_t events);
    void receive(Connection& connection);
    bool on_reply(Connection& connection, const Reply& reply, int64_t now);
    void refill(Connection& connection);
    void send_due();
    void send_out(Connection& connection);
    void send_rest(Connection& connection);
    void lose(Connection& connection, ErrorKind kind, std::string_view text);
    void tick(int64_t now);
    void give_up_late(int64_t now);
    bool matches(uint32_t element, int64_t length, int64_t offset, std::string_view chunk) override;

    const RunContext& context_;
    const uint32_t index_;
    const int64_t timeout_ns_;
    std::unique_ptr<RunStats> stats_;
    LiveCounts live_;
    std::unique_ptr<ConnectionPool> pool_;
    std::optional<Workload> workload_;
    Pacer pacer_;
    std::unique_ptr<char[]> received_;
    OutBuffer out_;
    const Connection* checked_ = nullptr;  // whose reply is being parsed, for matches()
    uint64_t served_ = 0;                  // open loop: turns handed out
    int64_t next_tick_ns_ = 0;
    int64_t last_up_ns_ = 0;
    epoll_event events_[ConnectionPool::kEventsMax];
};

}  // namespace millrace::bench
