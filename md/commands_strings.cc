// String commands, as Redis 7.0 answers them. Runs in md; handlers only (see handlers.h).
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "common/byte_range.h"
#include "common/text.h"
#include "md/expiry_time.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

/// Longest text of a 64-bit integer, and a little more, bytes.
constexpr size_t kIntegerBytesMax = 24;
constexpr int64_t kInt64Min = std::numeric_limits<int64_t>::min();

/// What SET's options say.
struct SetOptions {
    bool only_if_absent = false;
    bool only_if_present = false;
    bool return_old = false;
    bool keep_expiry = false;
    ExpiryOption expiry;
};

bool parse_set_options(Arguments options, SetOptions& result) {
    for (size_t i = 0; i < options.size(); ++i) {
        const std::string_view word = options[i];
        if (equals_ignoring_case(word, "NX") && !result.only_if_present) result.only_if_absent = true;
        else if (equals_ignoring_case(word, "XX") && !result.only_if_absent) result.only_if_present = true;
        else if (equals_ignoring_case(word, "GET")) result.return_old = true;
        else if (equals_ignoring_case(word, "KEEPTTL") && !result.expiry.given()) result.keep_expiry = true;
        else if (result.keep_expiry || !result.expiry.take(options, i)) return false;
    }
    return true;
}

void reply_value_or_null(Plan& plan, const std::optional<Value>& value) {
    if (value) plan.reply().value(*value);
    else plan.reply().null();
}

/// INCR and its relatives: adds `amount` to the number that the key holds.
void add_to_number(Plan& plan, std::string_view key, int64_t amount) {
    const std::optional<Value> old = plan.find(key);
    int64_t number = 0;
    char stored[kIntegerBytesMax];
    if (old && !parse_integer(old->copy_short(stored, sizeof stored), number))
        return plan.reply().error(error_text::kNotAnInteger);
    if (__builtin_add_overflow(number, amount, &number))
        return plan.reply().error("ERR increment or decrement would overflow");
    char digits[kIntegerBytesMax];
    const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    plan.set(key, plan.keep({digits, static_cast<size_t>(end - digits)}), old ? old->expire_at_ms : kNoExpiry);
    plan.reply().integer(number);
}

}  // namespace

void handle_get(Plan& plan, Arguments arguments) { reply_value_or_null(plan, plan.read(arguments[0])); }

void handle_set(Plan& plan, Arguments arguments) {
    SetOptions options;
    if (!parse_set_options(arguments.subspan(2), options)) return plan.reply().error(error_text::kSyntax);
    int64_t expire_at_ms = kNoExpiry;
    if (options.expiry.given() && !options.expiry.resolve(plan, "set", expire_at_ms)) return;
    const bool needs_old = options.return_old || options.only_if_absent || options.only_if_present || options.keep_expiry;
    const std::optional<Value> old = needs_old ? plan.find(arguments[0]) : std::nullopt;
    const bool refused = (options.only_if_absent && old) || (options.only_if_present && !old);
    if (options.return_old) reply_value_or_null(plan, old);
    else if (refused) plan.reply().null();
    else plan.reply().ok();
    if (refused) return;
    if (options.keep_expiry && old) expire_at_ms = old->expire_at_ms;
    plan.set(arguments[0], arguments[1], expire_at_ms);
}

void handle_setnx(Plan& plan, Arguments arguments) {
    const bool absent = !plan.find(arguments[0]);
    if (absent) plan.set(arguments[0], arguments[1], kNoExpiry);
    plan.reply().integer(absent);
}

void handle_getset(Plan& plan, Arguments arguments) {
    reply_value_or_null(plan, plan.read(arguments[0]));
    plan.set(arguments[0], arguments[1], kNoExpiry);
}

void handle_getdel(Plan& plan, Arguments arguments) {
    const std::optional<Value> old = plan.read(arguments[0]);
    reply_value_or_null(plan, old);
    if (old) plan.erase(arguments[0]);
}

void handle_mget(Plan& plan, Arguments arguments) {
    plan.reply().array(static_cast<uint32_t>(arguments.size()));
    for (const std::string_view key : arguments) reply_value_or_null(plan, plan.read(key));
}

void handle_mset(Plan& plan, Arguments arguments) {
    if (arguments.size() % 2 != 0) return plan.reply().error("ERR wrong number of arguments for 'mset' command");
    for (size_t i = 0; i < arguments.size(); i += 2) plan.set(arguments[i], arguments[i + 1], kNoExpiry);
    plan.reply().ok();
}

