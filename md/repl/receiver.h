// This server's own following: the connection to its master, what comes over it, and how md hears of it. Runs in md_repl.
//
//   connect ──► connecting ──registered──► waiting ──partial──────────────────────────► following
//      ▲                                      └────full──► receiving ──► loading ──────────┘
//      └──────── any fault, after a pause; or another master
//
// A master that does not know MS_REGISTER_SLAVE is a redis-server; what is said to it instead is in receiver_redis.cc. The states are the same, and so is
// the rest: one connection, md by way_in, a full sync that lies in data/sync before anything is let go of.
//
// Order of a full sync: the snapshot goes to data/sync, then the records behind it, until the data is that of one moment and as far as the master was when
// the last byte of the snapshot was sent. All of it is made durable, `complete` says so (common/disk/history_file.h), and md lets go of its own data and
// loads this. Until then the server has what it had before.
// Invariants:
//   V1  What md is given goes on exactly where md is: MS_APPLY names the stream number before, and md refuses any other. After whatever fault the link is
//       begun anew, at the stream number that md has.
//   V2  At most kBatchesMax batches are unanswered, and nothing more is read meanwhile. An acknowledgement says what md has committed.
//   V3  Of the data in data/sync nothing counts before all of it is durable.
//   V4  The data of a master that has lost what this server has from it is not taken over, unless somebody has just named it (REPLICAOF), or the option says so: one that comes back without its last
//       records, or without any, would take them from the only server that has them.
//   V5  A redis-server is told that this server has what md has committed, and bytes behind that which change nothing. What it says is given to md in
//       pieces that md commits together with where they end (redis_batch.h), each behind the one before: so nothing is done twice or left out, whoever dies.
//   V6  What of a redis-server's data or commands cannot be done here is said, and waited for with the data as it was: nothing is passed over.
//   V7  Data that is not the master's, or not what was written, is not gone on with: a full sync follows (R5, R6 of common/repl_words.h).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/disk/history_file.h"
#include "common/disk/log_writer.h"
#include "common/repl_words.h"
#include "md/repl/frames.h"
#include "md/repl/redis_batch.h"
#include "md/repl/redis_snapshot.h"
#include "md/repl/redis_stream.h"
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
        unsigned database = 0;    ///< stream database
        uint64_t keys = 0;
        uint64_t generation = 0;  ///< of the store
        bool loaded = false;      ///< md serves, and is not loading
    };
    struct Settings {
        std::string master;  ///< "host port"
        std::string password;
        uint16_t port = 0;   ///< where this server serves
        int64_t priority = 0;
        bool refuses_older = true;
        bool always_fully = false;
        uint64_t timeout_ms = 0;
        std::string offer;   ///< what this server hands over when it registers (failover.h); empty: nothing
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
    bool wants_way_in() const { return !settings_.master.empty() || promoting_ != Promoting::no; }
    /// Has md follow nobody. Until that is so nothing else is done.
    void promote();
    bool is_promoting() const { return promoting_ != Promoting::no; }
    LinkState state() const { return state_; }
    bool follows_redis() const { return stage_ == Stage::redis; }
    uint64_t records_applied() const { return records_applied_; }

  private:
    static constexpr size_t kInMax = 2 * kFrameBodyMax;
    static constexpr size_t kBatchesMax = 4;
    static constexpr size_t kBatchBytes = 512 * 1024;
    static constexpr uint64_t kPauseMs = 1000;
    static constexpr uint64_t kOfferPauseMs = 50;  ///< between tries when this server has something to hand over: nobody takes writes meanwhile
    static constexpr uint64_t kAcknowledgeMs = 1000;
    static constexpr std::string_view kOwnWay = "this server's data has gone its own way meanwhile";

    // of a redis-server
    static constexpr size_t kPiecesMax = 64;              ///< that are unanswered
    static constexpr size_t kUnsentMax = 4 * 1024 * 1024;  ///< of what is on its way to md
    static constexpr size_t kTurnBytes = 1024 * 1024;     ///< of its stream in a turn
    static constexpr uint64_t kSliceUs = 3000;            ///< of a conversion in a turn
    static constexpr uint64_t kRefusedPauseMs = 10'000, kRefusedPauseMaxMs = 300'000;
    static constexpr size_t kLineMax = 4096;

    enum class Stage { dialing, password, registering, framed, redis };
    /// What a redis-server was asked last.
    enum class Asked { ping, port, capabilities, psync, nothing, nothing_yet };
    /// What md was asked to do, in the order of its answers.
    enum class Call { batch, history, connected, partial, loaded, reached, mark };
    struct Batch {
        uint64_t to = 0;
        uint64_t records = 0;
        std::vector<uint64_t> offsets;  ///< where each command of a redis-server's began
        Call what = Call::batch;
    };

    void fail(std::string what, uint64_t pause_ms = kPauseMs);
    void refuse(std::string what);
    void enter(LinkState state);
    void dial(uint64_t now_ms);
    bool talk(const Own& own, uint64_t now_ms);
    void say_hello();
    void ask_to_follow();
    bool hear_line();
    bool take_frame(const Frame& frame, const Own& own);
    // --- the strict pair: receiver_pair.cc ---
    void greet_pair();
    void ask_md_of_pair(Call what, std::string_view message, std::string_view numbers);
    bool begin_pair_partial(const Frame& frame);
    bool end_pair_loading();
    bool take_pair_frame(const Frame& frame);
    bool hear_pair_answer(Call what, std::string_view status);
    void go_on_with_pair();
    uint64_t pair_link() const { return pair_heard_.link; }
    bool begin_partial(const Frame& frame, const Own& own);
    bool begin_full(const Frame& frame, const Own& own);
    std::string loss(uint64_t stream, const Own& own) const;
    void drop_link();
    bool ask_for_promotion();
    bool take_frames(const Own& own);
    void rename_history(const std::string& history, const std::string& second, uint64_t second_end);
    bool take_snapshot(const Frame& frame);
    bool take_records(const Frame& frame);
    bool take_record(const RecordHead& head, std::string_view effects);
    bool has_fresh_way_in();
    bool end_loading(const Own& own);
    bool receive_record(const RecordHead& head, std::string_view effects);
    bool finish_receiving();
    bool apply_record(const RecordHead& head, std::string_view effects);
    void send_batch();
    bool hear_md();
    void acknowledge(uint64_t now_ms, bool at_once);
    bool is_damaged() const;
    /// Whether what this server has is not to be gone on with.
    bool wants_everything() const { return is_different_ || is_damaged() || settings_.always_fully; }
    void say_damage(std::string_view what);

    void ask_redis(Asked what, const Own& own);
    bool talk_to_redis(const Own& own, uint64_t now_ms);
    bool hear_redis(const Own& own);
    bool hear_psync(const std::string& line, const Own& own);
    bool take_redis_snapshot();
    bool convert_redis_snapshot(const Own& own, uint64_t now_ms);
    void begin_commands(RedisBatch::Place place);
    bool take_commands(uint64_t now_ms);
    void send_commands(uint64_t now_ms);
    void fail_command(const std::string& error);
    void acknowledge_to_redis(uint64_t now_ms);
    bool keeps_up() const;

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
    enum class Promoting { no, wanted, asked } promoting_ = Promoting::no;
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
    bool way_in_renewed_ = false;  ///< since the data was let go of

    // following
    uint64_t position_ = 0;      ///< stream number of what md was given
    uint64_t applied_ = 0;       ///< of what it has committed
    uint64_t acknowledged_ = 0, acknowledged_ms_ = 0;
    uint64_t verified_ = 0, checked_ = 0;  ///< as acknowledged
    bool is_different_ = false;            ///< V7: md has found its data to be another than the master's
    std::string batch_;
    uint64_t batch_from_ = 0, batch_to_ = 0, batch_records_ = 0;
    std::deque<Batch> under_way_;
    std::string long_record_;
    disk::History name_;         ///< that MS_HISTORY gives
    std::string called_, called_before_;  ///< history that md's data has while the link goes on, and until MS_HISTORY is answered

    // a redis-server
    Asked asked_ = Asked::nothing;
    std::unique_ptr<RedisSnapshot> incoming_;
    bool converting_ = false;
    RedisStream stream_;
    RedisBatch commands_;
    RedisBatch::Place asked_for_;  ///< behind this place, by PSYNC
    std::string halt_;           ///< why nothing more is taken, once md has all before
    uint64_t given_ms_ = 0, refused_pause_ms_ = kRefusedPauseMs;
    uint64_t wants_to_hear_ = 0;  ///< the master has asked at this offset how far md is; 0: it has not
    uint64_t records_applied_ = 0;

    // the strict pair
    std::optional<PairView> pair_;
    PairHeard pair_heard_{};
    store::PairEpoch pair_epoch_;   ///< of the primary, once it has said so
    bool pair_open_ = false;        ///< the copy that comes has open entries
    bool greeting_ = false;         ///< md has been told of the link, and the primary is to be, once that has been seen
    bool reached_ = false;          ///< md has all, and the primary is to be told
    bool marked_ = false;           ///< md has heard of the sync point
    uint64_t reached_number_ = 0;
    uint64_t reached_checksum_ = 0; ///< of the data there; 0: none is kept
};

}  // namespace millrace::md_repl
