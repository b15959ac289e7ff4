// md_repl's loop: takes connections of followers from the io_conn of its group, sends them what they lack, follows this server's own master, and says in the
// words how all of it goes (common/repl_words.h). Runs in md_repl, one thread.
//
// Invariants:
//   P1  Nothing here waits for one link: every socket is non-blocking, and each has a bounded turn.
//   P2  Whose data this is, and how far, is what the store says at the beginning of a turn. When its history changes, or md begins with another store, the
//       followers' links end: they come back, and are told what is so now.
//   P3  At most kReplicasMax followers, and kVisitorsMax connections at the door that have not said what they are for.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "common/counters.h"
#include "common/daemon.h"
#include "common/live_options.h"
#include "common/log_words.h"
#include "common/repl_words.h"
#include "common/resident_memory.h"
#include "common/roster.h"
#include "common/store_reader.h"
#include "common/wakeup.h"
#include "md/repl/failover.h"
#include "md/repl/receiver.h"
#include "md/repl/sender.h"
#include "md/repl/way_in.h"

namespace millrace::md_repl {

class Replicator {
  public:
    /// Maps what md has made. Throws Error.
    explicit Replicator(Daemon& daemon);
    ~Replicator();

    /// Serves until told to end.
    void run();

  private:
    static constexpr int kParkMs = 100;
    static constexpr uint64_t kPublishMs = 100;
    static constexpr uint64_t kDoorPatienceMs = 1000;
    static constexpr uint64_t kLogKeptMs = 3600 * 1000;  ///< as Redis keeps its backlog (repl-backlog-ttl)
    static constexpr size_t kVisitorsMax = 32;
    static constexpr size_t kLineMax = 512;

    /// A connection at the door that has not said yet what it is for.
    struct Visitor {
        Descriptor socket, passed;
        std::string line;
        uint64_t came_ms;
    };

    void wait_for_md();
    void map_store();
    void open_door();
    void turn();
    void look_at_md();
    void open_the_door();
    bool hear(Visitor& visitor);
    void admit(Visitor& visitor);
    void register_follower(const std::string& line, Descriptor fd);
    std::string take_offer(uint64_t stream, const std::string& history);
    std::string list_of_followers() const;
    bool serve_senders();
    bool feed(Sender& sender);
    bool choose_snapshot(SnapshotToSend& snapshot) const;
    void provide_snapshot(Sender& sender);
    // --- the strict pair: replicator_pair.cc ---
    struct PairAsked {
        uint64_t link;
        bool hello;
    };
    struct PairAnswered {
        PairAsked asked;
        std::string text;
    };
    bool file_pair();
    void tell_md(const PairHeard& heard);
    Sender* pair_sender();
    void ask_md(Sender& sender);
    void hear_md_of_pair();
    bool follow_answer(Sender& sender, const PairAnswered& answered);
    void follow_answers();
    bool log_is_whole() const;
    void serve_pair();
    void tell_confirmed();
    static constexpr uint64_t kFaultMs = 10'000;
    static constexpr size_t kHelloComplete = 6;  ///< word of MS_PAIR HELLO
    static constexpr uint64_t kPairPatienceMsMin = 3000;
    /// After so long without a word a link is dead.
    uint64_t link_patience_ms() const;

    void want_log();
    bool log_is_there() const;
    void count_acknowledged();
    void want_checks();
    void want_way_in();
    bool follow();
    void publish();
    void park();
    uint64_t root(size_t field) const { return store_->root(field); }
    std::string history(size_t field) const;

    Daemon& daemon_;
    const std::string folder_;
    Segment control_segment_, words_segment_, log_words_segment_, roster_segment_;
    const Control* control_ = nullptr;
    Roster* roster_ = nullptr;
    ReplWords* words_ = nullptr;
    const LogWords* log_words_ = nullptr;
    Counters<ReplCounter> counters_;
    ResidentMemory memory_;
    std::unique_ptr<StoreReader> store_;
    LiveValues live_;
    Fifo fifo_;
    Parker parker_;
    Bell md_bell_, log_bell_;
    Descriptor door_;
    std::list<Visitor> visitors_;
    std::list<std::unique_ptr<Sender>> senders_;
    WayIn way_in_;
    Receiver receiver_;
    Failover failover_;

    Standing standing_;
    bool loaded_ = false;
    static constexpr uint64_t kCheckAgainMs = 1000;
    uint64_t now_ms_ = 0, next_publish_ms_ = 0, next_check_ms_ = 0, next_ping_ms_ = 0, door_asked_ms_ = 0, next_id_ = 1;
    uint64_t bytes_sent_ = 0, records_sent_ = 0;  ///< over links that have ended
    uint64_t published_ms_ = 0, acknowledged_ = 0;  ///< sum over all followers, as published
    PairHeard heard_{};            ///< as md was told
    std::deque<PairAsked> pair_asked_;
    std::vector<PairAnswered> pair_answers_;
    uint64_t full_sync_of_ = 0;    ///< instance of a secondary whose data was not this server's; 0: none
    uint64_t pair_fault_ms_ = 0;
    uint64_t needed_log_ms_ = 0;  ///< when anybody followed last
};

}  // namespace millrace::md_repl
