// From md's replies to the sockets. Part of Server (server.h).
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "common/check.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

void Server::take_replies() {
    unsigned taken = 0;
    size_t bytes = 0;
    link_.look_at_disk();
    if (!pair_replies_.empty()) give_pair_replies();
    if (pair_reply_bytes_ > kPairReplyBytesMax) return;
    if (link_.holds_replies()) counters_.add(IoCounter::replies_held);
    for (Frame frame; taken < kRepliesPerTurn && bytes < kReplyBytesPerTurn; ++taken) {
        const RingRead read = link_.next_reply(frame);
        if (read == RingRead::empty) break;
        if (read == RingRead::corrupt) throw Error("md's reply ring is corrupt; this io_conn ends and is started anew");
        bytes += frame.body.size();
        Message message;
        Connection* connection = open_message(frame, message) ? connections_.find(message.id) : nullptr;
        if (message_kind(frame.kind) > MessageKind::reply_reference || !pair_replies_.empty()) [[unlikely]] take_pair_reply(frame.kind, message, connection);
        else if (connection != nullptr) take_reply(*connection, frame.kind, message.bytes);
        else drop_reply(frame.kind, message.bytes);
        if (must_send()) send_dirty();
    }
    if (taken == 0) return;
    counters_.add(IoCounter::replies_received, taken);
    counters_.record(IoCounter::reply_batch, taken);
    if (published_at_us_ != 0) {
        counters_.record(IoCounter::round_trip_us, now_us_ - published_at_us_);
        published_at_us_ = 0;
    }
    if (link_.publish()) counters_.add(IoCounter::wakeups_sent);
}

void Server::take_reply(Connection& connection, uint32_t frame_kind, std::span<const std::byte> reply) {
    const MessageKind kind = message_kind(frame_kind);
    // With the reply here, although perhaps not read, the request has been executed: it must not go to another md again.
    if (++connection.arrived == connection.sent && connection.outgoing != nullptr &&
        connection.outgoing->sent == connection.outgoing->bytes.size())
        drop_outgoing(connection);
    if (kind == MessageKind::reply && !connection.has_waiting()) {
        if (encode(connection, reply)) end_reply(connection);
    } else {
        WaitingReply waiting;
        if (kind == MessageKind::reply) {
            waiting.bytes.assign(reinterpret_cast<const char*>(reply.data()), reply.size());
        } else {
            CHECK(kind == MessageKind::reply_reference && reply.size() == sizeof waiting.record);  // md is no stranger
            std::memcpy(&waiting.record, reply.data(), sizeof waiting.record);
        }
        HeldReplies& held = connection.make_held();
        held.bytes += sizeof waiting + waiting.bytes.size();
        held.waiting.push_back(std::move(waiting));
        if (held.waiting.size() == 1) held.reading = RecordReader(link_.store(), held.waiting.front().record);
    }
    if (connection.open()) make_dirty(connection);
}

/// Nobody waits for this reply any more.
void Server::drop_reply(uint32_t frame_kind, std::span<const std::byte> reply) {
    counters_.add(IoCounter::replies_dropped);
    uint64_t record;
    if (message_kind(frame_kind) != MessageKind::reply_reference || reply.size() != sizeof record) return;
    std::memcpy(&record, reply.data(), sizeof record);
    to_release_.push_back(record);
}

/// False when the bytes are no reply: the connection is closed then.
bool Server::encode(Connection& connection, std::span<const std::byte> reply) {
    const size_t before = connection.output.size();
    RespWriter out(connection.output, connection.resp3, &diagnostics_);
    const bool good = encode_reply(reply, connection.encoder, out);
    if (connection.muted != Muted::no) connection.output.truncate(before);
    if (connection.encoder.tokens != nullptr) take_tokens(connection);
    if (out.errors() != 0) counters_.add(IoCounter::error_replies, out.errors());
    if (!good) close_connection(connection);
    return good;
}

void Server::end_reply(Connection& connection) {
    if (connection.encoder.bulk_left != 0) return close_connection(connection);  // it ends in the middle of a value
    answered_one(connection);
}

/// Reads on in a long reply, and takes the short ones behind it, while the output has room.
void Server::go_on_with_waiting(Connection& connection) {
    while (connection.open() && connection.has_waiting() && connection.output.size() < kReadRecordBelow) {
        HeldReplies& held = *connection.held;
        const WaitingReply& reply = held.waiting.front();
        if (reply.record != 0) {
            const std::span<const std::byte> piece = held.reading.next(link_.store());
            if (!piece.empty()) {
                encode(connection, piece);
                continue;
            }
            to_release_.push_back(reply.record);
        } else if (!encode(connection, std::as_bytes(std::span(reply.bytes)))) {
            return;
        }
        held.bytes -= sizeof(WaitingReply) + reply.bytes.size();
        held.waiting.pop_front();
        if (!held.waiting.empty() && held.waiting.front().record != 0) held.reading = RecordReader(link_.store(), held.waiting.front().record);
        end_reply(connection);
    }
}

/// N1: replies made here that waited for this one follow it.
void Server::answered_one(Connection& connection) {
    ++connection.answered;
    if (connection.held != nullptr) {
        HeldReplies& held = *connection.held;
        while (!held.deferred.empty() && held.deferred.front().after == connection.answered) {
            const std::string& bytes = held.deferred.front().bytes;
            held.bytes -= sizeof(DeferredReply) + bytes.size();
            connection.output.append(bytes);
            held.deferred.pop_front();
        }
        connection.drop_held_if_empty();
    }
    if (connection.before_exec != nullptr && connection.transaction == nullptr) exec_is_settled(connection);  // others see it in CLIENT LIST
    if (connection.holds_output) make_ready(connection);  // what the output waits for goes on
}

void Server::send_dirty() {
    dirty_now_.swap(dirty_);
    if (!dirty_now_.empty()) counters_.record(IoCounter::send_batch, dirty_now_.size());
    for (Connection* connection : dirty_now_) {
        connection->in_dirty = false;
        if (connection->open()) send_output(*connection);
    }
    dirty_now_.clear();
    send_from_ = dirty_.size() + kUnsentMax;  // some have more to send than a turn allows
}

void Server::release_output(Connection& connection) {
    connection.holds_output = false;
    make_dirty(connection);
}

void Server::send_output(Connection& connection) {
    go_on_with_waiting(connection);
    if (!connection.open()) return;
    // A long answer cannot wait: there is no room for the rest of it.
    if (connection.holds_output && connection.output.size() < kReadRecordBelow) return;
    size_t sent = 0;
    while (!connection.output.empty() && !connection.write_blocked) {
        if (sent > kSendBytesPerTurn) return make_dirty(connection);  // others first
        const std::string_view bytes = connection.output.bytes();
        const ssize_t count = send(connection.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        counters_.add(IoCounter::writes);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            connection.write_blocked = true;
            break;
        }
        if (count < 0) return close_connection(connection);
        counters_.add(IoCounter::output_bytes, static_cast<uint64_t>(count));
        connection.output.consume(static_cast<size_t>(count));
        sent += static_cast<size_t>(count);
        go_on_with_waiting(connection);
        if (!connection.open()) return;
    }
    // What waited for this - the window, the output limit, a barrier - can go on.
    if (!connection.input.empty() || connection.readable) make_ready(connection);
    else close_if_done(connection);
}

}  // namespace millrace::io_conn
