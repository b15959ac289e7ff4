// See resp_decoder.h. Runs in io_conn.
#include "io_conn/resp_decoder.h"

#include <algorithm>
#include <cctype>

#include "common/text.h"

namespace millrace::io_conn {

void RespDecoder::reset() {
    position_ = scanned_ = needed_ = 0;
    remaining_ = bulk_length_ = -1;
    inline_ = false;
    spans_.clear();
    arguments_.clear();
    inline_bytes_.clear();
}

RespDecoder::Result RespDecoder::fail(std::string text) {
    error_ = "Protocol error: " + std::move(text);
    return Result::error;
}

namespace {

/// Reads a length of a few digits and steps over the line's end; false for anything that needs a closer look.
[[gnu::always_inline]] inline bool take_length(const char*& at, const char* end, uint32_t& length) {
    constexpr unsigned kDigitsMax = 7;
    if (end - at >= 4) {  // one or two digits, as nearly always
        const unsigned first = static_cast<unsigned char>(at[0] - '0'), second = static_cast<unsigned char>(at[1] - '0');
        if (first <= 9 && at[1] == '\r') {
            length = first;
            at += 3;
            return true;
        }
        if (first - 1 <= 8 && second <= 9 && at[2] == '\r') {
            length = first * 10 + second;
            at += 4;
            return true;
        }
    }
    const char* const begin = at;
    uint32_t value = 0;
    for (; at < end && static_cast<unsigned char>(*at - '0') <= 9; ++at) value = value * 10 + static_cast<uint32_t>(*at - '0');
    const auto digits = static_cast<size_t>(at - begin);
    if (digits == 0 || digits > kDigitsMax || (*begin == '0' && digits > 1) || end - at < 2 || *at != '\r') return false;
    at += 2;
    length = value;
    return true;
}

}  // namespace

bool RespDecoder::decode_whole(std::string_view bytes) {
    const char *at = bytes.data() + 1, *const end = bytes.data() + bytes.size();
    uint32_t count, length;
    if (!take_length(at, end, count)) return false;
    for (; count > 0; --count) {
        if (at == end || *at++ != '$' || !take_length(at, end, length) || length > bulk_bytes_max_ || static_cast<size_t>(end - at) < size_t{length} + 2)
            break;
        arguments_.emplace_back(at, length);
        at += length + 2;
    }
    if (count > 0) {
        arguments_.clear();
        return false;
    }
    position_ = static_cast<size_t>(at - bytes.data());
    return true;
}

RespDecoder::Result RespDecoder::decode(std::string_view bytes) {
    if (bytes.empty()) return Result::need_more;
    if (remaining_ < 0) {
        // What arrives in pieces is not looked at from the start each time.
        if (bytes[0] == '*' && scanned_ == 0 && !stranger_ && decode_whole(bytes)) return Result::request;
        if (bytes[0] != '*') return decode_inline(bytes);
        if (const Result result = decode_count(bytes); result != Result::request) return result;
    }
    while (remaining_ > 0)
        if (const Result result = decode_bulk(bytes); result != Result::request) return result;
    return finish(bytes);
}

RespDecoder::Result RespDecoder::read_line(std::string_view bytes, const char* too_long, std::string_view& line) {
    const size_t end = bytes.find('\r', std::max(scanned_, position_));
    if (end == std::string_view::npos) {
        scanned_ = bytes.size();
        return bytes.size() - position_ > kLineBytesMax ? fail(too_long) : Result::need_more;
    }
    scanned_ = end;
    if (end + 1 >= bytes.size()) return Result::need_more;  // the line feed is missing
    line = bytes.substr(position_, end - position_);
    position_ = end + 2;
    return Result::request;
}

RespDecoder::Result RespDecoder::decode_count(std::string_view bytes) {
    std::string_view line;
    if (const Result result = read_line(bytes, "too big mbulk count string", line); result != Result::request)
        return result;
    int64_t count;
    if (!parse_integer(line.substr(1), count) || count > kArgumentsMax) return fail("invalid multibulk length");
    if (stranger_ && count > kStrangersArgumentsMax) return fail("unauthenticated multibulk length");
    remaining_ = std::max<int64_t>(count, 0);
    return Result::request;
}

RespDecoder::Result RespDecoder::decode_bulk(std::string_view bytes) {
    if (bulk_length_ < 0) {
        std::string_view line;
        if (position_ >= bytes.size()) return Result::need_more;
        if (const Result result = read_line(bytes, "too big bulk count string", line); result != Result::request)
            return result;
        if (line.empty() || line[0] != '$')
            return fail(std::string("expected '$', got '") + (line.empty() ? '\r' : line[0]) + "'");
        int64_t length;
        if (!parse_integer(line.substr(1), length) || length < 0 || static_cast<uint64_t>(length) > bulk_bytes_max_)
            return fail("invalid bulk length");
        if (stranger_ && length > kStrangersBulkBytesMax) return fail("unauthenticated bulk length");
        bulk_length_ = length;
    }
    needed_ = position_ + static_cast<size_t>(bulk_length_) + 2;
    if (bytes.size() < needed_) return Result::need_more;
    spans_.push_back({static_cast<uint32_t>(position_), static_cast<uint32_t>(bulk_length_)});
    position_ = needed_;
    bulk_length_ = -1;
    --remaining_;
    return Result::request;
}

RespDecoder::Result RespDecoder::finish(std::string_view bytes) {
    arguments_.clear();
    for (const Span span : spans_) arguments_.push_back(bytes.substr(span.offset, span.length));
    return Result::request;
}

RespDecoder::Result RespDecoder::decode_inline(std::string_view bytes) {
    const size_t end = bytes.find('\n', scanned_);
    if (end == std::string_view::npos) {
        scanned_ = bytes.size();
        return bytes.size() > kLineBytesMax ? fail("too big inline request") : Result::need_more;
    }
    std::string_view line = bytes.substr(0, end);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!split_inline(line)) return fail("unbalanced quotes in request");
    position_ = end + 1;
    inline_ = true;
    return finish(inline_bytes_);
}

