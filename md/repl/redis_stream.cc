// See redis_stream.h. Runs in md_repl.
#include "md/repl/redis_stream.h"

#include <algorithm>
#include <charconv>

namespace millrace::md_repl {

namespace {

constexpr size_t kDigitsMax = 10;
constexpr std::string_view kLineEnd = "\r\n";
constexpr size_t kWordsMax = 64ull * 1024 * 1024;

}  // namespace

void RedisStream::drop() {
    found_.clear();
    words_.clear();
    at_ = left_ = needed_ = 0;
    counted_ = false;
}

/// A line at at_: its kind and digits. Goes behind it if it is whole.
RedisStream::Outcome RedisStream::take_number(std::string_view bytes, char kind, size_t most, size_t& number) {
    const std::string_view line = bytes.substr(at_, 1 + kDigitsMax + kLineEnd.size());
    if (!line.empty() && line[0] != kind) return Outcome::bad;
    const size_t digits = line.substr(std::min<size_t>(1, line.size())).find_first_not_of("0123456789");
    if (digits == std::string_view::npos) {
        needed_ = bytes.size() + 1;
        return line.size() > 1 + kDigitsMax ? Outcome::bad : Outcome::incomplete;
    }
    const std::string_view end = line.substr(1 + digits, kLineEnd.size());
    if (digits == 0 || digits > kDigitsMax || (digits > 1 && line[1] == '0') || end != kLineEnd.substr(0, end.size())) return Outcome::bad;
    if (end.size() < kLineEnd.size()) {
        needed_ = bytes.size() + 1;
        return Outcome::incomplete;
    }
    std::from_chars(line.data() + 1, line.data() + 1 + digits, number);
    if (number > most) return Outcome::bad;
    at_ += 1 + digits + kLineEnd.size();
    return Outcome::command;
}

RedisStream::Outcome RedisStream::next(std::string_view bytes) {
    const auto ends = [this](Outcome outcome) {
        bad_ = outcome == Outcome::bad;
        return outcome;
    };
    if (bad_) return Outcome::bad;
    if (!counted_) {
        if (const Outcome outcome = take_number(bytes, '*', kWordsMax, left_); outcome != Outcome::command) return ends(outcome);
        if (left_ == 0) return ends(Outcome::bad);
        counted_ = true;
    }
    while (left_ > 0) {
        const size_t line_at = at_;
        size_t length = 0;
        if (const Outcome outcome = take_number(bytes, '$', kWordBytesMax, length); outcome != Outcome::command) return ends(outcome);
        const size_t end = at_ + length + kLineEnd.size();
        if (end > kCommandBytesMax) return ends(Outcome::bad);
        if (end > bytes.size()) {
            at_ = line_at;
            needed_ = end;
            return Outcome::incomplete;
        }
        if (bytes.substr(at_ + length, kLineEnd.size()) != kLineEnd) return ends(Outcome::bad);
        found_.push_back({at_, length});
        at_ = end;
        --left_;
    }
    words_.clear();
    for (const Word word : found_) words_.push_back(bytes.substr(word.at, word.length));
    return Outcome::command;
}

}  // namespace millrace::md_repl
