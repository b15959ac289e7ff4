// See replay.h. Runs in millrace-convert.
#include "tools/convert/replay.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "common/text.h"

namespace millrace::convert {

namespace {

constexpr int64_t kNoExpiry = -1;

std::string upper(std::string text) {
    for (char& c : text)
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    return text;
}

bool is(const std::string& word, std::string_view name) { return equals_ignoring_case(word, name); }

}  // namespace

/// A command that is not known here and gives the key at this word a new value; `string`: which is a string, or that it changes one.
struct Replay::Skipped {
    std::string_view name;
    size_t replaces;  ///< 0: it does not
    bool string;

    static const Skipped* find(std::string_view name) {
        static constexpr Skipped kAll[] = {
            {"SINTERSTORE", 1, false}, {"SUNIONSTORE", 1, false}, {"SDIFFSTORE", 1, false},     {"ZINTERSTORE", 1, false}, {"ZUNIONSTORE", 1, false}, {"ZDIFFSTORE", 1, false},
            {"ZRANGESTORE", 1, false}, {"GEOSEARCHSTORE", 1, false}, {"RESTORE", 1, true},      {"BITOP", 2, true},        {"PFMERGE", 0, true},      {"PFADD", 0, true},
            {"BITFIELD", 0, true},
        };
        const auto row = std::find_if(std::begin(kAll), std::end(kAll), [&](const Skipped& each) { return each.name == name; });
        return row == std::end(kAll) ? nullptr : row;
    }
};

const Replay::Row* Replay::row_of(const std::string& name) {
    static const std::unordered_map<std::string, Row> kRows = {
        {"SET", {3, &Replay::set}},           {"SETEX", {4, &Replay::setex}},         {"PSETEX", {4, &Replay::psetex}},     {"SETNX", {3, &Replay::setnx}},
        {"MSET", {3, &Replay::mset}},         {"MSETNX", {3, &Replay::msetnx}},       {"GETSET", {3, &Replay::getset}},     {"GETDEL", {2, &Replay::del}},
        {"DEL", {2, &Replay::del}},           {"UNLINK", {2, &Replay::del}},          {"GETEX", {2, &Replay::getex}},       {"EXPIRE", {3, &Replay::expire}},
        {"PEXPIRE", {3, &Replay::pexpire}},   {"EXPIREAT", {3, &Replay::expireat}},   {"PEXPIREAT", {3, &Replay::pexpireat}}, {"PERSIST", {2, &Replay::persist}},
        {"APPEND", {3, &Replay::append}},     {"INCR", {2, &Replay::incr}},           {"DECR", {2, &Replay::decr}},         {"INCRBY", {3, &Replay::incrby}},
        {"DECRBY", {3, &Replay::decrby}},     {"INCRBYFLOAT", {3, &Replay::incrbyfloat}}, {"SETRANGE", {4, &Replay::setrange}}, {"SETBIT", {4, &Replay::setbit}},
        {"RENAME", {3, &Replay::rename}},     {"RENAMENX", {3, &Replay::renamenx}},   {"COPY", {3, &Replay::copy}},         {"MOVE", {3, &Replay::move}},
        {"FLUSHDB", {1, &Replay::flushdb}},   {"FLUSHALL", {1, &Replay::flushall}},   {"SWAPDB", {3, &Replay::swapdb}},     {"SELECT", {2, &Replay::select}},
    };
    const auto found = kRows.find(name);
    return found == kRows.end() ? nullptr : &found->second;
}

void Replay::execute(Words& words) {
    const std::string name = upper(words[0]);
    const Row* const row = row_of(name);
    if (row == nullptr) return skip(name, words);
    if (words.size() >= row->words_min && (this->*row->handler)(words)) ++tally_.commands;
    else ++tally_.refused;
}

void Replay::skip(const std::string& name, const Words& words) {
    ++tally_.skipped[name];
    const Skipped* const row = Skipped::find(name);
    if (row != nullptr && row->string) ++tally_.stale;
    if (row != nullptr && row->replaces != 0 && row->replaces < words.size()) keys().erase(words[row->replaces]);
    if (name != "SORT") return;
    for (size_t i = 2; i + 1 < words.size(); ++i)
        if (is(words[i], "STORE")) keys().erase(words[i + 1]);
}

Replay::Entry* Replay::find(const std::string& key) {
    const auto found = keys().find(key);
    return found == keys().end() ? nullptr : &found->second;
}

// --- times ----------------------------------------------------------------------------------------------------------

bool Replay::time_of(const std::string& text, int64_t unit_ms, bool relative, int64_t& at_ms) const {
    if (!parse_integer(text, at_ms) || __builtin_mul_overflow(at_ms, unit_ms, &at_ms) || __builtin_add_overflow(at_ms, relative ? now_ms_ : 0, &at_ms)) return false;
    at_ms = std::max<int64_t>(at_ms, 0);  // it is over all the same
    return true;
}

/// Takes EX, PX, EXAT or PXAT at word `i`, and leaves `i` at its argument. False: there is none, or its argument is wrong.
bool Replay::expiry_option(const Words& words, size_t& i, int64_t& at_ms) const {
    struct Kind {
        std::string_view name;
        int64_t unit_ms;
        bool relative;
    };
    for (const Kind& kind : {Kind{"EX", 1000, true}, Kind{"PX", 1, true}, Kind{"EXAT", 1000, false}, Kind{"PXAT", 1, false}})
        if (is(words[i], kind.name)) return ++i < words.size() && time_of(words[i], kind.unit_ms, kind.relative, at_ms);
    return false;
}

bool Replay::expire(Words& words, int64_t unit_ms, bool relative) {
    int64_t at_ms;
    Entry* const entry = find(words[1]);
    if (!time_of(words[2], unit_ms, relative, at_ms)) return false;
    if (entry == nullptr) return true;
    const int64_t before = entry->expire_at_ms;
    bool holds = true;
    for (size_t i = 3; i < words.size(); ++i) {
        if (is(words[i], "NX")) holds = holds && before == kNoExpiry;
        else if (is(words[i], "XX")) holds = holds && before != kNoExpiry;
        else if (is(words[i], "GT")) holds = holds && before != kNoExpiry && at_ms > before;
        else if (is(words[i], "LT")) holds = holds && (before == kNoExpiry || at_ms < before);
        else return false;
    }
    if (holds) entry->expire_at_ms = at_ms;
    return true;
}

bool Replay::persist(Words& words) {
    if (Entry* const entry = find(words[1])) entry->expire_at_ms = kNoExpiry;
    return true;
}

// --- values ---------------------------------------------------------------------------------------------------------

bool Replay::set(Words& words) {
    int64_t at_ms = kNoExpiry;
    bool keep_expiry = false, if_absent = false, if_present = false;
    for (size_t i = 3; i < words.size(); ++i) {
        if (is(words[i], "NX")) if_absent = true;
        else if (is(words[i], "XX")) if_present = true;
        else if (is(words[i], "KEEPTTL")) keep_expiry = true;
        else if (!is(words[i], "GET") && !expiry_option(words, i, at_ms)) return false;
    }
    const Entry* const old = find(words[1]);
    if ((if_absent && old != nullptr) || (if_present && old == nullptr)) return true;
    if (keep_expiry && old != nullptr) at_ms = old->expire_at_ms;
    put(words[1], std::move(words[2]), at_ms);
    return true;
}

bool Replay::set_with_expiry(Words& words, int64_t unit_ms) {
    int64_t at_ms;
    if (!time_of(words[2], unit_ms, true, at_ms)) return false;
    put(words[1], std::move(words[3]), at_ms);
    return true;
}

bool Replay::setnx(Words& words) {
    if (find(words[1]) == nullptr) put(words[1], std::move(words[2]), kNoExpiry);
    return true;
}

bool Replay::getset(Words& words) {
    put(words[1], std::move(words[2]), kNoExpiry);
    return true;
}

bool Replay::mset(Words& words) {
    if (words.size() % 2 == 0) return false;
    for (size_t i = 1; i < words.size(); i += 2) put(words[i], std::move(words[i + 1]), kNoExpiry);
    return true;
}

bool Replay::msetnx(Words& words) {
    for (size_t i = 1; i < words.size(); i += 2)
        if (find(words[i]) != nullptr) return true;
    return mset(words);
}

bool Replay::del(Words& words) {
    for (size_t i = 1; i < words.size(); ++i) keys().erase(words[i]);
    return true;
}

bool Replay::getex(Words& words) {
    Entry* const entry = find(words[1]);
    int64_t at_ms = kNoExpiry;
    if (words.size() == 2) return true;
    size_t i = 2;
    if (!is(words[i], "PERSIST") && !expiry_option(words, i, at_ms)) return false;
    if (entry != nullptr) entry->expire_at_ms = at_ms;
    return true;
}

/// Writes bytes into a value, which grows where they end behind it, with zeros between.
bool Replay::overwrite(const std::string& key, uint64_t offset, std::string_view bytes) {
    if (offset > kEffectBytesMax || offset + bytes.size() > kEffectBytesMax) return false;
    if (bytes.empty()) return true;
    std::string& value = keys().try_emplace(key).first->second.value;
    value.resize(std::max<uint64_t>(value.size(), offset + bytes.size()));
    value.replace(offset, bytes.size(), bytes);
    return true;
}

bool Replay::append(Words& words) {
    const Entry* const entry = find(words[1]);
    if (entry == nullptr) return getset(words);  // also where nothing is appended
    return overwrite(words[1], entry->value.size(), words[2]);
}

bool Replay::setrange(Words& words) {
    int64_t offset;
    return parse_integer(words[2], offset) && offset >= 0 && overwrite(words[1], static_cast<uint64_t>(offset), words[3]);
}

bool Replay::setbit(Words& words) {
    int64_t bit;
    if (!parse_integer(words[2], bit) || bit < 0 || (words[3] != "0" && words[3] != "1")) return false;
    const auto at = static_cast<uint64_t>(bit) / 8;
    const Entry* const entry = find(words[1]);
    const auto mask = static_cast<uint8_t>(0x80 >> bit % 8);
    auto byte = static_cast<uint8_t>(entry != nullptr && at < entry->value.size() ? entry->value[at] : 0);
    byte = static_cast<uint8_t>(words[3] == "1" ? byte | mask : byte & ~mask);
    return overwrite(words[1], at, std::string(1, static_cast<char>(byte)));
}

bool Replay::add(const std::string& key, int64_t amount) {
    Entry* const entry = find(key);
    int64_t number = 0;
    if ((entry != nullptr && !parse_integer(entry->value, number)) || __builtin_add_overflow(number, amount, &number)) return false;
    if (entry != nullptr) entry->value = std::to_string(number);
    else put(key, std::to_string(number), kNoExpiry);
    return true;
}

bool Replay::incrby(Words& words) {
    int64_t amount;
    return parse_integer(words[2], amount) && add(words[1], amount);
}

bool Replay::decrby(Words& words) {
    int64_t amount;
    return parse_integer(words[2], amount) && amount != INT64_MIN && add(words[1], -amount);
}

bool Replay::incrbyfloat(Words& words) {
    Entry* const entry = find(words[1]);
    long double number = 0, amount;
    if ((entry != nullptr && !parse_float(entry->value, number)) || !parse_float(words[2], amount)) return false;
    number += amount;
    if (!std::isfinite(number)) return false;
    if (entry != nullptr) entry->value = float_text(number);
    else put(words[1], float_text(number), kNoExpiry);
    return true;
}

// --- keys and databases ---------------------------------------------------------------------------------------------

bool Replay::rename(Words& words) {
    if (words[1] == words[2]) return true;
    auto node = keys().extract(words[1]);
    keys().erase(words[2]);
    if (node.empty()) return true;
    node.key() = words[2];
    keys().insert(std::move(node));
    return true;
}

bool Replay::renamenx(Words& words) { return find(words[2]) != nullptr || rename(words); }

bool Replay::copy(Words& words) {
    size_t to = database_;
    bool replace = false;
    for (size_t i = 3; i < words.size(); ++i) {
        if (is(words[i], "REPLACE")) replace = true;
        else if (!is(words[i], "DB") || ++i == words.size() || !database_of(words[i], to)) return false;
    }
    Database& target = image_.databases()[to];
    const Entry* const source = find(words[1]);
    if (!replace && target.contains(words[2])) return true;
    if (source == nullptr) target.erase(words[2]);
    else if (&target != &keys() || words[1] != words[2]) target[words[2]] = Entry(*source);
    return true;
}

bool Replay::move(Words& words) {
    size_t to;
    if (!database_of(words[2], to) || to == database_) return false;
    Database& target = image_.databases()[to];
    if (!target.contains(words[1])) target.insert(keys().extract(words[1]));
    return true;
}

bool Replay::flushdb(Words&) {
    keys().clear();
    return true;
}

bool Replay::flushall(Words&) {
    for (Database& database : image_.databases()) database.clear();
    return true;
}

bool Replay::swapdb(Words& words) {
    size_t one, other;
    if (!database_of(words[1], one) || !database_of(words[2], other)) return false;
    image_.databases()[one].swap(image_.databases()[other]);
    return true;
}

bool Replay::select(Words& words) { return database_of(words[1], database_); }

bool Replay::database_of(const std::string& word, size_t& number) {
    int64_t named;
    if (!parse_integer(word, named) || named < 0) return false;
    if (static_cast<uint64_t>(named) >= kEffectDatabases) return beyond_databases_ = true, false;
    number = static_cast<size_t>(named);
    return true;
}

}  // namespace millrace::convert
