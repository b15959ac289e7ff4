// The connections of one worker and its epoll set: opens them at a bounded rate, waits for them, closes them,
// and opens lost ones again if that was asked for. Knows nothing of requests.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <deque>
#include <string>

#include "tools/bench/connection.h"
#include "tools/bench/options.h"
#include "tools/bench/stats.h"
#include "tools/bench/target.h"

namespace millrace::bench {

class ConnectionPool {
  public:
    static constexpr int kEventsMax = 512;            // per wait
    static constexpr uint32_t kConnectingMax = 512;   // connections on their way at a time
    static constexpr int64_t kRetryNs = 100'000'000;  // before a lost connection is opened again

    // Connections number first, first + step, … below options.clients; `connect_rate` of them per second.
    ConnectionPool(const Options& options, const Target& target, uint32_t first, uint32_t step,
                   uint32_t pending_max, double connect_rate, RunStats& stats);
    ~ConnectionPool();
    ConnectionPool(const ConnectionPool&) = delete;
    ConnectionPool& operator=(const ConnectionPool&) = delete;

    // Starts the connections that may be started now.
    void open_due(int64_t now);
    // A socket that was connecting reported an event. True: the connection is up now.
    bool finish_connect(Connection& connection, int64_t now);
    // Gives up a connection; with --reconnect it is opened again later.
    void close_connection(Connection& connection, int64_t now);
    void fail_connect(Connection& connection, int code, int64_t now);
    void set_wants_write(Connection& connection, bool wants_write);
    // Waits at most `timeout_ns` (0: only looks). The number of events; 0 also after a signal.
    int wait(epoll_event* events, int64_t timeout_ns) const;

    std::deque<Connection>& connections() { return connections_; }
    uint32_t up() const { return up_; }
    uint32_t not_up_yet() const { return static_cast<uint32_t>(to_open_.size()) + connecting_; }
    // When open_due() has something to do; INT64_MAX for never.
    int64_t next_open_ns() const;

  private:
    void watch(Connection& connection, uint32_t events, int operation) const;
    bool open_one(Connection& connection, int64_t now);

    const Options& options_;
    const Target& target_;
    RunStats& stats_;
    const int64_t open_interval_ns_;
    int epoll_;
    std::deque<Connection> connections_;
    std::deque<uint32_t> to_open_;  // slots
    int64_t next_open_ns_ = 0;
    uint32_t connecting_ = 0;
    uint32_t up_ = 0;
};

}  // namespace millrace::bench
