// Accepting connections from sockets that all io_conn share. Runs in io_conn.
//
// The rule that keeps the processes even: an io_conn accepts while none of the others has fewer connections. If it has
// more than the lowest, it leaves the connection to that one and looks again after kPatienceMs; if the connection still
// waits then, it takes one. A peer whose loop has not turned in that time although connections were waiting is stopped or
// dead and left out of the comparison until it turns again. The kernel wakes every io_conn for a waiting connection; the
// ones that leave it take the socket out of their event loop for the time of the pause, so nobody spins.
#pragma once

#include <event2/event.h>

#include <array>
#include <cstdint>
#include <vector>

#include "common/roster.h"

namespace millrace::io_conn {

class Server;

class Acceptor {
  public:
    static constexpr int kPatienceMs = 5;
    /// Pause after the process or the system has run out of descriptors, milliseconds.
    static constexpr int kDescriptorPauseMs = 100;
    /// Connections accepted in one turn at most, so that those already there go on being served.
    static constexpr int kAcceptsPerTurn = 32;

    Acceptor(Server& server, event_base* base, const std::vector<int>& sockets);
    ~Acceptor();
    Acceptor(const Acceptor&) = delete;

    /// Stops accepting for good (retiring, stopping).
    void close();
    bool open() const { return !listeners_.empty(); }

  private:
    static void on_waiting(int fd, short, void* self);
    static void on_pause_over(int, short, void* self);

    void accept_some(int socket, bool patient);
    bool accept_one(int socket);
    bool is_lowest();
    bool frozen(unsigned index, const RosterLine& line);
    void pause(int milliseconds);

    Server& server_;
    event* timer_ = nullptr;
    std::vector<event*> listeners_;
    std::array<uint64_t, kMaxIoConns> turns_at_pause_{};
    std::array<bool, kMaxIoConns> frozen_{};
    bool paused_ = false;
};

}  // namespace millrace::io_conn
