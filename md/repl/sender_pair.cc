// What a primary of a strict pair sends its secondary. Part of Sender (sender.h); the rules are those of tests/model/README.md. Runs in md_repl.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "common/log.h"
#include "md/repl/sender.h"

namespace millrace::md_repl {

/// False: the link is at its end.
bool Sender::hear_pair(const Frame& frame) {
    if (frame.head.kind == FrameKind::hello) {
        if (state_ != ReplicaState::registered || phase_ != PairPhase::none) return end("it says what it should not");
        phase_ = PairPhase::asking;
        pair_message_ = "HELLO " + std::string(frame.body);
        return true;
    }
    if (phase_ != PairPhase::waiting) return end("it says what it should not");
    std::istringstream words{std::string(frame.body)};
    uint64_t counts = 0, run = 0, checksum = 0;
    if (!(words >> counts >> run >> checksum)) return end("it does not say what it has");
    pair_message_ = fmt::format("SYNCED {} {} {} {}", counts, run, frame.head.number, checksum);
    return true;
}

std::optional<std::string> Sender::take_pair_message() {
    if (pair_message_.empty()) return std::nullopt;
    return std::exchange(pair_message_, std::string());
}

bool Sender::begin_pair(std::string_view answer, const Standing& standing) {
    std::istringstream words{std::string(answer)};
    std::string what;
    uint64_t from = 0, cut = 0;
    words >> what;
    pair_epoch_ = standing.pair->epoch;
    phase_ = PairPhase::sending;
    if (what == "PARTIAL" && words >> from >> cut) {
        cursor_ = LogCursor::behind_stream(standing.folder, from, standing.following);
        if (cursor_) {
            partial_ = true;
            acknowledged_ = from;
            state_ = ReplicaState::online;
            append_frame(socket_.out(), nonce_, FrameKind::partial, fmt::format("strict {} {}", text_of(pair_epoch_), cut), from);
            return true;
        }
    } else if (what != "FULL") {
        return end("md says " + what);
    }
    state_ = ReplicaState::saving;
    return true;
}

void Sender::look_at_pair(const Standing& standing, bool log_is_whole) {
    if (!standing.pair || phase_ == PairPhase::none || phase_ == PairPhase::asking) return;
    const PairView& pair = *standing.pair;
    if (pair.link != link_ || pair.epoch != pair_epoch_) return;
    goal_ = pair.number;
    log_is_whole_ = log_is_whole;
    if (phase_ != PairPhase::in_sync || pair.standing.state != store::PairState::in_sync || pair.mark <= marked_) return;
    marked_ = pair.mark;
    append_frame(socket_.out(), nonce_, FrameKind::mark, text_of(pair_epoch_), marked_);
}

/// Numbers of what has no record are not in the stream.
void Sender::send_reached() {
    append_frame(socket_.out(), nonce_, FrameKind::reached, {}, goal_);
    phase_ = PairPhase::waiting;
}

void Sender::begin_marks() {
    phase_ = PairPhase::in_sync;
    marked_ = goal_;
    append_frame(socket_.out(), nonce_, FrameKind::mark, text_of(pair_epoch_), goal_);
}

}  // namespace millrace::md_repl
