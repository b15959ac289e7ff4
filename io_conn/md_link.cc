// See md_link.h. Runs in io_conn.
#include "io_conn/md_link.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "common/paths.h"

namespace millrace::io_conn {

MdLink::MdLink(const Daemon& daemon) {
    const DaemonArguments& arguments = daemon.arguments();
    control_segment_ = Segment::attach({paths::control(daemon.dir()), kControlLayout, arguments.instance}, Access::read_only);
    roster_segment_ = Segment::attach({paths::roster(daemon.dir()), kRosterLayout, arguments.instance}, Access::read_write);
    control_ = control_segment_.payload<Control>();
    roster_ = roster_segment_.payload<Roster>();
    log_words_segment_ = Segment::attach({paths::log_words(daemon.dir()), kLogWordsLayout, arguments.instance}, Access::read_only);
    log_words_ = log_words_segment_.payload<LogWords>();
    repl_words_segment_ = Segment::attach({paths::repl_words(daemon.dir()), kReplWordsLayout, arguments.instance}, Access::read_write);
    repl_words_ = repl_words_segment_.payload<ReplWords>();
    line_ = &roster_->lines[arguments.index];
    index_ = arguments.index;
    bell_ = Bell(control_->md_park, Fifo(paths::md_fifo(daemon.dir())));
    log_bell_ = Bell(log_words_->park, Fifo(paths::md_log_fifo(daemon.dir())));
    make_channel(daemon);
    requests_ = RingProducer(channel_.requests(), RingWriting::staged);
    replies_ = RingConsumer(channel_.replies());
    fifo_ = Fifo(paths::io_conn_fifo(daemon.dir(), arguments.index));
    parker_ = Parker(line_->park);
    epoch_ = control_->md_epoch.load(std::memory_order_acquire);
    marks_segment_ = Segment::attach({paths::marks(daemon.dir()), kMarksLayout, arguments.instance}, Access::read_write);
    store_ = StoreView(paths::store(daemon.dir()), arguments.instance);
    line_->connections.store(0, std::memory_order_relaxed);
    line_->yielding.store(0, std::memory_order_relaxed);
    line_->reading.store(0, std::memory_order_relaxed);  // what a killed predecessor had published (T9)
    line_->pause_followed.store(0, std::memory_order_relaxed);
    line_->begin_life(arguments.generation);
    line_->pid.store(static_cast<uint32_t>(getpid()), std::memory_order_relaxed);
    line_->state.store(static_cast<uint32_t>(IoConnState::serving), std::memory_order_relaxed);
    line_->generation.store(arguments.generation, std::memory_order_release);
    announce(IoConnState::serving);
}

/// md holds the rings of a dead predecessor until it hears that they are nobody's, and when shared memory is full theirs is
/// the memory for the new ones.
void MdLink::make_channel(const Daemon& daemon) {
    const DaemonArguments& arguments = daemon.arguments();
    line_->generation.store(0, std::memory_order_release);
    roster_->changes.fetch_add(1, std::memory_order_acq_rel);
    bell_.ring_always();
    for (unsigned attempt = 1;; ++attempt) {
        try {
            channel_ = Channel::create(paths::rings(daemon.dir(), arguments.index), arguments.instance, arguments.generation,
                                       static_cast<uint64_t>(daemon.options().number(OptionId::ring_size)));
            return;
        } catch (const Error&) {
            if (attempt == kChannelAttempts) throw;
            usleep(kChannelPauseUs);
        }
    }
}

void MdLink::announce(IoConnState state) {
    line_->state.store(static_cast<uint32_t>(state), std::memory_order_release);
    roster_->changes.fetch_add(1, std::memory_order_acq_rel);
    bell_.ring_always();
}

bool MdLink::send_request(ConnectionId id, const RequestHeader& header, std::span<const std::string_view> arguments,
                          uint64_t bytes) {
    return put_message(requests_, frame_kind(MessageKind::request), id, static_cast<uint32_t>(bytes),
                       [&](std::byte* room) { write_request(room, header, arguments); });
}

size_t MdLink::send_fragment(ConnectionId id, std::string_view request, size_t offset) {
    const FragmentHeader header{request.size(), offset};
    const std::string_view piece = request.substr(offset, max_message(requests_) - sizeof header);
    const auto bytes = static_cast<uint32_t>(sizeof header + piece.size());
    const bool taken = put_message(requests_, frame_kind(MessageKind::request_fragment), id, bytes, [&](std::byte* room) {
        std::memcpy(room, &header, sizeof header);
        std::memcpy(room + sizeof header, piece.data(), piece.size());
    });
    return taken ? piece.size() : 0;
}

void MdLink::look_at_disk() {
    const uint64_t durable = waits_for_disk_ ? log_words_->durable_position.load(std::memory_order_relaxed) : kAllDurable;
    if (durable == kAllDurable) [[likely]] {
        if (gated_) replies_.hold_from(RingConsumer::kNothingHeld);
        gated_ = false;
        return;
    }
    if (!gated_) gate_.begin(replies_.known_tail());
    gated_ = true;
    const uint64_t tail = replies_.published_tail();  // before the position that stands beside it (G1)
    gate_.note(tail, channel_.control().replies_oplog.load(std::memory_order_relaxed));
    replies_.hold_from(gate_.open_up_to(durable));
}

/// W3 and W4 of common/pair_layout.h. What was shown is looked at first: a range that is voided was stored before it.
MdLink::Standing MdLink::standing_of(uint64_t number) const {
    if (number == 0) return Standing::shown;
    if ((number & store::kWaitsForFile) != 0) {
        const uint64_t file = store_.load(store::kPairAt + offsetof(store::PairWords, file_commit));
        return file == 0 || (number & ~store::kWaitsForFile) < file ? Standing::shown : Standing::not_yet;
    }
    const uint64_t shown = store_.load(store::kShownAt);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (number > shown) return number <= store_.load(store::kRefusedAt) ? Standing::refused : Standing::not_yet;
    const auto load = [this](size_t field) { return store_.load(store::kPairAt + field); };
    for (;;) {
        const uint64_t count = load(offsetof(store::PairWords, voided_count));
        std::atomic_thread_fence(std::memory_order_acquire);
        bool voided = false;
        uint64_t oldest = ~uint64_t{0};
        for (uint64_t i = 0; i < std::min<uint64_t>(count, store::kVoidedRanges); ++i) {
            const size_t at = offsetof(store::PairWords, voided) + i * sizeof(store::VoidedRange);
            const uint64_t from = load(at), to = load(at + sizeof from);
            voided |= number > from && number <= to;
            oldest = std::min(oldest, from);
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        if (load(offsetof(store::PairWords, voided_count)) != count) continue;
        if (voided) return Standing::voided;
        return count > store::kVoidedRanges && number <= oldest ? Standing::forgotten : Standing::shown;
    }
}

/// The line's word goes on where a predecessor has left it, so no old outcome is taken for a new one.
uint64_t MdLink::want_save() {
    const uint64_t ticket = line_->save_wanted.load(std::memory_order_relaxed) + 1;
    line_->save_wanted.store(ticket, std::memory_order_release);
    log_bell_.ring();
    return ticket;
}

/// Who has been told that a snapshot begins, and looks whether it is done, must not be told so before it has begun.
bool MdLink::is_saving() const {
    if (log_words_->saving.load(std::memory_order_acquire) != 0) return true;
    for (unsigned index = 0; index < kMaxIoConns; ++index) {
        const uint64_t wanted = roster_->lines[index].save_wanted.load(std::memory_order_acquire);
        if (wanted > log_words_->save_seen[index].load(std::memory_order_acquire) && wanted > log_words_->save_failed[index].load(std::memory_order_acquire)) return true;
    }
    return false;
}

SaveOutcome MdLink::outcome_of_save(uint64_t ticket) const {
    if (log_words_->save_seen[index_].load(std::memory_order_acquire) >= ticket) return SaveOutcome::good;
    return log_words_->save_failed[index_].load(std::memory_order_acquire) >= ticket ? SaveOutcome::failed : SaveOutcome::none;
}

uint64_t MdLink::accept_md_change() {
    const uint64_t before = std::exchange(epoch_, control_->md_epoch.load(std::memory_order_acquire));
    if (!store_.is_current() || !roster_segment_.is_current() || !marks_segment_.is_current())
        throw Error("md had to begin with another store or roster; this io_conn ends, with its connections, and is started anew");
    return before;
}

bool MdLink::publish() {
    const bool published = requests_.publish();
    const bool freed = replies_.publish();
    if (!published && !freed) return false;
    // md wants to hear of freed reply space only if it said so. The fence stands before that look as well (wakeup.h).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return (published || replies_.producer_wants_space()) && bell_.ring();
}

}  // namespace millrace::io_conn
