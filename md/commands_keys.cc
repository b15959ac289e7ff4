// Commands over keys of any type and over whole databases. Runs in md; handlers only (see handlers.h).
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/text.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

#define MR_AFTER_A_SWITCH \
    "Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."
constexpr std::string_view kNoFrequency = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. " MR_AFTER_A_SWITCH;
constexpr std::string_view kLfuHasNoIdleTime = "ERR An LFU maxmemory policy is selected, idle time not tracked. " MR_AFTER_A_SWITCH;
constexpr std::string_view kNoIdleTime = "ERR An LRU maxmemory policy is not selected, idle time not tracked. " MR_AFTER_A_SWITCH;
#undef MR_AFTER_A_SWITCH

constexpr std::string_view kBadDatabase = "ERR DB index is out of range";
constexpr std::string_view kNoInt32 = "ERR value is out of range, value must between -2147483648 and 2147483647";
constexpr std::string_view kTooManyToClear = "ERR a transaction cannot clear a database with more than 100000 keys; send FLUSHDB or FLUSHALL outside of MULTI";
constexpr std::string_view kSameObject = "ERR source and destination objects are the same";

/// The number of a database that a word names; empty after an error reply.
std::optional<unsigned> parse_database(Plan& plan, std::string_view word) {
    int64_t number;
    if (!parse_integer(word, number)) return plan.reply().error(error_text::kNotAnInteger), std::nullopt;
    if (number < INT32_MIN || number > INT32_MAX) return plan.reply().error(kNoInt32), std::nullopt;
    if (number >= 0 && number < plan.databases()) return static_cast<unsigned>(number);
    plan.reply().error(kBadDatabase);
    return std::nullopt;
}

/// DEL and UNLINK: what is removed is freed in slices by both.
void remove(Plan& plan, Arguments arguments) {
    int64_t removed = 0;
    for (const std::string_view key : arguments) {
        if (!plan.find(key)) continue;
        plan.erase(key);
        ++removed;
    }
    plan.reply().integer(removed);
}

/// False after an error reply.
bool parse_flush_mode(Plan& plan, Arguments arguments) {
    const bool valid = arguments.empty() || (arguments.size() == 1 && (equals_ignoring_case(arguments[0], "ASYNC") ||
                                                                       equals_ignoring_case(arguments[0], "SYNC")));
    if (!valid) plan.reply().error(error_text::kSyntax);
    return valid;
}

bool is_over(const Value& value, int64_t now_ms) { return value.expire_at_ms != kNoExpiry && value.expire_at_ms <= now_ms; }

/// SCAN's cursor, as Redis reads it: all that strtoul() takes but spaces in front.
bool parse_cursor(std::string_view text, uint64_t& cursor) {
    const std::string terminated(text);
    char* end;
    errno = 0;
    cursor = std::strtoul(terminated.c_str(), &end, 10);
    return !std::isspace(static_cast<unsigned char>(terminated.c_str()[0])) && *end == '\0' && errno != ERANGE;
}

}  // namespace

void handle_del(Plan& plan, Arguments arguments) { remove(plan, arguments); }
void handle_unlink(Plan& plan, Arguments arguments) { remove(plan, arguments); }

void handle_touch(Plan& plan, Arguments arguments) {
    int64_t found = 0;
    for (const std::string_view key : arguments) found += plan.read(key).has_value();
    plan.reply().integer(found);
}

void handle_exists(Plan& plan, Arguments arguments) {
    int64_t found = 0;
    for (const std::string_view key : arguments) found += plan.inspect(key).has_value();
    plan.reply().integer(found);
}

void handle_type(Plan& plan, Arguments arguments) { plan.reply().status(plan.inspect(arguments[0]) ? "string" : "none"); }

void handle_rename(Plan& plan, Arguments arguments) {
    const std::optional<Value> value = plan.find(arguments[0]);
    if (!value) return plan.reply().error(error_text::kNoSuchKey);
    plan.reply().ok();
    if (arguments[0] == arguments[1]) return;
    plan.set(arguments[1], plan.bytes(value), value->expire_at_ms);
    plan.erase(arguments[0]);
}