void handle_msetnx(Plan& plan, Arguments arguments) {
    if (arguments.size() % 2 != 0) return plan.reply().error("ERR wrong number of arguments for 'msetnx' command");
    for (size_t i = 0; i < arguments.size(); i += 2)
        if (plan.find(arguments[i])) return plan.reply().integer(0);
    for (size_t i = 0; i < arguments.size(); i += 2) plan.set(arguments[i], arguments[i + 1], kNoExpiry);
    plan.reply().integer(1);
}

void handle_setrange(Plan& plan, Arguments arguments) {
    const std::string_view key = arguments[0], bytes = arguments[2];
    int64_t offset;
    if (!parse_integer(arguments[1], offset)) return plan.reply().error(error_text::kNotAnInteger);
    if (offset < 0) return plan.reply().error("ERR offset is out of range");
    const std::optional<Value> old = plan.find(key);
    const uint64_t length = old ? old->length() : 0;
    if (bytes.empty()) return plan.reply().integer(static_cast<int64_t>(length));
    if (static_cast<uint64_t>(offset) > plan.value_bytes_max() || static_cast<uint64_t>(offset) + bytes.size() > plan.value_bytes_max())
        return plan.reply().error(error_text::kTooLong);
    if (old && plan.can_patch(*old, static_cast<uint64_t>(offset), bytes.size())) {
        plan.reply().integer(static_cast<int64_t>(length));
        return plan.patch(key, *old, static_cast<uint64_t>(offset), bytes);
    }
    std::string whole(plan.bytes(old));
    whole.resize(std::max<uint64_t>(length, static_cast<uint64_t>(offset) + bytes.size()));
    whole.replace(static_cast<size_t>(offset), bytes.size(), bytes);
    plan.reply().integer(static_cast<int64_t>(whole.size()));
    plan.set(key, plan.keep(whole), old ? old->expire_at_ms : kNoExpiry);
}

void handle_incrbyfloat(Plan& plan, Arguments arguments) {
    const std::optional<Value> old = plan.find(arguments[0]);
    long double number = 0, amount;
    const bool valid = (!old || parse_float(plan.bytes(old), number)) && parse_float(arguments[1], amount);
    if (!valid) return plan.reply().error("ERR value is not a valid float");
    number += amount;
    if (std::isnan(number) || std::isinf(number)) return plan.reply().error("ERR increment would produce NaN or Infinity");
    const std::string_view text = plan.keep(float_text(number));
    plan.set(arguments[0], text, old ? old->expire_at_ms : kNoExpiry);
    plan.reply().bulk(text);
}

void handle_append(Plan& plan, Arguments arguments) {
    const auto [key, bytes] = std::pair(arguments[0], arguments[1]);
    const std::optional<Value> old = plan.find(key);
    const uint64_t length = (old ? old->length() : 0) + bytes.size();
    if (length > plan.value_bytes_max()) return plan.reply().error(error_text::kTooLong);
    if (old) plan.append(key, *old, bytes);
    else plan.set(key, bytes, kNoExpiry);
    plan.reply().integer(static_cast<int64_t>(length));
}

void handle_getrange(Plan& plan, Arguments arguments) {
    int64_t start, end;
    if (!parse_integer(arguments[1], start) || !parse_integer(arguments[2], end)) return plan.reply().error(error_text::kNotAnInteger);
    const std::optional<Value> value = plan.read(arguments[0]);
    const ByteRange range = value ? byte_range(start, end, value->length()) : ByteRange{};
    if (range.count == 0) return plan.reply().bulk("");
    if (range.count == value->length()) return plan.reply().value(*value);
    plan.reply().bulk(plan.part(*value, range));
}

void handle_substr(Plan& plan, Arguments arguments) { handle_getrange(plan, arguments); }

void handle_strlen(Plan& plan, Arguments arguments) {
    const std::optional<Value> value = plan.read(arguments[0]);
    plan.reply().integer(value ? static_cast<int64_t>(value->length()) : 0);
}

void handle_incr(Plan& plan, Arguments arguments) { add_to_number(plan, arguments[0], 1); }
void handle_decr(Plan& plan, Arguments arguments) { add_to_number(plan, arguments[0], -1); }

void handle_incrby(Plan& plan, Arguments arguments) {
    int64_t amount;
    if (!parse_integer(arguments[1], amount)) return plan.reply().error(error_text::kNotAnInteger);
    add_to_number(plan, arguments[0], amount);
}

void handle_decrby(Plan& plan, Arguments arguments) {
    int64_t amount;
    if (!parse_integer(arguments[1], amount)) return plan.reply().error(error_text::kNotAnInteger);
    if (amount == kInt64Min) return plan.reply().error("ERR decrement would overflow");
    add_to_number(plan, arguments[0], -amount);
}

}  // namespace millrace::md
