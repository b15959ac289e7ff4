// What travels through the rings: kinds of messages and the encoding of a request. Used by io_conn (writes requests)
// and md (reads them); the formats of replies are in reply_format.h.
//
// A frame (ring.h) is length | kind | id | body.
//   id    connection slot. Every body starts with the slot's generation (32 bits): a reply to a connection that is gone
//         carries an old one and is dropped.
//   kind  one of MessageKind.
// After the generation comes:
//   request           RequestHeader, then argument_count times (u32 length, bytes). The command's name is not among the
//                     arguments; its id is in the header.
//   request_fragment  FragmentHeader, then the next bytes of a request that is longer than a ring message. All
//                     fragments of a request follow each other in order for one id; the request is complete when
//                     `total` bytes have come. A fragment that does not continue what is there starts over or is dropped.
//   release           u64 reference of a reply record: its bytes have been read.
//   forget            empty: the connection is closed; what md keeps for it is dropped.
//   reply             a whole reply.
//   reply_reference   u64 reference of a reply record in the store (store_layout.h), which io_conn reads there and releases.
//   numbered_reply, numbered_reference   u64 number of a commit, then the same: of a strict pair (pair_layout.h, W3 and W4); 0: it waits for none.
// Whatever is read from a ring is input (R6): parse_request() checks every length against what is there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "common/ring.h"

namespace millrace {

enum class MessageKind : uint16_t {
    request = 1,
    request_fragment = 2,
    release = 3,
    forget = 4,
    reply = 5,
    reply_reference = 6,
    numbered_reply = 7,
    numbered_reference = 8,
};
static_assert(static_cast<uint32_t>(MessageKind::numbered_reference) < FrameHeader::kKindLimit);

constexpr uint32_t frame_kind(MessageKind kind) { return static_cast<uint32_t>(kind); }
constexpr MessageKind message_kind(uint32_t frame_kind) { return static_cast<MessageKind>(frame_kind); }

/// Bytes in front of what a numbered reply carries.
inline constexpr uint32_t kReplyNumberBytes = sizeof(uint64_t);

/// Slots of an io_conn's connection table are numbered below this; a frame about another is malformed.
inline constexpr uint32_t kConnectionSlotsMax = 1u << 20;

/// Who a message is about: a slot of the io_conn's connection table and the slot's generation.
struct ConnectionId {
    uint32_t slot = 0;
    uint32_t generation = 0;

