// See reply_writer.h. Runs in md.
#include "md/reply_writer.h"

#include <cstring>
#include <utility>

#include "common/check.h"

namespace millrace::md {

namespace {

/// Long values are cut into pieces of this size, so that they fill parts well.
constexpr size_t kPieceBytes = 4096;

}  // namespace

void ReplyWriter::begin(std::byte* room, uint32_t capacity) {
    room_ = at_ = reinterpret_cast<char*>(room);
    end_ = room_ + capacity;
    in_parts_ = false;
}

/// From here on in parts.
void ReplyWriter::start_parts() {
    if (in_parts_) return;
    in_parts_ = true;
    parts_.clear();
    parts_.emplace_back().fields.assign(room_, at_);
}

/// Room for a whole field: in the ring while it fits, else in the last part or a new one.
char* ReplyWriter::reserve(uint32_t bytes) {
    if (!in_parts_ && static_cast<size_t>(end_ - at_) >= bytes) return std::exchange(at_, at_ + bytes);
    start_parts();
    CHECK(bytes <= kPartBytesMax);
    if (parts_.back().item != 0 || parts_.back().fields.size() + bytes > kPartBytesMax) parts_.emplace_back();
    std::string& fields = parts_.back().fields;
    fields.resize(fields.size() + bytes);
    return fields.data() + fields.size() - bytes;
}

uint64_t ReplyWriter::total_bytes() const {
    if (!in_parts_) return size();
    uint64_t bytes = 0;
    for (const ReplyPart& part : parts_) bytes += part.fields.size() + part.item_length;
    return bytes;
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

std::string_view ReplyWriter::error_text() const {
    constexpr size_t kTextAt = 1 + sizeof(uint32_t);
    const std::string_view all = in_parts_ ? std::string_view(parts_.front().fields) : std::string_view(room_, size());
    return all.size() < kTextAt || static_cast<ReplyTag>(all[0]) != ReplyTag::error ? std::string_view() : all.substr(kTextAt);
}

void ReplyWriter::bulk(std::string_view bytes) {
    put_count(ReplyTag::bulk, static_cast<uint32_t>(bytes.size()));
    put_bytes(bytes);
}

void ReplyWriter::raw(std::string_view bytes) {
    for (; !bytes.empty(); bytes.remove_prefix(std::min<size_t>(kPieceBytes, bytes.size()))) put_text(ReplyTag::raw, bytes.substr(0, kPieceBytes));
}

void ReplyWriter::tokens(std::span<const uint64_t> tokens) {
    // Each by itself, so that none is cut between two parts.
    for (size_t i = 0; i < tokens.size(); ++i) {
        char* at = reserve(1 + sizeof(uint32_t) + sizeof(uint64_t));
        *at = static_cast<char>(ReplyTag::token);
        const uint32_t left = static_cast<uint32_t>(tokens.size() - 1 - i);
        std::memcpy(at + 1, &left, sizeof left);
        std::memcpy(at + 1 + sizeof left, &tokens[i], sizeof tokens[i]);
    }
}

/// Bytes that may be cut between two parts: those of a bulk.
void ReplyWriter::put_bytes(std::string_view bytes) {
    if (static_cast<size_t>(end_ - at_) < bytes.size()) start_parts();
    while (!bytes.empty()) {
        const std::string_view piece = bytes.substr(0, in_parts_ ? kPieceBytes : bytes.size());
        std::memcpy(reserve(static_cast<uint32_t>(piece.size())), piece.data(), piece.size());
        bytes.remove_prefix(piece.size());
    }
}

void ReplyWriter::value(const Value& value) {
    put_count(ReplyTag::bulk, static_cast<uint32_t>(value.length()));
    if (value.large != 0) {
        start_parts();  // the value is sent from where it lies
        parts_.back().item = value.large;
        parts_.back().item_length = value.stored_length;
    } else {
        put_bytes({value.small, value.stored_length});
    }
    put_bytes(value.rest);
}

}  // namespace millrace::md
