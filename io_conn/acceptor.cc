// See acceptor.h. Runs in io_conn.
#include "io_conn/acceptor.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/log.h"
#include "common/paths.h"
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
    yielding_ = false;
    server_.link().line().yielding.store(0, std::memory_order_relaxed);
}

void Acceptor::on_waiting(int fd, short, void* self) { static_cast<Acceptor*>(self)->accept_some(fd, true); }

void Acceptor::on_pause_over(int, short, void* self) {
    auto& acceptor = *static_cast<Acceptor*>(self);
    acceptor.note_turns();
    const size_t before = acceptor.server_.connections().open();
    acceptor.end_pause(acceptor.pauses_ < kPausesMax);
    acceptor.server_.counters().add(IoCounter::accepts_late, acceptor.server_.connections().open() - before);
}

void Acceptor::on_wake() {
    if (!yielding_ || !is_lowest()) return;
    event_del(timer_);
    end_pause(true);
}

void Acceptor::end_pause(bool patient) {
    paused_ = yielding_ = false;
    RosterLine& line = server_.link().line();
    line.state.store(static_cast<uint32_t>(IoConnState::serving), std::memory_order_relaxed);
    line.yielding.store(0, std::memory_order_relaxed);
    for (event* listener : listeners_) {
        event_add(listener, nullptr);
        accept_some(event_get_fd(listener), patient);
        if (paused_) return;
    }
}

/// A1. False: it has fewest after all.
bool Acceptor::yield() {
    RosterLine& line = server_.link().line();
    line.yielding.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    wake_yielding_peers();
    yielding_ = !is_lowest();
    line.yielding.store(yielding_, std::memory_order_relaxed);
    if (!yielding_) return false;
    server_.counters().add(IoCounter::accepts_deferred);
    ++pauses_;
    pause(kPauseMs);
    return true;
}

void Acceptor::wake_yielding_peers() {
    const Roster& roster = server_.link().roster();
    const size_t own = server_.connections().open();
    for (unsigned i = 0; i < kMaxIoConns; ++i) {
        const RosterLine& line = roster.lines[i];
        if (&line == &server_.link().line() || line.yielding.load(std::memory_order_relaxed) == 0) continue;
        if (line.connections.load(std::memory_order_relaxed) < own) wake_peer(i);
    }
}

void Acceptor::wake_peer(unsigned index) {
    try {
        const uint64_t generation = server_.link().roster().lines[index].generation.load(std::memory_order_acquire);
        if (!peers_[index].open() || peer_generations_[index] != generation) {
            peers_[index] = Fifo(paths::io_conn_fifo(server_.daemon().dir(), index));
            peer_generations_[index] = generation;
        }
        peers_[index].wake();
    } catch (const Error&) {
        // It has gone; if not, its pause ends by itself.
    }
}

void Acceptor::pause(int milliseconds) {
    paused_ = true;
    for (event* listener : listeners_) event_del(listener);
    const timeval time{milliseconds / 1000, milliseconds % 1000 * 1000};
    event_add(timer_, &time);
}

/// Notes which peers have turned since the last pause.
void Acceptor::note_turns() {
    const Roster& roster = server_.link().roster();
    for (unsigned i = 0; i < kMaxIoConns; ++i) {
        const uint64_t turns = roster.lines[i].turns.load(std::memory_order_relaxed);
        pauses_without_turn_[i] = turns == turns_seen_[i] ? pauses_without_turn_[i] + 1 : 0;
        turns_seen_[i] = turns;
    }
}

bool Acceptor::frozen(unsigned index, const RosterLine& line) const {
    return pauses_without_turn_[index] * kPauseMs >= kFrozenMs &&
           line.turns.load(std::memory_order_relaxed) == turns_seen_[index];
}

bool Acceptor::is_lowest() {
    const size_t own = server_.connections().open();
    const Roster& roster = server_.link().roster();
    for (unsigned i = 0; i < kMaxIoConns; ++i) {
        const RosterLine& line = roster.lines[i];
        if (line.state.load(std::memory_order_relaxed) != static_cast<uint32_t>(IoConnState::serving)) continue;
        const size_t other = line.connections.load(std::memory_order_relaxed);
        if (other + other / kToleratedShare < own && !frozen(i, line)) return false;
    }
    return true;
}

void Acceptor::accept_some(int socket, bool patient) {
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
        if (patient && !is_lowest() && yield()) return;
        patient = true;  // impatience is good for one connection
        if (!accept_one(socket)) return;
        pauses_ = 0;
    }
}

bool Acceptor::accept_one(int socket) {
    const int fd = accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        server_.add_connection(fd);
        return true;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) pauses_ = 0;  // somebody else has taken it
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        server_.counters().add(IoCounter::connections_rejected);
        log::warning("cannot accept a connection: {}; raise the limit of open files or lower maxclients", errno_text(errno));
        server_.link().line().state.store(static_cast<uint32_t>(IoConnState::full), std::memory_order_relaxed);
        pause(kDescriptorPauseMs);
        return false;
    }
    return errno == ECONNABORTED || errno == EINTR;
}

}  // namespace millrace::io_conn
