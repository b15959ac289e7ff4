// See rdb_reader.h.
//
// What is only stepped over is described by a shape, one character for each part:
//   s  a string           l  a length           d  a number as text: a byte for its length, or more than 252 for what is no number
//   1 4 8  so many bytes  i  16 bytes, the id of an entry of a stream
//   *(...)  a length, and so many times what is in the brackets
//   m  values of a module, each with a length that says which kind it is, up to a 0
#include "common/redis/rdb_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "common/effects.h"

namespace millrace::redis {

namespace {

constexpr uint8_t kTypeString = 0;
constexpr unsigned kVersionWithChecksum = 5;

enum Opcode : uint8_t { function = 245, module_aux = 247, idle = 248, freq = 249, aux = 250, resize_db = 251, expire_ms = 252, expire_s = 253, select_db = 254, eof = 255 };

struct Type {
    uint8_t type;
    const char* name;  ///< of one | of more than one
    std::string_view shape;
};
constexpr Type kTypes[] = {
    {1, "list|lists", "*(s)"},
    {2, "set|sets", "*(s)"},
    {3, "sorted set|sorted sets", "*(sd)"},
    {4, "hash|hashes", "*(ss)"},
    {5, "sorted set|sorted sets", "*(s8)"},
    {7, "value of a module|values of modules", "lm"},
    {9, "hash|hashes", "s"},
    {10, "list|lists", "s"},
    {11, "set|sets", "s"},
    {12, "sorted set|sorted sets", "s"},
    {13, "hash|hashes", "s"},
    {14, "list|lists", "*(s)"},
    {15, "stream|streams", "*(ss)lll*(sll*(i8l)*(s8*(i)))"},
    {16, "hash|hashes", "s"},
    {17, "sorted set|sorted sets", "s"},
    {18, "list|lists", "*(ls)"},
    {19, "stream|streams", "*(ss)llllllll*(slll*(i8l)*(s8*(i)))"},
    {20, "set|sets", "s"},
    {21, "stream|streams", "*(ss)llllllll*(slll*(i8l)*(s88*(i)))"},
};

/// What stands between values. `name`: what it is counted as, if its loss matters.
struct Remark {
    uint8_t opcode;
    const char* name;
    std::string_view shape;
};
constexpr Remark kRemarks[] = {
    {function, "library of functions|libraries of functions", "s"},
    {module_aux, "part of a module's own data|parts of modules' own data", "lm"},
    {idle, nullptr, "l"},
    {freq, nullptr, "1"},
    {resize_db, nullptr, "ll"},
};

/// Length of the group that `shape` begins with, brackets included.
size_t group_length(std::string_view shape) {
    size_t at = 0, depth = 0;
    do {
        if (shape[at] == '(') ++depth;
        if (shape[at] == ')') --depth;
        ++at;
    } while (depth > 0);
    return at;
}

}  // namespace

void RdbReader::need(bool had) const {
    if (!had) in_.fail(element_at_, in_.ended() ? "the file ends inside of what begins here" : "what begins here is damaged, or the file is cut short");
}

bool RdbReader::step() {
    if (version_ == 0) read_header();
    if (read_element()) return true;
    check_end();
    return false;
}

void RdbReader::read_header() {
    std::string_view bytes;
    element_at_ = in_.offset();
    need(in_.take(kRdbMagic.size() + 4, bytes));
    const std::string_view digits = bytes.substr(kRdbMagic.size());
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), version_);
    if (!bytes.starts_with(kRdbMagic) || error != std::errc() || end != digits.data() + digits.size() || version_ == 0) in_.fail(element_at_, "it does not begin as an RDB does");
    if (version_ > kRdbVersionMax)
        in_.fail(element_at_, fmt::format("it is an RDB of version {}, and up to {} (Redis 7.2) can be read: let an older Redis write it", version_, kRdbVersionMax));
}

/// False at the end.
bool RdbReader::read_element() {
    uint8_t what = 0;
    element_at_ = in_.offset();
    need(in_.take_byte(what));
    switch (what) {
        case eof: return false;
        case select_db: need(in_.take_length(database_)); break;
        case expire_ms: read_expiry(true); break;
        case expire_s: read_expiry(false); break;
        case aux: read_fact(); break;
        default:
            if (what >= function) pass_over(what);
            else read_value(what);
    }
    return true;
}

