// Replies of half of a strict pair, which are given once what they tell of is confirmed (W3 and W4 of common/pair_layout.h). Part of Server (server.h).
//
// They are taken out of the ring and wait here, in its order, and with them whatever comes behind them; but not what md answers md_repl, which has to hear it for
// anything to be confirmed. When too much waits nothing more is taken.
#include <cstring>
#include <string>
#include <utility>

#include "common/check.h"
#include "common/reply_format.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

namespace {

/// An error as md writes it (reply_format.h).
std::string encoded_error(std::string_view text) {
    const auto length = static_cast<uint32_t>(text.size());
    std::string bytes(1, static_cast<char>(ReplyTag::error));
    bytes.append(reinterpret_cast<const char*>(&length), sizeof length);
    return bytes.append(text);
}

uint32_t plain_kind(uint32_t kind) {
    switch (message_kind(kind)) {
        case MessageKind::numbered_reply: return frame_kind(MessageKind::reply);
        case MessageKind::numbered_reference: return frame_kind(MessageKind::reply_reference);
        default: return kind;
    }
}

}  // namespace

void Server::take_pair_reply(uint32_t kind, Message message, Connection* connection) {
    uint64_t number = 0;
    if (message_kind(kind) > MessageKind::reply_reference) {
        CHECK(message.bytes.size() >= kReplyNumberBytes);  // md is no stranger
        std::memcpy(&number, message.bytes.data(), sizeof number);
        message.bytes = message.bytes.subspan(kReplyNumberBytes);
    }
    kind = plain_kind(kind);
    if (connection != nullptr && connection->linked) return take_reply(*connection, kind, message.bytes);
    const MdLink::Standing standing = pair_replies_.empty() ? link_.standing_of(number) : MdLink::Standing::not_yet;
    if (standing != MdLink::Standing::not_yet) return give_pair_reply(kind, connection, message.bytes, standing);
    counters_.add(IoCounter::replies_held);
    if (pair_replies_.empty()) link_.wait_for(number);
    pair_replies_.push_back({kind, message.id, number, std::string(reinterpret_cast<const char*>(message.bytes.data()), message.bytes.size())});
    pair_reply_bytes_ += sizeof(PairReply) + message.bytes.size();
    link_.take_no_more(pair_reply_bytes_ > kPairReplyBytesMax);
}

void Server::give_pair_reply(uint32_t kind, Connection* connection, std::span<const std::byte> bytes, MdLink::Standing standing) {
    if (connection == nullptr || standing == MdLink::Standing::forgotten) {
        drop_reply(kind, bytes);
        if (connection != nullptr) close_connection(*connection);  // nobody knows any more what became of it
        return;
    }
    if (standing == MdLink::Standing::shown) return take_reply(*connection, kind, bytes);
    if (kind == frame_kind(MessageKind::reply_reference)) drop_reply(kind, bytes);
    const std::string error = encoded_error(standing == MdLink::Standing::voided
                                                ? "NOREPLICAS The write was undone: the other server of the strict pair did not confirm it in time."
                                                : "NOREPLICAS The value is not known to be on both servers of the strict pair, and they are not in sync; try again.");
    take_reply(*connection, frame_kind(MessageKind::reply), std::as_bytes(std::span(error)));
}

void Server::give_pair_replies() {
    while (!pair_replies_.empty()) {
        const MdLink::Standing standing = link_.standing_of(pair_replies_.front().number);
        if (standing == MdLink::Standing::not_yet) break;
        const PairReply reply = std::move(pair_replies_.front());
        pair_replies_.pop_front();
        pair_reply_bytes_ -= sizeof(PairReply) + reply.bytes.size();
        give_pair_reply(reply.kind, connections_.find(reply.id), std::as_bytes(std::span(reply.bytes)), standing);
        if (must_send()) send_dirty();
    }
    link_.wait_for(pair_replies_.empty() ? 0 : pair_replies_.front().number);
    link_.take_no_more(pair_reply_bytes_ > kPairReplyBytesMax);
}

}  // namespace millrace::io_conn
