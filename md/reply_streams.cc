// See reply_streams.h. Runs in md.
#include "md/reply_streams.h"

#include <algorithm>
#include <cstring>

#include "common/check.h"

namespace millrace::md {

namespace {

uint64_t part_bytes(const ReplyPart& part) { return part.fields.size() + part.blob_length; }

}  // namespace

void ReplyStreams::drop(std::unordered_map<uint32_t, Stream>::iterator at) {
    for (const Item& item : at->second.items) queued_bytes_ -= part_bytes(item.part);
    if (at->second.listed) std::erase(sendable_, at->first);
    by_slot_.erase(at);
}

ReplyStreams::Stream& ReplyStreams::stream_of(ConnectionId connection) {
    auto at = by_slot_.find(connection.slot);
    if (at != by_slot_.end() && at->second.generation != connection.generation) {  // L4
        drop(at);
        at = by_slot_.end();
    }
    if (at == by_slot_.end()) {
        at = by_slot_.try_emplace(connection.slot).first;
        at->second.generation = connection.generation;
    }
    return at->second;
}

bool ReplyStreams::has_queue(ConnectionId connection) {
    const auto at = by_slot_.find(connection.slot);
    return at != by_slot_.end() && at->second.generation == connection.generation && !at->second.items.empty();
}

void ReplyStreams::enlist(uint32_t slot, Stream& stream) {
    if (stream.listed || stream.items.empty() || stream.asked) return;
    stream.listed = true;
    sendable_.push_back(slot);
}

void ReplyStreams::add(ConnectionId connection, std::vector<ReplyPart> parts) {
    Stream& stream = stream_of(connection);
    for (ReplyPart& part : parts) {
        queued_bytes_ += part_bytes(part);
        stream.items.push_back({std::move(part), 0, false, false});
    }
    stream.items.back().last_of_reply = true;
    enlist(connection.slot, stream);
}

void ReplyStreams::add(ConnectionId connection, std::string_view reply) {
    std::vector<ReplyPart> parts(1);
    parts[0].fields = reply;
    add(connection, std::move(parts));
}

void ReplyStreams::grant_credit(ConnectionId connection) {
    const auto at = by_slot_.find(connection.slot);
    if (at == by_slot_.end() || at->second.generation != connection.generation) return;
    if (at->second.items.empty()) return drop(at);
    at->second.under_way = 0;
    at->second.asked = false;
    enlist(connection.slot, at->second);
}

void ReplyStreams::forget(ConnectionId connection) {
    const auto at = by_slot_.find(connection.slot);
    if (at != by_slot_.end() && at->second.generation == connection.generation) drop(at);
}

/// Fills one part from the front of the queue: up to the end of a reply (L3) or until `capacity` is used.
uint32_t ReplyStreams::fill(Stream& stream, std::byte* room, uint32_t capacity, bool& reply_ended) {
    uint32_t used = 0;
    reply_ended = false;
    while (!reply_ended && !stream.items.empty()) {
        Item& item = stream.items.front();
        if (!item.fields_sent) {
            const uint32_t length = static_cast<uint32_t>(item.part.fields.size());
            if (length > capacity - used) break;
            std::memcpy(room + used, item.part.fields.data(), length);
            used += length;
            item.fields_sent = true;
        }
        const uint32_t piece = std::min(item.part.blob_length - item.blob_sent, capacity - used);
        if (piece != 0) std::memcpy(room + used, item.part.blob.data() + item.blob_sent, piece);
        used += piece;
        item.blob_sent += piece;
        if (item.blob_sent < item.part.blob_length) break;
        reply_ended = item.last_of_reply;
        queued_bytes_ -= part_bytes(item.part);
        stream.items.pop_front();
    }
    return used;
}

bool ReplyStreams::send_part(uint32_t slot, Stream& stream, RingProducer& replies) {
    const uint32_t capacity = std::min(kPartBytesMax, max_message(replies));
    std::byte* room = claim_message(replies, capacity);
    if (room == nullptr) return false;
    bool reply_ended;
    const uint32_t used = fill(stream, room, capacity, reply_ended);
    CHECK(used > 0);
    stream.under_way += used;
    uint32_t flags = reply_ended ? kFinalPart : 0;
    if (stream.items.empty() || stream.under_way >= kCreditBytes) {
        flags |= kAskCredit;
        stream.asked = true;
    }
    commit_message(replies, room, used, frame_kind(MessageKind::reply_part, flags), {slot, stream.generation});
    return true;
}

bool ReplyStreams::pump(RingProducer& replies) {
    while (!sendable_.empty()) {
        const uint32_t slot = sendable_.front();
        Stream& stream = by_slot_.at(slot);
        if (!send_part(slot, stream, replies)) return false;
        sendable_.pop_front();  // to the end of the line, if there is more: connections take turns
        stream.listed = false;
        enlist(slot, stream);
    }
    return true;
}

}  // namespace millrace::md
