// FAILOVER: this server hands its part over to one of its followers, so that no write that was answered is missing there. Runs in md_repl.
//
//   none ──asked──► waiting ──the follower has everything──► handing ──it is the master, and this server follows it──► none
//                      └──── aborted, or out of time ────► none     └──── out of time: this server is the master again ────► none
//
// Order of operations:
//   1. CLIENT PAUSE WRITE, which is answered when no io_conn lets a write pass any more. It is for kPauseMs and renewed: who dies here does not leave the
//      server paused.
//   2. A follower has acknowledged the stream number that the data has since.
//   3. This server follows it (REPLICAOF), and takes no write any more; the pause ends, and those who waited are told READONLY.
//   4. It registers there with that number and its history. A follower that is at this number, of this history, and follows somebody, takes that for its
//      promotion (REPLICAOF NO ONE), and has it follow.
// Invariants:
//   H1  No two servers take writes at a time: step 3 comes before step 4. But for the end of patience behind it, when the follower cannot be reached: this server
//       is the master again then, and whether the other one was promoted is not known. As with Redis.
//   H2  Without FORCE nothing is handed over that the follower does not have.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>

#include "common/repl_words.h"
#include "md/repl/receiver.h"
#include "md/repl/sender.h"
#include "md/repl/way_in.h"

namespace millrace::md_repl {

class Failover {
  public:
    using Senders = std::list<std::unique_ptr<Sender>>;

    Failover(ReplWords& words, WayIn& way_in, Receiver& receiver) : words_(words), way_in_(way_in), receiver_(receiver) { enter(FailoverState::none); }

    /// "abort", or "host port force timeout-ms": "-" is any follower, 0 is no limit. What a client has asked for; it has its answer.
    void ask(const std::string& line, uint64_t now_ms);
    /// One step. `standing`: as it was before this turn's answers of md.
    void turn(const Standing& standing, const Senders& senders, uint64_t patience_ms, uint64_t now_ms);
    bool wants_way_in() const { return state_ != FailoverState::none; }
    /// Whether answers over the way in are for this.
    bool uses_way_in() const { return state_ == FailoverState::waiting || answers_wanted_ > 0; }
    /// What registering says that this server hands over; empty: nothing.
    const std::string& offer() const { return offer_; }

  private:
    static constexpr uint64_t kPauseMs = 5000;
    static constexpr uint64_t kRenewMs = 1000;
    static constexpr uint64_t kClaimMs = 2000;

    void enter(FailoverState state);
    void end(const std::string& why);
    bool hear();
    void send(std::initializer_list<std::string_view> words);
    const Sender* choose(const Standing& standing, const Senders& senders, bool forced) const;
    void wait(const Standing& standing, const Senders& senders, uint64_t patience_ms, uint64_t now_ms);
    void hand_over(const Sender& sender, const Standing& standing, bool forced, uint64_t until_ms);

    ReplWords& words_;
    WayIn& way_in_;
    Receiver& receiver_;
    FailoverState state_ = FailoverState::none;
    std::string host_, target_;
    uint16_t port_ = 0;
    bool force_ = false, paused_ = false;
    uint64_t until_ms_ = 0;  ///< 0: no limit
    uint64_t next_pause_ms_ = 0, claimed_ms_ = 0;
    size_t answers_wanted_ = 0;
    std::string offer_;
};

}  // namespace millrace::md_repl
