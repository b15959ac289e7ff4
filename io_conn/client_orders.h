// Orders of one io_conn to the others: connections that CLIENT KILL closes. No md is needed for it. Runs in io_conn.
//
// Each io_conn has a ring of orders in the segment that only it writes (common/client_rows.h); each other io_conn follows it with a cursor
// in the segment that only that one writes.
//   O1  An order is not overwritten before every io_conn that is there has carried it out.
//   O2  Issuing: the orders, `issued` (release), the roster's `orders` (acq_rel), wake-ups. Who is awake sees `orders` at its next turn; who is
//       about to park looks at it once more (wakeup.h, W1).
//   O3  Ids of clients are never used again: an order that is carried out twice, or by an io_conn that has not got the client, does nothing.
//       So a fresh io_conn begins with the oldest order that a ring still has.
//   O4  Nobody waits without end for an io_conn that is stopped: whoever waits has a time limit (Server::kPeerPatienceUs).
#pragma once

#include <array>
#include <functional>
#include <span>

#include "common/client_rows.h"
#include "common/daemon.h"

namespace millrace::io_conn {

class ClientOrders {
  public:
    using Wake = std::function<void(unsigned index)>;
    using Close = std::function<void(std::span<const uint64_t> clients)>;

    /// `wake` gets the index of an io_conn that has something to look at.
    ClientOrders(const Daemon& daemon, Roster& roster, ClientOrderWords& own, Wake wake);

    /// Whether somebody has issued orders since carry_out().
    bool any_new() const { return roster_.orders.load(std::memory_order_acquire) != seen_; }
    /// Calls `close` with the clients of new orders, which may be anybody's, and says that they are carried out.
    void carry_out(const Close& close);

    /// Issues orders for the first of these clients, as many as have room; gives their number.
    size_t issue(std::span<const uint64_t> clients);
    uint64_t issued() const { return own_.issued.load(std::memory_order_relaxed); }
    /// Whether every io_conn that is there has carried out this many of our orders.
    bool are_carried_out(uint64_t count);

  private:
    struct Peer {
        uint64_t generation = 0;
        Segment segment;
    };

    const ClientOrderWords* words_of(unsigned index);
    uint64_t carried_out_by_all();

    const DaemonArguments& arguments_;
    Roster& roster_;
    ClientOrderWords& own_;
    Wake wake_;
    uint64_t seen_ = 0;
    std::array<Peer, kMaxIoConns> peers_;
};

}  // namespace millrace::io_conn
