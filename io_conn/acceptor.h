// Accepting connections from sockets that all io_conn share. Runs in io_conn.
//
// The rule that keeps the processes even: an io_conn accepts while it has no more connections than the lowest of the others
// and a tenth of that. If it has more, it yields: it leaves the connection to those with fewer, takes the sockets out of its
// event loop (the kernel wakes every io_conn for a waiting connection, and nobody shall spin), says so in its roster line, and
// wakes those who have yielded to it and have fewer now. So a burst of connections goes round in as many wake-ups, not pauses.
// It looks again when it is woken, and after kPauseMs in any case; after kPausesMax of such pauses with a connection still
// waiting it takes one all the same. A peer whose loop has not turned for kFrozenMs of such pauses is stopped or dead, and
// left out of the comparison until it turns again.
//   A1  No connection waits for a pause while its io_conn is awake. Who yields stores `yielding`, then looks at the counts once
//       more; who accepts stores its count, and looks at `yielding` when it yields itself. With a fence between on both
//       sides one of the two sees the other (wakeup.h, W1).
#pragma once

#include <event2/event.h>

#include <array>
#include <cstdint>
#include <vector>

#include "common/roster.h"
#include "common/wakeup.h"

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
    /// The process was woken, perhaps because a peer has yielded.
    void on_wake();
    /// Wakes another io_conn, if it is there.
    void wake_peer(unsigned index);

  private:
    static void on_waiting(int fd, short, void* self);
    static void on_pause_over(int, short, void* self);

    void accept_some(int socket, bool patient);
    bool accept_one(int socket);
    bool is_lowest();
    bool frozen(unsigned index, const RosterLine& line) const;
    void note_turns();
    bool yield();
    void wake_yielding_peers();
    void pause(int milliseconds);
    void end_pause(bool patient);

    Server& server_;
    event* timer_ = nullptr;
    std::vector<event*> listeners_;
    std::array<uint64_t, kMaxIoConns> turns_seen_{};
    std::array<int, kMaxIoConns> pauses_without_turn_{};
    std::array<Fifo, kMaxIoConns> peers_;  ///< opened when first needed, and anew for another process in the same place
    std::array<uint64_t, kMaxIoConns> peer_generations_{};
    int pauses_ = 0;  ///< in a row, with a connection left waiting
    bool paused_ = false;
    bool yielding_ = false;
};

}  // namespace millrace::io_conn
