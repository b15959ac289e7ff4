// Writes one reply in the encoding of common/reply_format.h. Runs in md.
//
// A short reply goes straight into the room claimed in the reply ring. One that outgrows it is moved into a list of
// parts, in which long values stand by reference; reply_streams.h sends those piece by piece as the client reads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/reply_format.h"
#include "md/store.h"

namespace millrace::md {

/// A piece of a large reply: whole fields, then the bytes of a value, which may be cut.
struct ReplyPart {
    std::string fields;
    Blob blob;
    uint32_t blob_length = 0;
};

class ReplyWriter {
  public:
    /// Values longer than this are sent from the value itself, bytes.
    static constexpr uint32_t kCopyLimit = 4096;

    /// Starts a reply: `room` has `capacity` bytes in the ring; a part's fields take at most `part_limit` bytes.
    void begin(std::byte* room, uint32_t capacity, uint32_t part_limit);

    void ok() { put_tag(ReplyTag::ok); }
    void status(std::string_view text) { put_text(ReplyTag::status, text); }
    /// "CODE text", without line breaks.
    void error(std::string_view text) { put_text(ReplyTag::error, text); }
    void integer(int64_t value);
    void bulk(std::string_view bytes) { put_text(ReplyTag::bulk, bytes); }
    void null() { put_tag(ReplyTag::null); }
    void array(uint32_t count) { put_count(ReplyTag::array, count); }
    /// The bytes of a value; copied if short, else by reference.
    void value(const Value& value);

    /// Whether the reply is in the ring's room (size() bytes of it) or in parts.
    bool in_parts() const { return in_parts_; }
    uint32_t size() const { return static_cast<uint32_t>(at_ - room_); }
    std::string_view short_reply() const { return {room_, size()}; }
    std::vector<ReplyPart> take_parts();

  private:
    char* reserve(uint32_t bytes);
    void put_tag(ReplyTag tag) { *reserve(1) = static_cast<char>(tag); }
    void put_count(ReplyTag tag, uint32_t count);
    void put_text(ReplyTag tag, std::string_view text);

    char* room_ = nullptr;
    char* at_ = nullptr;
    char* end_ = nullptr;
    uint32_t part_limit_ = 0;
    bool in_parts_ = false;
    std::vector<ReplyPart> parts_;
};

}  // namespace millrace::md