void RdbReader::read_expiry(bool in_ms) {
    std::string_view bytes;
    need(in_.take(in_ms ? 8 : 4, bytes));
    uint32_t seconds;
    if (in_ms) {
        std::memcpy(&expire_at_ms_, bytes.data(), sizeof expire_at_ms_);
    } else {
        std::memcpy(&seconds, bytes.data(), sizeof seconds);
        expire_at_ms_ = int64_t{seconds} * 1000;
    }
    expire_at_ms_ = std::max<int64_t>(expire_at_ms_, 0);  // a negative one is over, too, and -1 says "none" here
}

void RdbReader::read_value(uint8_t type) {
    if (type == kTypeString) {
        read_string();
    } else {
        const auto row = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Type& each) { return each.type == type; });
        if (row == std::end(kTypes)) in_.fail(element_at_, fmt::format("there is no type {} of values", type));
        need(in_.take_string(kEffectBytesMax, key_));
        sinks_.other(row->name, database_, key_);
        step_over(row->shape);
    }
    expire_at_ms_ = -1;
}

void RdbReader::read_string() {
    RdbString item{static_cast<uint8_t>(database_), {}, {}, expire_at_ms_};
    if (database_ >= kEffectDatabases)
        in_.fail(element_at_, fmt::format("there is a key in database {}, and there are {} databases here (0 to {})", database_, kEffectDatabases, kEffectDatabases - 1));
    need(in_.take_string(kEffectBytesMax, item.key));
    need(in_.take_string(kEffectBytesMax, item.value));
    sinks_.string(std::move(item));
}

void RdbReader::pass_over(uint8_t what) {
    const auto row = std::find_if(std::begin(kRemarks), std::end(kRemarks), [&](const Remark& each) { return each.opcode == what; });
    if (row == std::end(kRemarks)) in_.fail(element_at_, fmt::format("nothing begins with a byte of {} in an RDB of this version", what));
    if (row->name != nullptr) sinks_.other(row->name, database_, {});
    step_over(row->shape);
}

void RdbReader::read_fact() {
    if (!sinks_.fact) return step_over("ss");
    std::string value;
    need(in_.take_string(kEffectBytesMax, key_) && in_.take_string(kEffectBytesMax, value));
    sinks_.fact(key_, value);
}

void RdbReader::check_end() {
    if (version_ < kVersionWithChecksum) return;
    const uint64_t made = in_.crc();
    uint64_t written;
    std::string_view bytes;
    need(in_.take(sizeof written, bytes));
    std::memcpy(&written, bytes.data(), sizeof written);
    if (written != 0 && written != made) in_.fail(element_at_, "the checksum of the RDB is wrong: it is damaged");
}

void RdbReader::step_over(std::string_view shape) {
    uint8_t digits = 0;
    uint64_t length;
    while (!shape.empty()) {
        const char part = shape.front();
        shape.remove_prefix(1);
        switch (part) {
            case 's': need(in_.skip_string()); break;
            case 'l': need(in_.take_length(length)); break;
            case '1': need(in_.skip(1)); break;
            case '4': need(in_.skip(4)); break;
            case '8': need(in_.skip(8)); break;
            case 'i': need(in_.skip(16)); break;
            case 'd': need(in_.take_byte(digits) && (digits > 252 || in_.skip(digits))); break;
            case 'm': step_over_module(); break;
            default:  // '*'
                repeat(shape.substr(0, group_length(shape)));
                shape.remove_prefix(group_length(shape));
        }
    }
}

/// A length, and the group so many times.
void RdbReader::repeat(std::string_view group) {
    uint64_t count = 0;
    need(in_.take_length(count));
    group = group.substr(1, group.size() - 2);
    while (count-- > 0) step_over(group);  // each takes a byte at least, so the file's end ends it
}

void RdbReader::step_over_module() {
    static constexpr std::string_view kShapes[] = {"", "l", "l", "4", "8", "s"};  // whole numbers, of 4 and 8 bytes with a point, strings
    for (uint64_t kind = 0;;) {
        need(in_.take_length(kind));
        if (kind == 0) return;
        if (kind >= std::size(kShapes)) in_.fail(element_at_, "the data of a module has a part of unknown kind");
        step_over(kShapes[kind]);
    }
}

}  // namespace millrace::redis
