// The state machine behind reply_parser.h: lines, payloads and the line end after a payload. A reply is a
// count of values still to come, so nested arrays need no stack.
#include "tools/bench/reply_parser.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace millrace::bench {

namespace {

bool parse_number(std::string_view text, int64_t& number) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    return code == std::errc{} && end == text.data() + text.size();
}

}  // namespace

void ReplyParser::reset() {
    *this = ReplyParser(protocol_);
}

Parsed ReplyParser::next(const char*& at, const char* end, Reply& reply, PayloadCheck* check) {
    for (;;) {
        Step step = Step::kContinue;
        if (state_ == State::kLine) {
            std::string_view line;
            if (!take_line(at, end, line)) return Parsed::kNeedMore;
            step = on_line(line, check);
            line_.clear();
        } else if (state_ == State::kPayload) {
            if (!skip_payload(at, end, check)) return Parsed::kNeedMore;
            state_ = State::kPayloadEnd;
        } else {
            std::string_view line;
            if (!take_line(at, end, line)) return Parsed::kNeedMore;
            const bool is_empty = line.empty();
            line_.clear();
            state_ = State::kLine;
            if (!is_empty) return Parsed::kBad;
            step = protocol_ == Protocol::kMemcached ? Step::kContinue
                                                     : finish_value(kReplyBulk, payload_length_);
        }
        if (step == Step::kBad) return Parsed::kBad;
        if (step == Step::kDone) {
            reply = reply_;
            return Parsed::kReply;
        }
    }
}

// One line without its CRLF: a view into the input where it arrived whole, into line_ where it came in
// pieces.
bool ReplyParser::take_line(const char*& at, const char* end, std::string_view& line) {
    const auto available = static_cast<size_t>(end - at);
    const char* newline = static_cast<const char*>(available ? std::memchr(at, '\n', available) : nullptr);
    const char* stop = newline ? newline : end;
    line = std::string_view(at, static_cast<size_t>(stop - at));
    if (!newline || !line_.empty()) {
        line_.append(line.substr(0, std::min(line.size(), kLineMax - line_.size())));
        line = line_;
    }
    at = newline ? newline + 1 : end;
    if (newline && line.ends_with('\r')) line.remove_suffix(1);
    return newline != nullptr;
}

bool ReplyParser::skip_payload(const char*& at, const char* end, PayloadCheck* check) {
    const auto size = static_cast<size_t>(std::min<int64_t>(end - at, payload_length_ - payload_done_));
    if (check && reply_.payload_matches) {
        reply_.payload_matches = check->matches(element_, payload_length_, payload_done_, {at, size});
    }
    payload_done_ += static_cast<int64_t>(size);
    at += size;
    return payload_done_ == payload_length_;
}

ReplyParser::Step ReplyParser::on_line(std::string_view line, PayloadCheck* check) {
    if (elements_left_ == 0) {
        reply_ = Reply{};
        element_ = 0;
        elements_left_ = 1;
    }
    return protocol_ == Protocol::kRedis ? on_resp_line(line, check) : on_memcached_line(line, check);
}

ReplyParser::Step ReplyParser::on_resp_line(std::string_view line, PayloadCheck* check) {
    if (line.empty()) return Step::kBad;
    const char type = line.front();
    line.remove_prefix(1);
    if (type == '+') return finish_value(kReplyStatus, 0);
    if (type == '-') return on_error(line);
    int64_t number = 0;
    if (!parse_number(line, number)) return Step::kBad;
    if (type == ':') return finish_value(kReplyInteger, number);
    if (type == '$') return on_bulk(number, check);
    if (type == '*') return on_array(number);
    return Step::kBad;
}

ReplyParser::Step ReplyParser::on_memcached_line(std::string_view line, PayloadCheck* check) {
    if (line == "END") {
        const bool found = memcached_value_seen_;
        memcached_value_seen_ = false;
        return finish_value(found ? kReplyBulk : kReplyNil, payload_length_);
    }
    if (line.starts_with("VALUE ") && !memcached_value_seen_) {
        memcached_value_seen_ = true;
        int64_t length = 0;
        return parse_number(line.substr(line.rfind(' ') + 1), length) && length >= 0 ? on_bulk(length, check)
                                                                                     : Step::kBad;
    }
    if (line == "STORED") return finish_value(kReplyStatus, 0);
    if (line == "ERROR" || line.starts_with("CLIENT_ERROR") || line.starts_with("SERVER_ERROR"))
        return on_error(line);
    return Step::kBad;
}

ReplyParser::Step ReplyParser::on_array(int64_t elements) {
    if (elements < -1 || elements > kElementsMax) return Step::kBad;
    if (elements == -1) return finish_value(kReplyNil, 0);
    if (elements == 0) return finish_value(kReplyArray, 0);
    if (element_ == 0 && elements_left_ == 1) {
        reply_.kind = kReplyArray;
        reply_.number = elements;
    }
    elements_left_ += elements - 1;
    return elements_left_ > kElementsMax ? Step::kBad : Step::kContinue;
}

ReplyParser::Step ReplyParser::on_bulk(int64_t length, PayloadCheck* check) {
    if (length == -1) return finish_value(kReplyNil, 0);
    if (length < 0 || length > kLengthMax) return Step::kBad;
    payload_length_ = length;
    payload_done_ = 0;
    state_ = State::kPayload;
    if (check && reply_.payload_matches) reply_.payload_matches = check->matches(element_, length, 0, {});
    return Step::kContinue;
}

ReplyParser::Step ReplyParser::on_error(std::string_view text) {
    if (reply_.kind != kReplyError) error_text_.assign(text.substr(0, kErrorTextMax));
    reply_.kind = kReplyError;
    reply_.text = error_text_;
    return finish_value(kReplyError, 0);
}

ReplyParser::Step ReplyParser::finish_value(ReplyKind kind, int64_t number) {
    if (kind == kReplyNil) ++reply_.nils;
    const bool is_whole_reply = element_ == 0 && elements_left_ == 1 && reply_.kind != kReplyArray;
    if (is_whole_reply && reply_.kind != kReplyError) {
        reply_.kind = kind;
        reply_.number = number;
    }
    ++element_;
    return --elements_left_ == 0 ? Step::kDone : Step::kContinue;
}

}  // namespace millrace::bench
