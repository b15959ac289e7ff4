// See acceptor.h. Runs in io_conn.
#include "io_conn/acceptor.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/log.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

Acceptor::Acceptor(Server& server, event_base* base, const std::vector<int>& sockets) : server_(server) {
    timer_ = evtimer_new(base, on_pause_over, this);
    for (int socket : sockets) {
        evutil_make_socket_nonblocking(socket);
        listeners_.push_back(event_new(base, socket, EV_READ | EV_PERSIST, on_waiting, this));
        event_add(listeners_.back(), nullptr);
    }
}

Acceptor::~Acceptor() {
    close();
    event_free(timer_);
}

void Acceptor::close() {
    for (event* listener : listeners_) {
        const int socket = event_get_fd(listener);
        event_free(listener);
        ::close(socket);
    }
    listeners_.clear();
    event_del(timer_);
}

void Acceptor::on_waiting(int fd, short, void* self) { static_cast<Acceptor*>(self)->accept_some(fd, true); }

void Acceptor::on_pause_over(int, short, void* self) {
    auto& acceptor = *static_cast<Acceptor*>(self);
    acceptor.paused_ = false;
    const Roster& roster = acceptor.server_.link().roster();
    for (unsigned i = 0; i < kMaxIoConns; ++i)
        acceptor.frozen_[i] = roster.lines[i].turns.load(std::memory_order_relaxed) == acceptor.turns_at_pause_[i];
    for (event* listener : acceptor.listeners_) {
        event_add(listener, nullptr);
        acceptor.accept_some(event_get_fd(listener), false);
    }
}

void Acceptor::pause(int milliseconds) {
    if (paused_) return;
    paused_ = true;
    const Roster& roster = server_.link().roster();
    for (unsigned i = 0; i < kMaxIoConns; ++i)
        turns_at_pause_[i] = roster.lines[i].turns.load(std::memory_order_relaxed);
    for (event* listener : listeners_) event_del(listener);
    const timeval time{milliseconds / 1000, milliseconds % 1000 * 1000};
    event_add(timer_, &time);
}

/// A peer that did not turn during the last pause counts as frozen until it turns.
bool Acceptor::frozen(unsigned index, const RosterLine& line) {
    if (frozen_[index] && line.turns.load(std::memory_order_relaxed) != turns_at_pause_[index]) frozen_[index] = false;
    return frozen_[index];
}

bool Acceptor::is_lowest() {
    const size_t own = server_.connections().open();
    const Roster& roster = server_.link().roster();
    for (unsigned i = 0; i < kMaxIoConns; ++i) {
        const RosterLine& line = roster.lines[i];
        if (line.state.load(std::memory_order_relaxed) != static_cast<uint32_t>(IoConnState::serving)) continue;
        if (line.connections.load(std::memory_order_relaxed) < own && !frozen(i, line)) return false;
    }
    return true;
}

void Acceptor::accept_some(int socket, bool patient) {
    for (int i = 0; i < kAcceptsPerTurn && !paused_; ++i) {
        if (patient && !is_lowest()) {
            server_.counters().add(IoCounter::accepts_deferred);
            return pause(kPatienceMs);
        }
        patient = true;  // impatience is good for one connection
        if (!accept_one(socket)) return;
    }
}

bool Acceptor::accept_one(int socket) {
    const int fd = accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        server_.add_connection(fd);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        server_.counters().add(IoCounter::connections_rejected);
        log::warning("cannot accept a connection: {}; raise the limit of open files or lower maxclients", errno_text(errno));
        pause(kDescriptorPauseMs);
    }
    return errno == ECONNABORTED || errno == EINTR;
}

}  // namespace millrace::io_conn
