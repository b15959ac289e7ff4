// Sends large replies in parts, as fast as their connection takes them. Runs in md, one object a channel.
//
// A connection with a large reply has a stream here. Its parts go into the reply ring until kCreditBytes are under way;
// the last part then asks for credit, and nothing more is sent before the io_conn has given it, which it does once it has
// sent most of that to its client. Until the stream has run empty, every further reply to that connection queues here. So a client
// that never reads holds references to values and a bounded number of bytes, and holds nobody else up.
// Invariants:
//   L1  Replies of a connection leave in the order of its requests.
//   L2  At most kCreditBytes and one part of a stream are in the ring or in the io_conn's buffer.
//   L3  Only the bytes of a value are cut between parts; a part belongs to one reply.
//   L4  A stream of a connection that is gone is dropped: by `forget`, by a newer generation in its slot, or with its
//       channel.
#pragma once

#include <cstdint>
#include <deque>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/message.h"
#include "common/ring.h"
#include "md/reply_writer.h"

namespace millrace::md {

class ReplyStreams {
  public:
    /// Bytes of one connection's large replies that may be under way.
    static constexpr uint64_t kCreditBytes = 256 * 1024;
    /// Longest part, bytes (less if the ring is small).
    static constexpr uint32_t kPartBytesMax = 64 * 1024;

    /// Whether replies to this connection have to queue here (L1).
    bool has_queue(ConnectionId connection);
    /// Queues a large reply.
    void add(ConnectionId connection, std::vector<ReplyPart> parts);
    /// Queues a short, encoded reply behind what is there.
    void add(ConnectionId connection, std::string_view reply);
    void grant_credit(ConnectionId connection);
    void forget(ConnectionId connection);

    /// Moves parts into the ring while there are credit and room. False when the ring was too full for what could go.
    bool pump(RingProducer& replies);
    bool idle() const { return sendable_.empty(); }
    /// Bytes that wait, values counted as held.
    uint64_t queued_bytes() const { return queued_bytes_; }

  private:
    struct Item {
        ReplyPart part;
        uint32_t blob_sent = 0;
        bool fields_sent = false;
        bool last_of_reply = false;
    };
    struct Stream {
        uint32_t generation = 0;
        uint64_t under_way = 0;  ///< bytes sent since credit was given last
        bool asked = false;      ///< the last part sent asks for credit
        bool listed = false;     ///< in sendable_
        std::deque<Item> items;
    };

    Stream& stream_of(ConnectionId connection);
    void enlist(uint32_t slot, Stream& stream);
    void drop(std::unordered_map<uint32_t, Stream>::iterator at);
    bool send_part(uint32_t slot, Stream& stream, RingProducer& replies);
    uint32_t fill(Stream& stream, std::byte* room, uint32_t capacity, bool& reply_ended);

    std::unordered_map<uint32_t, Stream> by_slot_;
    std::deque<uint32_t> sendable_;  ///< slots with items and credit, each once; sent to in turn
    uint64_t queued_bytes_ = 0;
};

}  // namespace millrace::md