void handle_renamenx(Plan& plan, Arguments arguments) {
    const std::optional<Value> value = plan.find(arguments[0]);
    if (!value) return plan.reply().error(error_text::kNoSuchKey);
    if (arguments[0] == arguments[1] || plan.find(arguments[1])) return plan.reply().integer(0);
    plan.set(arguments[1], plan.bytes(value), value->expire_at_ms);
    plan.erase(arguments[0]);
    plan.reply().integer(1);
}

void handle_copy(Plan& plan, Arguments arguments) {
    unsigned database = plan.database();
    bool replace = false;
    for (size_t i = 2; i < arguments.size(); ++i) {
        if (equals_ignoring_case(arguments[i], "REPLACE")) {
            replace = true;
        } else if (equals_ignoring_case(arguments[i], "DB") && i + 1 < arguments.size()) {
            const auto wanted = parse_database(plan, arguments[++i]);
            if (!wanted) return;
            database = *wanted;
        } else {
            return plan.reply().error(error_text::kSyntax);
        }
    }
    if (database == plan.database() && arguments[0] == arguments[1]) return plan.reply().error(kSameObject);
    const std::optional<Value> value = plan.read(arguments[0]);
    const bool copies = value && (replace || !plan.find_in(database, arguments[1]));
    if (copies) plan.set_in(database, arguments[1], plan.bytes(value), value->expire_at_ms);
    plan.reply().integer(copies);
}

void handle_move(Plan& plan, Arguments arguments) {
    const auto database = parse_database(plan, arguments[1]);
    if (!database) return;
    if (*database == plan.database()) return plan.reply().error(kSameObject);
    const std::optional<Value> value = plan.find(arguments[0]);
    const bool moves = value && !plan.find_in(*database, arguments[0]);
    if (moves) {
        plan.set_in(*database, arguments[0], plan.bytes(value), value->expire_at_ms);
        plan.erase(arguments[0]);
    }
    plan.reply().integer(moves);
}

void handle_swapdb(Plan& plan, Arguments arguments) {
    constexpr std::string_view kInvalid[] = {"ERR invalid first DB index", "ERR invalid second DB index"};
    unsigned databases[2];
    int64_t numbers[2];
    for (unsigned i = 0; i < 2; ++i)
        if (!parse_integer(arguments[i], numbers[i]) || numbers[i] < INT32_MIN || numbers[i] > INT32_MAX) return plan.reply().error(kInvalid[i]);
    for (unsigned i = 0; i < 2; ++i) {
        if (numbers[i] < 0 || numbers[i] >= plan.databases()) return plan.reply().error(kBadDatabase);
        databases[i] = static_cast<unsigned>(numbers[i]);
    }
    if (plan.in_transaction()) return plan.reply().error("ERR SWAPDB is not possible inside MULTI in this version");
    plan.swap_databases(databases[0], databases[1]);
    plan.reply().ok();
}

void handle_keys(Plan& plan, Arguments arguments) {
    std::vector<std::string> found;
    uint64_t position = 0;
    do {
        position = plan.walk_keys(position, ~uint64_t{0}, [&](std::string key, const Value& value) {
            if (!is_over(value, plan.now_ms()) && glob_match(arguments[0], key, false)) found.push_back(std::move(key));
            plan.tick();
        });
    } while (position != 0);
    plan.reply().array(static_cast<uint32_t>(found.size()));
    for (const std::string& key : found) plan.reply().bulk(key);
}

void handle_randomkey(Plan& plan, Arguments) {
    std::vector<std::string> found;
    const auto take = [&](std::string key, const Value& value) {
        if (!is_over(value, plan.now_ms())) found.push_back(std::move(key));
    };
    // From somewhere to the end, and from there: any key that there is.
    uint64_t position = plan.random_position();
    for (unsigned pass = 0; pass < 2 && found.empty(); ++pass) {
        do position = plan.walk_keys(position, 1, take);
        while (position != 0 && found.empty());
    }
    if (found.empty()) return plan.reply().null();
    plan.reply().bulk(found[plan.random(found.size())]);
}