namespace {

/// What may stand between words is any white space; what ends a word is less, as in Redis.
bool ends_word(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

char escaped(char c) {
    switch (c) {
        case 'n': return '\n';
        case 'r': return '\r';
        case 't': return '\t';
        case 'b': return '\b';
        case 'a': return '\a';
        default: return c;
    }
}

/// Appends what stands between double quotes; `line` starts behind the opening one and ends behind the closing one.
bool take_double_quoted(std::string_view& line, std::string& out) {
    while (!line.empty() && line[0] != '"') {
        if (line.size() >= 4 && line[0] == '\\' && line[1] == 'x' && hex_digit(line[2]) >= 0 && hex_digit(line[3]) >= 0) {
            out += static_cast<char>(hex_digit(line[2]) * 16 + hex_digit(line[3]));
            line.remove_prefix(4);
        } else if (line.size() >= 2 && line[0] == '\\') {
            out += escaped(line[1]);
            line.remove_prefix(2);
        } else {
            out += line[0];
            line.remove_prefix(1);
        }
    }
    if (line.empty()) return false;
    line.remove_prefix(1);
    return line.empty() || is_space(line[0]);
}

bool take_single_quoted(std::string_view& line, std::string& out) {
    while (!line.empty() && line[0] != '\'') {
        if (line.size() >= 2 && line[0] == '\\' && line[1] == '\'') line.remove_prefix(1);
        out += line[0];
        line.remove_prefix(1);
    }
    if (line.empty()) return false;
    line.remove_prefix(1);
    return line.empty() || is_space(line[0]);
}

}  // namespace

/// Splits into words with Redis's quoting; false for quotes that are not closed or not followed by a space.
bool RespDecoder::split_inline(std::string_view line) {
    line = line.substr(0, line.find('\0'));  // a NUL byte ends the line; Redis would wait for more, for ever
    while (true) {
        while (!line.empty() && is_space(line[0])) line.remove_prefix(1);
        if (line.empty()) return true;
        const size_t start = inline_bytes_.size();
        bool closed = false;
        while (!closed && !line.empty() && !ends_word(line[0])) {
            const char c = line[0];
            line.remove_prefix(1);
            if (c != '"' && c != '\'') {
                inline_bytes_ += c;
                continue;
            }
            if (c == '"' ? !take_double_quoted(line, inline_bytes_) : !take_single_quoted(line, inline_bytes_)) return false;
            closed = true;
        }
        spans_.push_back({static_cast<uint32_t>(start), static_cast<uint32_t>(inline_bytes_.size() - start)});
    }
}

}  // namespace millrace::io_conn
