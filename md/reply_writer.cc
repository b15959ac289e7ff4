// See reply_writer.h. Runs in md.
#include "md/reply_writer.h"

#include <cstring>
#include <utility>

#include "common/check.h"

namespace millrace::md {

void ReplyWriter::begin(std::byte* room, uint32_t capacity, uint32_t part_limit) {
    room_ = at_ = reinterpret_cast<char*>(room);
    end_ = room_ + capacity;
    part_limit_ = part_limit;
    in_parts_ = false;
}

/// Room for a whole field: in the ring while it fits, else in the last part or a new one.
char* ReplyWriter::reserve(uint32_t bytes) {
    if (!in_parts_) {
        if (static_cast<size_t>(end_ - at_) >= bytes) return std::exchange(at_, at_ + bytes);
        in_parts_ = true;
        parts_.clear();
        parts_.emplace_back().fields.assign(room_, at_);
    }
    CHECK(bytes <= part_limit_);
    if (parts_.back().blob_length != 0 || parts_.back().fields.size() + bytes > part_limit_) parts_.emplace_back();
    std::string& fields = parts_.back().fields;
    fields.resize(fields.size() + bytes);
    return fields.data() + fields.size() - bytes;
}

void ReplyWriter::integer(int64_t value) {
    char* at = reserve(1 + sizeof value);
    *at = static_cast<char>(ReplyTag::integer);
    std::memcpy(at + 1, &value, sizeof value);
}

void ReplyWriter::put_count(ReplyTag tag, uint32_t count) {
    char* at = reserve(1 + sizeof count);
    *at = static_cast<char>(tag);
    std::memcpy(at + 1, &count, sizeof count);
}

void ReplyWriter::put_text(ReplyTag tag, std::string_view text) {
    const uint32_t length = static_cast<uint32_t>(text.size());
    char* at = reserve(1 + sizeof length + length);
    *at = static_cast<char>(tag);
    std::memcpy(at + 1, &length, sizeof length);
    if (length != 0) std::memcpy(at + 1 + sizeof length, text.data(), length);
}

void ReplyWriter::value(const Value& value) {
    if (value.length <= kCopyLimit) return bulk(value.bytes());
    end_ = at_;  // from here on in parts: the value is sent from where it lies
    put_count(ReplyTag::bulk, value.length);
    parts_.back().blob = value.blob;
    parts_.back().blob_length = value.length;
}

std::vector<ReplyPart> ReplyWriter::take_parts() { return std::exchange(parts_, {}); }

}  // namespace millrace::md