void handle_scan(Plan& plan, Arguments arguments) {
    constexpr int64_t kCountDefault = 10;
    uint64_t cursor;
    int64_t count = kCountDefault;
    std::string_view pattern = "*", type = "string";
    if (!parse_cursor(arguments[0], cursor)) return plan.reply().error("ERR invalid cursor");
    for (size_t i = 1; i < arguments.size(); i += 2) {
        if (i + 1 == arguments.size()) return plan.reply().error(error_text::kSyntax);
        if (equals_ignoring_case(arguments[i], "COUNT")) {
            if (!parse_integer(arguments[i + 1], count)) return plan.reply().error(error_text::kNotAnInteger);
            if (count < 1) return plan.reply().error(error_text::kSyntax);
        } else if (equals_ignoring_case(arguments[i], "MATCH")) {
            pattern = arguments[i + 1];
        } else if (equals_ignoring_case(arguments[i], "TYPE")) {
            type = arguments[i + 1];
        } else {
            return plan.reply().error(error_text::kSyntax);
        }
    }
    std::vector<std::string> found;
    const bool wanted = equals_ignoring_case(type, "string");
    cursor = plan.walk_keys(cursor, static_cast<uint64_t>(count), [&](std::string key, const Value& value) {
        if (wanted && !is_over(value, plan.now_ms()) && (pattern == "*" || glob_match(pattern, key, false))) found.push_back(std::move(key));
        plan.tick();
    });
    plan.reply().array(2);
    plan.reply().bulk(std::to_string(cursor));
    plan.reply().array(static_cast<uint32_t>(found.size()));
    for (const std::string& key : found) plan.reply().bulk(key);
}

std::string_view encoding_of(const Value& value) {
    constexpr size_t kIntegerBytesMax = 20, kEmbeddedBytesMax = 44;
    char buffer[kIntegerBytesMax];
    int64_t number;
    if (value.length() <= kIntegerBytesMax && parse_integer(value.copy_short(buffer, sizeof buffer), number)) return "int";
    return value.length() <= kEmbeddedBytesMax ? "embstr" : "raw";
}

void handle_object_encoding(Plan& plan, Arguments arguments) {
    const std::optional<Value> value = plan.inspect(arguments[1]);
    if (value) plan.reply().bulk(encoding_of(*value));
    else plan.reply().null();
}

/// No value is shared here.
void handle_object_refcount(Plan& plan, Arguments arguments) {
    if (plan.inspect(arguments[1])) plan.reply().integer(1);
    else plan.reply().null();
}

void handle_object_freq(Plan& plan, Arguments arguments) {
    const std::string_view key = arguments[1];
    if (!plan.inspect(key)) return plan.reply().null();
    if (marks_of(plan.policy()) != MarkKind::lfu) return plan.reply().error(kNoFrequency);
    const std::optional<uint32_t> mark = plan.mark_of(key);
    const Marks& marks = plan.marks();
    plan.reply().integer(mark && marks.kept() == MarkKind::lfu ? marks.rules().frequency(*mark, marks.now()) : MarkRules::kLfuFirst);
}

void handle_object_idletime(Plan& plan, Arguments arguments) {
    const std::string_view key = arguments[1];
    if (!plan.inspect(key)) return plan.reply().null();
    if (marks_of(plan.policy()) == MarkKind::lfu) return plan.reply().error(kLfuHasNoIdleTime);
    if (marks_of(plan.policy()) == MarkKind::none) return plan.reply().error(kNoIdleTime);
    plan.reply().integer(static_cast<int64_t>(idle_seconds(plan, key)));
}

uint64_t idle_seconds(Plan& plan, std::string_view key) {
    const std::optional<uint32_t> mark = plan.mark_of(key);
    const Marks& marks = plan.marks();
    // Marks that are not ready yet begin now.
    return mark && marks.kept() == MarkKind::lru ? marks.rules().idle(*mark, marks.now()) / MarkRules::kTicksPerSecond : 0;
}

void handle_dbsize(Plan& plan, Arguments) { plan.reply().integer(static_cast<int64_t>(plan.key_count())); }

// Out of reach at once, freed in slices: ASYNC and SYNC are the same here.
void handle_flushall(Plan& plan, Arguments arguments) {
    if (!parse_flush_mode(plan, arguments)) return;
    if (plan.clear_all()) plan.reply().ok();
    else plan.reply().error(kTooManyToClear);
}

void handle_flushdb(Plan& plan, Arguments arguments) {
    if (!parse_flush_mode(plan, arguments)) return;
    if (plan.clear()) plan.reply().ok();
    else plan.reply().error(kTooManyToClear);
}

}  // namespace millrace::md
