// Opening, watching and closing of connections for one worker; see connection_pool.h. Raises nothing: what
// fails is counted in the worker's statistics.
#include "tools/bench/connection_pool.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/bench/schedule.h"

namespace millrace::bench {

ConnectionPool::ConnectionPool(const Options& options, const Target& target, uint32_t first, uint32_t step,
                               uint32_t pending_max, double connect_rate, RunStats& stats)
    : options_(options),
      target_(target),
      stats_(stats),
      open_interval_ns_(static_cast<int64_t>(kNanosPerSecond / connect_rate)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    for (uint32_t number = first; number < options.clients; number += step) {
        const auto slot = static_cast<uint32_t>(connections_.size());
        connections_.emplace_back(number, slot, options.protocol, pending_max);
        to_open_.push_back(slot);
    }
}

ConnectionPool::~ConnectionPool() {
    for (Connection& connection : connections_) {
        if (connection.fd >= 0) close(connection.fd);
    }
    close(epoll_);
}

int64_t ConnectionPool::next_open_ns() const {
    return to_open_.empty() || connecting_ >= kConnectingMax ? INT64_MAX : next_open_ns_;
}

void ConnectionPool::open_due(int64_t now) {
    if (next_open_ns_ == 0) next_open_ns_ = now;
    while (!to_open_.empty() && connecting_ < kConnectingMax && next_open_ns_ <= now) {
        Connection& connection = connections_[to_open_.front()];
        if (!open_one(connection, now)) return;
        to_open_.pop_front();
        next_open_ns_ += open_interval_ns_;
    }
}

// False: the server's queue is full, the rest has to wait.
bool ConnectionPool::open_one(Connection& connection, int64_t now) {
    const int fd = target_.open_socket(connection.number);
    if (fd == -EAGAIN) {
        next_open_ns_ = now + kRetryNs;
        return false;
    }
    ++connecting_;
    connection.state = ConnectionState::kConnecting;
    connection.since_ns = now;
    connection.fd = std::max(fd, -1);
    if (fd < 0) {
        fail_connect(connection, -fd, now);
    } else {
        watch(connection, EPOLLOUT, EPOLL_CTL_ADD);
    }
    return true;
}

bool ConnectionPool::finish_connect(Connection& connection, int64_t now) {
    int code = 0;
    socklen_t length = sizeof code;
    getsockopt(connection.fd, SOL_SOCKET, SO_ERROR, &code, &length);
    if (code != 0) {
        fail_connect(connection, code, now);
        return false;
    }
    --connecting_;
    ++up_;
    connection.state = ConnectionState::kUp;
    connection.wants_write = false;
    watch(connection, EPOLLIN, EPOLL_CTL_MOD);
    return true;
}

void ConnectionPool::fail_connect(Connection& connection, int code, int64_t now) {
    const char* cure = "is the server running there?";
    if (code == EADDRNOTAVAIL)
        cure = "this host has no free source ports left: use fewer --clients or a Unix socket";
    if (code == EMFILE || code == ENFILE) cure = "raise the limit on open files";
    stats_.count_error(ErrorKind::kConnect, fmt::format("{}; {}", std::strerror(code), cure));
    close_connection(connection, now);
}

void ConnectionPool::close_connection(Connection& connection, int64_t now) {
    if (connection.state == ConnectionState::kUp) --up_;
    if (connection.state == ConnectionState::kConnecting) --connecting_;
    if (connection.fd >= 0) close(connection.fd);
    connection.fd = -1;
    connection.parser.reset();
    connection.pending.clear();
    connection.unsent.clear();
    connection.unsent_from = 0;
    connection.state = options_.reconnect ? ConnectionState::kToOpen : ConnectionState::kGone;
    if (!options_.reconnect) return;
    to_open_.push_back(connection.slot);
    next_open_ns_ = std::max(next_open_ns_, now + kRetryNs);
}

void ConnectionPool::set_wants_write(Connection& connection, bool wants_write) {
    if (connection.wants_write == wants_write) return;
    connection.wants_write = wants_write;
    watch(connection, wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
}

void ConnectionPool::watch(Connection& connection, uint32_t events, int operation) const {
    epoll_event event{};
    event.events = events;
    event.data.ptr = &connection;
    epoll_ctl(epoll_, operation, connection.fd, &event);
}

int ConnectionPool::wait(epoll_event* events, int64_t timeout_ns) const {
    timeout_ns = std::max<int64_t>(timeout_ns, 0);
    const timespec timeout{timeout_ns / kNanosPerSecond, timeout_ns % kNanosPerSecond};
    return std::max(epoll_pwait2(epoll_, events, kEventsMax, &timeout, nullptr), 0);
}

}  // namespace millrace::bench
