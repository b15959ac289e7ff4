// From md's replies to the sockets. Part of Server (server.h).
#include <sys/socket.h>

#include <cerrno>

#include "common/check.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

void Server::take_replies() {
    unsigned taken = 0;
    size_t bytes = 0;
    for (Frame frame; taken < kRepliesPerTurn && bytes < kReplyBytesPerTurn; ++taken) {
        const RingRead read = link_.next_reply(frame);
        if (read == RingRead::empty) break;
        if (read == RingRead::corrupt) throw Error("md's reply ring is corrupt; this io_conn ends and is started anew");
        bytes += frame.body.size();
        Message message;
        Connection* connection = open_message(frame, message) ? connections_.find(message.id) : nullptr;
        if (connection != nullptr) take_reply(*connection, frame.kind, message.bytes);
        else counters_.add(IoCounter::replies_dropped);
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
    RespWriter out(connection.output, connection.resp3);
    const MessageKind kind = message_kind(frame_kind);
    const bool known = kind == MessageKind::reply || kind == MessageKind::reply_part;
    if (!known || !encode_reply(reply, connection.encoder, out)) return close_connection(connection);
    if (out.errors() != 0) counters_.add(IoCounter::error_replies, out.errors());
    if (kind == MessageKind::reply || (frame_kind & kFinalPart) != 0) {
        if (connection.encoder.bulk_left != 0) return close_connection(connection);  // ends in the middle of a value
        answered_one(connection);
    }
    if (kind == MessageKind::reply_part) connection.md_remembers = true;
    if ((frame_kind & kAskCredit) != 0) connection.owes_credit = true;
    make_dirty(connection);
}

/// N1: replies made here that waited for this one follow it.
void Server::answered_one(Connection& connection) {
    ++connection.answered;
    while (!connection.deferred.empty() && connection.deferred.front().after == connection.answered) {
        const std::string& bytes = connection.deferred.front().bytes;
        connection.deferred_bytes -= static_cast<uint32_t>(sizeof(DeferredReply) + bytes.size());
        connection.output.append(bytes);
        connection.deferred.pop_front();
    }
}

void Server::send_dirty() {
    dirty_now_.swap(dirty_);
    for (Connection* connection : dirty_now_) {
        connection->in_dirty = false;
        if (connection->open()) send_output(*connection);
    }
    dirty_now_.clear();
}

void Server::send_output(Connection& connection) {
    while (!connection.output.empty() && !connection.write_blocked) {
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
    }
    give_credit(connection);
    // What waited for this - the window, the output limit, a barrier - can go on.
    if (!connection.input.empty() || connection.readable) make_ready(connection);
    else close_if_done(connection);
}

void Server::give_credit(Connection& connection) {
    if (!connection.owes_credit || connection.output.size() > kCreditBelow) return;
    if (link_.send_note(connection.id(), MessageKind::credit)) connection.owes_credit = false;
    else wait_for_ring(connection);
}

}  // namespace millrace::io_conn
