// See sender.h. Runs in md_repl.
#include "md/repl/sender.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/file_io.h"
#include "common/log.h"
#include "common/random.h"

namespace millrace::md_repl {

namespace {

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

}  // namespace

Sender::Sender(uint64_t id, Descriptor fd, Peer peer) : id_(id), peer_(std::move(peer)), socket_(std::move(fd)), nonce_(random_number<uint32_t>()), heard_ms_(monotonic_us() / 1000) {}

std::string Sender::name() const { return fmt::format("{}:{}", peer_.address, peer_.port); }

bool Sender::end(std::string reason) {
    reason_ = std::move(reason);
    return false;
}

Replica Sender::row() const {
    Replica row{};
    row.id = id_;
    row.acknowledged = acknowledged_;
    row.acknowledged_ms = heard_ms_;
    row.to_send = state_ == ReplicaState::sending ? sending_.bytes - snapshot_at_ : 0;
    row.checked = checked_.checked;
    row.verified = checked_.verified;
    row.damaged = checked_.damaged;
    row.state = state_;
    row.port = peer_.port;
    peer_.address.copy(row.address, sizeof row.address - 1);
    return row;
}

void Sender::welcome(const std::string& list) {
    std::string body(reinterpret_cast<const char*>(&nonce_), sizeof nonce_);
    append_frame(socket_.out(), nonce_, FrameKind::registered, body + list);
}

void Sender::refuse(std::string_view why) { append_frame(socket_.out(), nonce_, FrameKind::refused, why); }

bool Sender::hear(const Standing& standing, uint64_t now_ms) {
    const bool open = socket_.read(kHeardMax);  // what has come with the end counts
    for (;;) {
        Frame frame;
        size_t taken = 0;
        switch (read_frame(socket_.in(), nonce_, frame, taken)) {
            case FrameOutcome::incomplete: return open || end("it has closed the connection");
            case FrameOutcome::bad: return end("what it sends does not check");
            case FrameOutcome::frame: break;
        }
        heard_ms_ = now_ms;
        if (frame.head.kind == FrameKind::acknowledged) {
            acknowledged_ = std::max(acknowledged_, frame.head.number);
            note_checked(frame.body);
            if (online_from_ == 0 && state_ == ReplicaState::online) online_from_ = standing.stream;
        } else if (frame.head.kind == FrameKind::hello || frame.head.kind == FrameKind::synced) {
            if (!hear_pair(frame)) return false;
        } else if (frame.head.kind != FrameKind::sync || state_ != ReplicaState::registered) return end("it says what it should not");
        else if (!decide(frame.body, standing)) return false;
        socket_.drop(taken);
    }
}

void Sender::note_checked(std::string_view body) {
    if (body.size() != sizeof checked_) return;
    const uint64_t damaged = checked_.damaged;
    std::memcpy(&checked_, body.data(), sizeof checked_);
    if (checked_.damaged > damaged) log::warning("{} says that its memory was damaged: its data is not what this server has sent; it syncs fully", name());
}

/// What it gets, by what it has.
bool Sender::decide(std::string_view text, const Standing& standing) {
    std::istringstream words{std::string(text)};
    std::string history;
    uint64_t stream = 0;
    if (!(words >> history >> stream)) return end("it does not say what it has");
    if (standing.pair) {
        refuse("this server is half of a strict pair, and has no other followers");
        socket_.flush();
        return end("it is not half of a strict pair");
    }
    const bool same = history == standing.history && stream <= standing.stream;
    const bool before = !standing.second.empty() && history == standing.second && stream <= std::min(standing.second_end, standing.stream);
    if (same || before) cursor_ = LogCursor::behind_stream(standing.folder, stream, standing.following);
    if (!cursor_) {
        state_ = ReplicaState::saving;
        return true;
    }
    partial_ = true;
    acknowledged_ = stream;
    state_ = ReplicaState::online;
    append_frame(socket_.out(), nonce_, FrameKind::partial, fmt::format("{} {} {}", standing.history, or_dash(standing.second), standing.second_end), stream);
    return true;
}

bool Sender::begin_full(const SnapshotToSend& snapshot, const Standing& standing) {
    snapshot_ = Descriptor(open(snapshot.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!snapshot_.open()) return end(fmt::format("{} cannot be opened: {}", snapshot.path, errno_text(errno)));
    sending_ = snapshot;
    full_since_ms_ = monotonic_us() / 1000;
    snapshot_at_ = 0;
    cursor_ = LogCursor::behind_number(standing.folder, snapshot.start, snapshot.stream, standing.following);
    state_ = ReplicaState::sending;
    const std::string pair = standing.pair ? fmt::format(" {} {:d}", text_of(pair_epoch_), standing.pair->open) : std::string();
    append_frame(socket_.out(), nonce_, FrameKind::full,
                 fmt::format("{} {} {} {} {} {} {}{}", snapshot.bytes, snapshot.start, snapshot.end, standing.history, or_dash(standing.second), standing.second_end, standing.stream, pair), snapshot.stream);
    return true;
}

bool Sender::send_snapshot() {
    batch_.resize(std::min<uint64_t>(kBatchBytes, sending_.bytes - snapshot_at_));
    const int64_t got = disk::read_at(snapshot_.get(), batch_.data(), batch_.size(), snapshot_at_);
    if (got != static_cast<int64_t>(batch_.size())) return end(fmt::format("{} cannot be read: {}", sending_.path, errno_text(errno)));
    append_frame(socket_.out(), nonce_, FrameKind::snapshot, batch_, snapshot_at_);
    snapshot_at_ += batch_.size();
    if (snapshot_at_ == sending_.bytes) {
        snapshot_ = Descriptor();
        state_ = ReplicaState::online;
    }
    return true;
}

/// A record as a sequence of frames.
void Sender::send_long(const LogCursor::Record& record, uint64_t before) {
    const RecordHead head{record.number, record.stream, record.effects.size()};
    std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
    bytes += record.effects;
    std::string_view left = bytes;
    for (; left.size() > kFrameBodyMax; left.remove_prefix(kFrameBodyMax)) append_frame(socket_.out(), nonce_, FrameKind::part, left.substr(0, kFrameBodyMax));
    append_frame(socket_.out(), nonce_, FrameKind::records, left, record.stream, before);
}

bool Sender::send_records(bool& moved) {
    batch_.clear();
    const uint64_t before = cursor_->stream();
    while (batch_.size() < kBatchBytes) {
        const uint64_t last = cursor_->stream();
        const auto outcome = cursor_->next(record_);
        if (outcome == LogCursor::Outcome::lost) return end("the log does not reach back to what it has: " + cursor_->sentence());
        if (outcome == LogCursor::Outcome::none) break;
        moved = true;
        ++records_sent_;
        if (record_.effects.size() > kFrameBodyMax / 4) {
            if (!batch_.empty()) append_frame(socket_.out(), nonce_, FrameKind::records, batch_, last, before);
            batch_.clear();
            send_long(record_, last);
            return true;
        }
        const RecordHead head{record_.number, record_.stream, record_.effects.size()};
        batch_.append(reinterpret_cast<const char*>(&head), sizeof head).append(record_.effects);
    }
    if (!batch_.empty()) append_frame(socket_.out(), nonce_, FrameKind::records, batch_, cursor_->stream(), before);
    return true;
}

bool Sender::pump(bool& moved) {
    for (unsigned step = 0; step < kStepsMax; ++step) {
        if (!socket_.flush()) return end("it has closed the connection");
        if (socket_.unsent() >= kUnsentMax) return true;
        const size_t before = socket_.unsent();
        if (state_ == ReplicaState::sending) {
            if (!send_snapshot()) return false;
        } else if (state_ == ReplicaState::online && phase_ != PairPhase::waiting) {
            const bool whole = log_is_whole_;
            if (!send_records(moved)) return false;
            if (phase_ == PairPhase::sending && whole && batch_.empty() && socket_.unsent() == before) send_reached();
        }
        if (socket_.unsent() == before) return true;
        moved = true;
    }
    return true;
}

void Sender::ping(uint64_t stream) { append_frame(socket_.out(), nonce_, FrameKind::ping, {}, stream); }

uint64_t Sender::keep_from(uint64_t now_ms) const {
    if (elapsed(now_ms, full_since_ms_) > kKeepMs) return kKeepNothing;
    const bool loads = state_ == ReplicaState::sending || (state_ == ReplicaState::online && !partial_ && acknowledged_ < sending_.stream);
    return loads ? sending_.start : kKeepNothing;
}

}  // namespace millrace::md_repl
