// The way to md and back: this io_conn's channel, its line in the roster, sleeping and waking. Runs in io_conn.
//
// Requests are committed one by one and published once a turn; replies are taken in bounded batches. When md's epoch
// changes, another md has taken over. It has published all replies of its predecessor before, and goes on with the first
// request that the predecessor had not executed: nobody has to do anything, but for large requests (server_input.cc).
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

#include "common/channel.h"
#include "common/daemon.h"
#include "common/log_words.h"
#include "common/message.h"
#include "common/repl_words.h"
#include "common/roster.h"
#include "common/wakeup.h"
#include "io_conn/direct_reader.h"
#include "io_conn/reply_gate.h"
#include "io_conn/store_view.h"

namespace millrace::io_conn {

class MdLink {
  public:
    /// Maps md's segments, makes the channel and announces it. Throws Error.
    explicit MdLink(const Daemon& daemon);

    /// Puts a request into the ring; false while it is full. REQUIRES: it fits (max_request_bytes()).
    bool send_request(ConnectionId id, const RequestHeader& header, std::span<const std::string_view> arguments,
                      uint64_t bytes);
    /// Puts the next fragment of an encoded request into the ring: the bytes taken, 0 while it is full.
    size_t send_fragment(ConnectionId id, std::string_view request, size_t offset);
    bool send_forget(ConnectionId id) { return push_message(requests_, frame_kind(MessageKind::forget), id, {}); }
    /// The reply record has been read.
    bool send_release(uint64_t record) {
        return push_message(requests_, frame_kind(MessageKind::release), {}, std::as_bytes(std::span(&record, 1)));
    }
    /// Where the next message goes in the request ring.
    uint64_t position() const { return requests_.position(); }
    /// Whether md has executed all that was put into the ring before this position.
    bool executed_up_to(uint64_t position) const { return requests_.depth() <= requests_.position() - position; }
    /// From where on the present md takes messages: those before were taken by a predecessor.
    uint64_t taken_over_at() const { return channel_.requests().control->taken_over_at.load(std::memory_order_acquire); }
    uint32_t max_request_bytes() const { return max_message(requests_); }

    /// Whether replies wait until the disk has what they tell of (reply_gate.h).
    void hold_replies_back(bool wanted) { waits_for_disk_ = wanted; }
    /// Looks how far the disk is: which replies next_reply() may give. Once a batch.
    void look_at_disk();
    /// Whether there are replies that wait for the disk, as of that look.
    bool holds_replies() const { return gated_ && gate_.holds(); }
    /// The next message of md; `empty` if there is none that may be shown, `corrupt` if the ring is broken.
    RingRead next_reply(Frame& frame) { return replies_.next(frame); }
    /// A numbered reply (message.h): whether it may be given now, or becomes an error.
    enum class Standing { shown, voided, refused, forgotten, not_yet };
    Standing standing_of(uint64_t number) const;
    /// There is work once a reply with this number has another standing; 0: none waits.
    void wait_for(uint64_t number) { waits_for_ = number; }
    /// Replies are left in the ring for now.
    void take_no_more(bool none) { takes_none_ = none; }
    /// Whether md has published replies that have not been taken, although perhaps because they must not be.
    bool has_untaken_replies() const { return replies_.depth() != 0; }
    /// Publishes requests and freed replies, and wakes md if need be. True when a wake-up was written.
    bool publish();

    /// Asks md for a wake-up when the request ring has room again.
    void want_space(bool wanted) { requests_.want_space(wanted); }
    bool wants_space() const { return requests_.wants_space(); }
    bool space_has_come() { return requests_.wants_space() && requests_.has_room(frame_bytes(requests_.max_body())); }

    void begin_park() { parker_.begin_park(); }
    void end_park() { parker_.end_park(); }
    /// Whether there is something to do (for the look before parking).
    bool has_work() { return may_take_replies() || requests_.unpublished() || md_changed() || space_has_come(); }

    /// Another md than the one known has taken over.
    bool md_changed() const { return control_->md_epoch.load(std::memory_order_acquire) != epoch_; }
    /// Gives the epoch known before; 0: no md had served yet. Throws Error if the store is another than before: what clients wait for is lost then.
    uint64_t accept_md_change();
    /// The md that waits for its turn, which may have died since; 0: none.
    uint32_t standby_pid() const { return control_->standby_pid.load(std::memory_order_relaxed); }
    const StoreView& store() const { return store_; }
    DirectReader direct_reader() { return {store_.base(), line_->reading, MarkTable(reinterpret_cast<std::byte*>(&marks_segment_.header()))}; }

    /// Asks md_log for a snapshot that begins from now on; gives a ticket for outcome_of_save().
    uint64_t want_save();
    SaveOutcome outcome_of_save(uint64_t ticket) const;
    /// Whether a snapshot is being written, or one has been asked for.
    bool is_saving() const;
    /// What md_log says of the disk.
    const LogWords& log_words() const { return *log_words_; }
    /// What md_repl says of replication.
    const ReplWords& repl_words() const { return *repl_words_; }
    /// Takes it over to connect to md_repl's door. False: another io_conn has.
    bool claim_door(uint32_t taken, uint32_t wanted) { return repl_words_->door_taken.compare_exchange_strong(taken, wanted, std::memory_order_acq_rel); }

    /// Says that a failover begins, before md_repl knows. False: one is under way.
    bool claim_failover() {
        auto none = static_cast<uint32_t>(FailoverState::none);
        return repl_words_->failover_state.compare_exchange_strong(none, static_cast<uint32_t>(FailoverState::waiting), std::memory_order_acq_rel);
    }
    void give_failover_up() { repl_words_->failover_state.store(static_cast<uint32_t>(FailoverState::none), std::memory_order_release); }

    Fifo& fifo() { return fifo_; }
    RosterLine& line() { return *line_; }
    Roster& roster() { return *roster_; }
    void announce(IoConnState state);

  private:
    static constexpr unsigned kChannelAttempts = 50;
    static constexpr unsigned kChannelPauseUs = 10'000;

    void make_channel(const Daemon& daemon);
    bool may_take_replies() {
        look_at_disk();
        if (waits_for_ != 0 && standing_of(waits_for_) != Standing::not_yet) return true;
        return !takes_none_ && replies_.has_more();
    }

    Segment control_segment_, roster_segment_, marks_segment_, log_words_segment_, repl_words_segment_;
    const Control* control_ = nullptr;
    Roster* roster_ = nullptr;
    RosterLine* line_ = nullptr;
    const LogWords* log_words_ = nullptr;
    ReplWords* repl_words_ = nullptr;
    Channel channel_;
    RingProducer requests_;
    RingConsumer replies_;
    Fifo fifo_;
    Bell bell_, log_bell_;
    unsigned index_ = 0;
    Parker parker_;
    ReplyGate gate_;
    bool waits_for_disk_ = false;
    bool gated_ = false;  ///< the gate says what may be read
    uint64_t epoch_ = 0;
    uint64_t waits_for_ = 0;
    bool takes_none_ = false;
    StoreView store_;
};

}  // namespace millrace::io_conn
