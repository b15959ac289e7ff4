// Writes one reply in the encoding of common/reply_format.h. Runs in md.
//
// A short reply goes straight into the room claimed in the reply ring. One that outgrows it is moved into a list of
// parts, in which the values of large items stand by reference; it becomes a reply record (store.h, add_record).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/reply_format.h"
#include "md/store.h"

namespace millrace::md {

class ReplyWriter {
  public:
    /// Bytes of fields in a part at most: a part is a chunk of the store.
    static constexpr uint32_t kPartBytesMax = st::kChunkBytesMax - sizeof(st::ReplyChunk);

    /// Starts a reply: `room` has `capacity` bytes in the ring.
    void begin(std::byte* room, uint32_t capacity);

    void ok() { put_tag(ReplyTag::ok); }
    void status(std::string_view text) { put_text(ReplyTag::status, text); }
    /// "CODE text", without line breaks. What is longer, because it repeats somebody's words, is cut.
    void error(std::string_view text) {
        ++errors_;
        put_text(ReplyTag::error, text.substr(0, kErrorBytesMax));
    }
    /// Forgets what was written since begin().
    void restart() {
        at_ = room_;
        in_parts_ = false;
    }
    /// The text of a reply that is one error.
    std::string_view error_text() const;
    /// Errors ever written.
    uint64_t errors() const { return errors_; }
    static constexpr size_t kErrorBytesMax = 16 * 1024;
    void integer(int64_t value);
    void bulk(std::string_view bytes);
    void null() { put_tag(ReplyTag::null); }
    void null_array() { put_tag(ReplyTag::null_array); }
    /// A reply that io_conn has made.
    void raw(std::string_view bytes);
    void tokens(std::span<const uint64_t> tokens);
    void array(uint32_t count) { put_count(ReplyTag::array, count); }
    /// `count` pairs follow.
    void map(uint32_t count) { put_count(ReplyTag::map, count); }
    /// The bytes of a value; those of a large item by reference.
    void value(const Value& value);

    /// Whether the reply is in the ring's room (size() bytes of it) or in parts.
    bool in_parts() const { return in_parts_; }
    uint32_t size() const { return static_cast<uint32_t>(at_ - room_); }
    const std::vector<ReplyPart>& parts() const { return parts_; }
    /// Bytes of the whole reply, those of values by reference included.
    uint64_t total_bytes() const;

  private:
    void start_parts();
    char* reserve(uint32_t bytes);
    void put_tag(ReplyTag tag) { *reserve(1) = static_cast<char>(tag); }
    void put_count(ReplyTag tag, uint32_t count);
    void put_text(ReplyTag tag, std::string_view text);
    void put_bytes(std::string_view bytes);

    char* room_ = nullptr;
    char* at_ = nullptr;
    char* end_ = nullptr;
    bool in_parts_ = false;
    uint64_t errors_ = 0;
    std::vector<ReplyPart> parts_;
};

}  // namespace millrace::md
