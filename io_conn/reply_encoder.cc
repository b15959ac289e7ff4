// See reply_encoder.h. Runs in io_conn.
#include "io_conn/reply_encoder.h"

#include <algorithm>
#include <cstring>

#include "common/reply_format.h"

namespace millrace::io_conn {

namespace {

/// Reads fields off the front of a part.
class FieldReader {
  public:
    explicit FieldReader(std::span<const std::byte> body) : left_(body) {}
    bool empty() const { return left_.empty(); }

    template <class Number>
    bool take(Number& number) {
        if (left_.size() < sizeof number) return false;
        std::memcpy(&number, left_.data(), sizeof number);
        left_ = left_.subspan(sizeof number);
        return true;
    }
    std::string_view take_at_most(size_t count) {
        count = std::min(count, left_.size());
        const std::string_view bytes(reinterpret_cast<const char*>(left_.data()), count);
        left_ = left_.subspan(count);
        return bytes;
    }
    bool take_text(std::string_view& text) {
        uint32_t length;
        if (!take(length) || length > left_.size()) return false;
        text = take_at_most(length);
        return true;
    }

  private:
    std::span<const std::byte> left_;
};

void continue_bulk(FieldReader& in, EncoderState& state, RespWriter& out) {
    const std::string_view bytes = in.take_at_most(state.bulk_left);
    out.raw(bytes);
    state.bulk_left -= static_cast<uint32_t>(bytes.size());
    if (state.bulk_left == 0) out.bulk_end();
}

bool encode_bulk(FieldReader& in, EncoderState& state, RespWriter& out) {
    uint32_t length;
    if (!in.take(length)) return false;
    out.bulk_header(length);
    state.bulk_left = length;
    continue_bulk(in, state, out);
    return true;
}

bool take_token(FieldReader& in, EncoderState& state, RespWriter& out) {
    uint32_t left;
    uint64_t token;
    if (!in.take(left) || !in.take(token)) return false;
    if (state.tokens == nullptr) state.tokens = std::make_unique<std::vector<uint64_t>>();
    state.tokens->push_back(token);
    if (left == 0) out.ok();
    return true;
}

bool encode_field(ReplyTag tag, FieldReader& in, EncoderState& state, RespWriter& out) {
    std::string_view text;
    uint32_t count;
    int64_t integer;
    switch (tag) {
        case ReplyTag::ok: return out.ok(), true;
        case ReplyTag::null: return out.null(), true;
        case ReplyTag::null_array: return out.null_array(), true;
        case ReplyTag::status: return in.take_text(text) && (out.status(text), true);
        case ReplyTag::error: return in.take_text(text) && (out.error(text), true);
        case ReplyTag::integer: return in.take(integer) && (out.integer(integer), true);
        case ReplyTag::array: return in.take(count) && (out.array(count), true);
        case ReplyTag::map: return in.take(count) && (out.map(count), true);
        case ReplyTag::bulk: return encode_bulk(in, state, out);
        case ReplyTag::raw: return in.take_text(text) && (out.raw(text), true);
        case ReplyTag::token: return take_token(in, state, out);
    }
    return false;
}

}  // namespace

bool encode_reply(std::span<const std::byte> body, EncoderState& state, RespWriter& out) {
    FieldReader in(body);
    if (state.bulk_left != 0 && !in.empty()) continue_bulk(in, state, out);
    uint8_t tag;
    while (in.take(tag)) {
        if (state.first_tag == 0) state.first_tag = tag;
        if (!encode_field(static_cast<ReplyTag>(tag), in, state, out)) return false;
    }
    return true;
}

}  // namespace millrace::io_conn
