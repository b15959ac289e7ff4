// Accepting connections from sockets that all io_conn share. Runs in io_conn.
//
// The rule that keeps the processes even: an io_conn accepts while it has no more connections than the lowest of the others
// and a tenth of that (so that a storm of connections is not taken one a pause). If it has more, it leaves the connection to that one and looks again after a pause of kPauseMs; after
// kPausesMax of them with a connection still waiting it takes one all the same. A peer whose loop has not turned for
// kFrozenMs of such pauses is stopped or dead, and left out of the comparison until it turns again. The kernel wakes every
// io_conn for a waiting connection; the ones that leave it take the socket out of their event loop for the pause, so
// nobody spins.
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
    static constexpr int kPauseMs = 5;
    static constexpr int kPausesMax = 4;
    static constexpr unsigned kToleratedShare = 10;  ///< a tenth of the lowest count
    static constexpr int kFrozenMs = 100;
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
    bool frozen(unsigned index, const RosterLine& line) const;
    void note_turns();
    void pause(int milliseconds);

    Server& server_;
    event* timer_ = nullptr;
    std::vector<event*> listeners_;
    std::array<uint64_t, kMaxIoConns> turns_seen_{};
    std::array<int, kMaxIoConns> pauses_without_turn_{};
    int pauses_ = 0;  ///< in a row, with a connection left waiting
    bool paused_ = false;
};

}  // namespace millrace::io_conn
