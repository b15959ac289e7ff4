// This server's own following: the connection to its master, what comes over it, and how md hears of it. Runs in md_repl.
//
//   connect ──► connecting ──registered──► waiting ──partial──────────────────────────► following
//      ▲                                      └────full──► receiving ──► loading ──────────┘
//      └──────── any fault, after a pause; or another master
//
// Order of a full sync: the snapshot goes to data/sync, then the records behind it, until the data is that of one moment and as far as the master was when
// the last byte of the snapshot was sent. All of it is made durable, `complete` says so (common/disk/history_file.h), and md lets go of its own data and
// loads this. Until then the server has what it had before.
// Invariants:
//   V1  What md is given goes on exactly where md is: MS_APPLY names the stream number before, and md refuses any other. After whatever fault the link is
//       begun anew, at the stream number that md has.
//   V2  At most kBatchesMax batches are unanswered, and nothing more is read meanwhile. An acknowledgement says what md has committed.
//   V4  The data of a master that has lost what this server has from it is not taken over, unless somebody has just named it (REPLICAOF), or the option says so: one that comes back without its last
//       records, or without any, would take them from the only server that has them.
//   V3  Of the data in data/sync nothing counts before all of it is durable.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "common/disk/log_writer.h"
#include "common/repl_words.h"
#include "md/repl/frames.h"
#include "md/repl/pair_view.h"
#include "md/repl/stream_socket.h"
#include "md/repl/way_in.h"

namespace millrace::md_repl {

class Receiver {
  public:
    /// Where md is.
    struct Own {
        std::string history;
        uint64_t stream = 0;
        uint64_t generation = 0;  ///< of the store
        bool loaded = false;      ///< md serves, and is not loading
    };
    struct Settings {
        std::string master;  ///< "host port"
        std::string password;
        uint16_t port = 0;   ///< where this server serves
        int64_t priority = 0;
        bool refuses_older = true;
        uint64_t timeout_ms = 0;
    };

    Receiver(std::string folder, uint64_t instance, ReplWords& words, WayIn& way_in) : folder_(std::move(folder)), instance_(instance), words_(words), way_in_(way_in) {}

    /// Follows this master from now on; an empty one: nobody.
    void follow(const Settings& settings);
    /// One step of whatever is to be done. True when something was.
    bool turn(const Own& own, uint64_t now_ms);
    /// -1: none. `writes`: whether there is something to be sent.
    int descriptor() const { return socket_.descriptor(); }
    bool writes() const { return (state_ == LinkState::connecting && stage_ == Stage::dialing) || socket_.unsent() > 0; }
    /// Whether what comes is wanted now.
    bool reads() const;
    /// The record of a strict pair, as of this turn and on disk; none: this server is not half of one.
    void set_pair(const std::optional<PairView>& pair) { pair_ = pair; }
    /// What md is to be told of the primary.
    const PairHeard& heard() const { return pair_heard_; }
    bool wants_way_in() const { return !settings_.master.empty(); }
    LinkState state() const { return state_; }
    uint64_t records_applied() const { return records_applied_; }

  private:
    static constexpr size_t kInMax = 2 * kFrameBodyMax;
    static constexpr size_t kBatchesMax = 4;
    static constexpr size_t kBatchBytes = 512 * 1024;
    static constexpr uint64_t kPauseMs = 1000;
    static constexpr uint64_t kAcknowledgeMs = 1000;

    enum class Stage { dialing, password, registering, framed };
    /// What md was asked to do, in the order of its answers.
    enum class Asked { batch, history, connected, partial, loaded, reached, mark };
    struct Batch {
        uint64_t to = 0;
        uint64_t records = 0;
        Asked what = Asked::batch;
    };

    void fail(std::string what);
    void enter(LinkState state);
    void dial(uint64_t now_ms);
    bool talk(const Own& own, uint64_t now_ms);
    void say_hello();
    void ask_to_follow();
    bool hear_line();
    bool take_frame(const Frame& frame, const Own& own);
    // --- the strict pair: receiver_pair.cc ---
    void greet_pair();
    void ask_md_of_pair(Asked what, std::string_view message, std::string_view numbers);
    bool begin_pair_partial(const Frame& frame, const Own& own);
    bool has_fresh_way_in();
    bool end_pair_loading(const Own& own);
    bool take_pair_frame(const Frame& frame);
    bool hear_pair_answer(Asked what, std::string_view status);
    void go_on_with_pair();
    uint64_t pair_link() const { return pair_heard_.link; }
    bool begin_partial(const Frame& frame, const Own& own);
    bool begin_full(const Frame& frame, const Own& own);
    std::string loss(uint64_t stream, const Own& own) const;
    void drop_link();
    bool take_snapshot(const Frame& frame);
    bool take_records(const Frame& frame);
    bool take_record(const RecordHead& head, std::string_view effects);
    bool end_loading(const Own& own);
    bool receive_record(const RecordHead& head, std::string_view effects);
    bool finish_receiving();
    bool apply_record(const RecordHead& head, std::string_view effects);
    void send_batch();
    bool hear_md();
    void acknowledge(uint64_t now_ms, bool at_once);

    const std::string folder_;
    const uint64_t instance_;
    ReplWords& words_;
    WayIn& way_in_;
    Settings settings_;
    LinkState state_ = LinkState::none;
    Stage stage_ = Stage::dialing;
    StreamSocket socket_;
    uint32_t nonce_ = 0;
    uint64_t next_try_ms_ = 0, heard_ms_ = 0;
    std::string last_fault_;
    bool followed_ = false;  ///< this master, since it was named
    bool known_ = false;     ///< follow() was called
    bool told_ = false;      ///< somebody has named this master while the server ran, and wants its data

    // a full sync
    Descriptor snapshot_;
    std::string snapshot_path_;
    uint64_t snapshot_bytes_ = 0, snapshot_at_ = 0, start_ = 0, end_ = 0, last_ = 0, reloading_from_ = 0;
    std::string new_history_, new_second_;
    uint64_t new_second_end_ = 0;
    std::unique_ptr<disk::LogWriter> log_;

    // following
    uint64_t position_ = 0;      ///< stream number of what md was given
    uint64_t applied_ = 0;       ///< of what it has committed
    uint64_t acknowledged_ = 0, acknowledged_ms_ = 0;
    std::string batch_;
    uint64_t batch_from_ = 0, batch_to_ = 0, batch_records_ = 0;
    std::deque<Batch> under_way_;
    std::string long_record_;
    uint64_t records_applied_ = 0;

    // the strict pair
    std::optional<PairView> pair_;
    PairHeard pair_heard_{};
    store::PairEpoch pair_epoch_;   ///< of the primary, once it has said so
    bool pair_open_ = false;        ///< the copy that comes has open entries
    bool greeting_ = false;         ///< md has been told of the link, and the primary is to be, once that has been seen
    bool reached_ = false;          ///< md has all, and the primary is to be told
    bool way_in_renewed_ = false;   ///< since the data was let go of
    bool marked_ = false;           ///< md has heard of the sync point
    uint64_t reached_number_ = 0;
};

}  // namespace millrace::md_repl