    bool operator==(const ConnectionId&) const = default;
};

/// Bytes of a body that come before what the message carries: the generation.
inline constexpr uint32_t kMessagePrefix = sizeof(uint32_t);

/// The most that one message can carry through a ring, bytes.
inline uint32_t max_message(const RingProducer& ring) { return ring.max_body() - kMessagePrefix; }
/// Bytes of a ring that a message of `bytes` takes.
constexpr uint64_t message_frame_bytes(uint32_t bytes) { return frame_bytes(kMessagePrefix + bytes); }

/// Room for a message of `bytes` <= max_message(), or null while the ring is full; see RingProducer::try_claim.
inline std::byte* claim_message(RingProducer& ring, uint32_t bytes) {
    std::byte* body = ring.try_claim(kMessagePrefix + bytes);
    return body == nullptr ? nullptr : body + kMessagePrefix;
}
/// Ends the message whose room claim_message() gave, with the length really used.
inline void commit_message(RingProducer& ring, std::byte* room, uint32_t bytes, uint32_t kind, ConnectionId id) {
    std::memcpy(room - kMessagePrefix, &id.generation, kMessagePrefix);
    ring.commit(kMessagePrefix + bytes, kind, id.slot);
}
/// Claims, calls write(room) for exactly `bytes` <= max_message(), and commits; false while the ring is full.
template <class Write>
bool put_message(RingProducer& ring, uint32_t kind, ConnectionId id, uint32_t bytes, const Write& write) {
    return ring.try_put(kMessagePrefix + bytes, kind, id.slot, [&](std::byte* body) {
        std::memcpy(body, &id.generation, kMessagePrefix);
        write(body + kMessagePrefix);
    });
}
/// The same with a copy of `bytes`.
inline bool push_message(RingProducer& ring, uint32_t kind, ConnectionId id, std::span<const std::byte> bytes) {
    return put_message(ring, kind, id, static_cast<uint32_t>(bytes.size()), [&](std::byte* room) {
        if (!bytes.empty()) std::memcpy(room, bytes.data(), bytes.size());
    });
}

/// A message as it came: whom it is about, and what it carries.
struct Message {
    ConnectionId id;
    std::span<const std::byte> bytes;
};
/// Reads what every message has; false when the frame is too short to be one.
inline bool open_message(const Frame& frame, Message& message) {
    if (frame.body.size() < kMessagePrefix) return false;
    message.id.slot = frame.id;
    std::memcpy(&message.id.generation, frame.body.data(), kMessagePrefix);
    message.bytes = frame.body.subspan(kMessagePrefix);
    return true;
}

struct RequestHeader {
    uint16_t command;         ///< CommandId
    uint8_t database;         ///< 0 .. databases - 1
    uint8_t flags;            ///< request_flag
    uint32_t argument_count;  ///< without the command's name
    uint32_t enqueued_us;     ///< low 32 bits of monotonic_us() when io_conn handed it over
};
static_assert(sizeof(RequestHeader) == 12);

namespace request_flag {
inline constexpr uint8_t no_touch = 1;  ///< that its keys are used leaves no mark (CLIENT NO-TOUCH)
}  // namespace request_flag

/// In place of a command's number in a request that is an argument of EXEC: its one argument is a reply that io_conn has made.
inline constexpr uint16_t kRawReply = 0xffff;

/// What EXEC's first argument has of each watched key, followed by the key's bytes.
struct WatchHeader {
    uint64_t token;
    uint32_t key_length;
    uint32_t database;
};
static_assert(sizeof(WatchHeader) == 16);

struct FragmentHeader {
    uint64_t total;   ///< bytes of the whole request
    uint64_t offset;  ///< of this fragment's bytes in it
};
static_assert(sizeof(FragmentHeader) == 16);

/// Bytes that a request takes; arguments as in the body.
template <class Arguments>
uint64_t request_bytes(const Arguments& arguments) {
    uint64_t bytes = sizeof(RequestHeader);
    for (const std::string_view argument : arguments) bytes += sizeof(uint32_t) + argument.size();
    return bytes;
}

/// Writes a request to `out`, which has request_bytes() bytes of room; returns the end.
template <class Arguments>
std::byte* write_request(std::byte* out, const RequestHeader& header, const Arguments& arguments) {
    std::memcpy(out, &header, sizeof header);
    out += sizeof header;
    for (const std::string_view argument : arguments) {
        const uint32_t length = static_cast<uint32_t>(argument.size());
        std::memcpy(out, &length, sizeof length);
        out += sizeof length;
        if (length != 0) std::memcpy(out, argument.data(), length);
        out += length;
    }
    return out;
}

/// Reads a request; `arguments` are views into `body`. False when the body is no well-formed request.
inline bool parse_request(std::span<const std::byte> body, RequestHeader& header,
                          std::vector<std::string_view>& arguments) {
    arguments.clear();
    if (body.size() < sizeof header) return false;
    std::memcpy(&header, body.data(), sizeof header);
    body = body.subspan(sizeof header);
    if (header.argument_count > body.size() / sizeof(uint32_t)) return false;
    for (uint32_t i = 0; i < header.argument_count; ++i) {
        uint32_t length;
        if (body.size() < sizeof length) return false;
        std::memcpy(&length, body.data(), sizeof length);
        body = body.subspan(sizeof length);
        if (length > body.size()) return false;
        arguments.emplace_back(reinterpret_cast<const char*>(body.data()), length);
        body = body.subspan(length);
    }
    return body.empty();
}

}  // namespace millrace
