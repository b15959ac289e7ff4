// One follower of this server, seen from here: what it has, and what is sent to it. Runs in md_repl.
//
//   registered ──sync──► online                                   the log reaches back to what it has: partial sync
//              └───────► saving ──a snapshot is there──► sending ──all of it sent──► online      full sync
//
// Invariants:
//   S1  What waits to be sent is at most kUnsentMax and one record: a follower that is slow, or stopped, costs no more memory than that. All else
//       is in the snapshot's file and in the log's.
//   S2  Records go in the order of the log, each behind the one before (FrameHead::before). A log that has a hole ends the link: the follower comes back,
//       and gets a full sync.
//   S3  A follower that was not heard of for repl-timeout, or that has newer data than this server, or of another history, is not gone on with.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/repl_words.h"
#include "md/repl/frames.h"
#include "md/repl/log_cursor.h"
#include "md/repl/pair_view.h"
#include "md/repl/stream_socket.h"

namespace millrace::md_repl {

/// What this server is, as far as followers have to know it.
struct Standing {
    std::string folder;          ///< of the data
    std::string history, second;
    uint64_t second_end = 0;
    uint64_t stream = 0;         ///< stream number of the data
    bool following = false;
    std::optional<PairView> pair;  ///< of a server that is half of a strict pair
};

/// A snapshot that a full sync can begin with.
struct SnapshotToSend {
    std::string path;
    uint64_t start = 0, stream = 0, end = 0, bytes = 0;
};

class Sender {
  public:
    struct Peer {
        std::string address;
        uint16_t port = 0;
        uint64_t instance = 0;
    };

    Sender(uint64_t id, Descriptor fd, Peer peer);

    uint64_t id() const { return id_; }
    int descriptor() const { return socket_.descriptor(); }
    const Peer& peer() const { return peer_; }
    ReplicaState state() const { return state_; }
    std::string name() const;
    Replica row() const;

    /// Says who else follows. First of all.
    void welcome(const std::string& list);
    /// What it has said. False: the link is at its end, reason().
    bool hear(const Standing& standing, uint64_t now_ms);
    /// It waits for a snapshot: here it is.
    bool begin_full(const SnapshotToSend& snapshot, const Standing& standing);
    /// Why there is none.
    void refuse(std::string_view why);
    /// Sends as much as there is room and matter for. False as hear(). `moved`: something went.
    bool pump(bool& moved);
    void ping(uint64_t stream);

    // --- the secondary of a strict pair: sender_pair.cc ---
    /// What it has said that md has to answer: the words behind MS_PAIR, without the connection; taken once.
    std::optional<std::string> take_pair_message();
    /// md has answered its HELLO: PARTIAL, or FULL. False as hear().
    bool begin_pair(std::string_view answer, const Standing& standing);
    /// The sync point.
    void begin_marks();
    /// What may be sent now (P5): whether the log's files have all that md has done.
    void look_at_pair(const Standing& standing, bool log_is_whole);
    uint64_t link() const { return link_; }
    void set_link(uint64_t link) { link_ = link; }
    bool full_next_time() const { return full_next_time_; }
    void want_full() { full_next_time_ = true; }

    bool wants_snapshot() const { return state_ == ReplicaState::saving; }
    static constexpr uint64_t kKeepMs = 30 * 60 * 1000;  ///< after that the log is not kept for it any more, however long it loads
    uint64_t snapshot_ticket = 0;  ///< of the save that it waits for
    bool partial() const { return partial_; }
    bool has_unsent() const { return socket_.unsent() > 0; }
    uint64_t heard_ms() const { return heard_ms_; }
    uint64_t acknowledged() const { return acknowledged_; }
    /// Whether it has compared checksums since it has come (R5).
    bool has_checked() const { return checked_.checked >= online_from_ && online_from_ != 0; }
    /// The lowest number of a record that it will still need from the log; kKeepNothing: the log may go.
    uint64_t keep_from(uint64_t now_ms) const;
    uint64_t bytes_sent() const { return socket_.bytes_sent(); }
    uint64_t records_sent() const { return records_sent_; }
    const std::string& reason() const { return reason_; }

  private:
    static constexpr size_t kUnsentMax = 1024 * 1024;
    static constexpr size_t kBatchBytes = 256 * 1024;
    static constexpr unsigned kStepsMax = 8;  ///< before the others have their turn
    static constexpr size_t kHeardMax = 64 * 1024;

    /// Of a strict pair: records are not sent while it is waited for the sync point.
    enum class PairPhase { none, asking, sending, waiting, in_sync };
    bool end(std::string reason);
    void note_checked(std::string_view body);
    bool hear_pair(const Frame& frame);
    void send_reached();
    bool decide(std::string_view text, const Standing& standing);
    bool send_snapshot();
    bool send_records(bool& moved);
    void send_long(const LogCursor::Record& record, uint64_t before);

    const uint64_t id_;
    const Peer peer_;
    StreamSocket socket_;
    const uint32_t nonce_;
    ReplicaState state_ = ReplicaState::registered;
    uint64_t heard_ms_ = 0, full_since_ms_ = 0, acknowledged_ = 0, records_sent_ = 0;
    bool partial_ = false;
    Checked checked_{};
    uint64_t online_from_ = 0;  ///< stream number of this server when it got its first records
    Descriptor snapshot_;
    SnapshotToSend sending_;
    uint64_t snapshot_at_ = 0;
    std::unique_ptr<LogCursor> cursor_;
    LogCursor::Record record_;
    std::string batch_, reason_;
    PairPhase phase_ = PairPhase::none;
    std::string pair_message_;
    store::PairEpoch pair_epoch_;  ///< that the link is of
    uint64_t link_ = 0, goal_ = 0, marked_ = 0;
    bool log_is_whole_ = false, full_next_time_ = false;
};

}  // namespace millrace::md_repl
