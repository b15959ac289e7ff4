// Commands about the time at which keys expire, as Redis 7.0 answers them. Runs in md; handlers only (see handlers.h).
#include <limits>

#include "common/byte_range.h"
#include "common/text.h"
#include "md/expiry_time.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

/// NX, XX, GT and LT.
struct Conditions {
    bool if_none = false, if_any = false, if_greater = false, if_less = false;
};

/// False after an error reply.
bool parse_conditions(Plan& plan, Arguments words, Conditions& conditions) {
    for (const std::string_view word : words) {
        if (equals_ignoring_case(word, "NX")) conditions.if_none = true;
        else if (equals_ignoring_case(word, "XX")) conditions.if_any = true;
        else if (equals_ignoring_case(word, "GT")) conditions.if_greater = true;
        else if (equals_ignoring_case(word, "LT")) conditions.if_less = true;
        else return plan.reply().error("ERR Unsupported option " + std::string(until_nul(word))), false;
    }
    if (conditions.if_none && (conditions.if_any || conditions.if_greater || conditions.if_less))
        return plan.reply().error("ERR NX and XX, GT or LT options at the same time are not compatible"), false;
    if (conditions.if_greater && conditions.if_less)
        return plan.reply().error("ERR GT and LT options at the same time are not compatible"), false;
    return true;
}

bool hold(const Conditions& conditions, int64_t before_ms, int64_t after_ms) {
    if (before_ms == kNoExpiry) return !conditions.if_any && !conditions.if_greater;
    return !conditions.if_none && !(conditions.if_greater && after_ms <= before_ms) && !(conditions.if_less && after_ms >= before_ms);
}

/// EXPIRE and its relatives: `unit_ms` of the argument, counted from `base_ms`.
void expire(Plan& plan, Arguments arguments, int64_t unit_ms, int64_t base_ms, std::string_view command) {
    Conditions conditions;
    if (!parse_conditions(plan, arguments.subspan(2), conditions)) return;
    int64_t at_ms;
    if (!parse_integer(arguments[1], at_ms)) return plan.reply().error(error_text::kNotAnInteger);
    if (__builtin_mul_overflow(at_ms, unit_ms, &at_ms) || at_ms > std::numeric_limits<int64_t>::max() - base_ms)
        return plan.reply().error(invalid_expiry(command));
    at_ms += base_ms;
    const std::string_view key = arguments[0];
    const std::optional<Value> value = plan.find(key);
    if (!value || !hold(conditions, value->expire_at_ms, at_ms)) return plan.reply().integer(0);
    if (at_ms <= plan.now_ms()) plan.erase(key);
    else plan.set_expiry(key, *value, at_ms);
    plan.reply().integer(1);
}

void reply_time_left(Plan& plan, std::string_view key, int64_t unit_ms) {
    const std::optional<Value> value = plan.inspect(key);
    if (!value) plan.reply().integer(-2);
    else if (value->expire_at_ms == kNoExpiry) plan.reply().integer(-1);
    else plan.reply().integer(time_to_live(value->expire_at_ms, plan.now_ms(), unit_ms));
}

void reply_expiry_time(Plan& plan, std::string_view key, int64_t unit_ms) {
    const std::optional<Value> value = plan.inspect(key);
    if (!value) plan.reply().integer(-2);
    else if (value->expire_at_ms == kNoExpiry) plan.reply().integer(-1);
    else plan.reply().integer(static_cast<int64_t>((static_cast<uint64_t>(value->expire_at_ms) + static_cast<uint64_t>(unit_ms) / 2) / static_cast<uint64_t>(unit_ms)));
}

/// SETEX and PSETEX.
void set_for(Plan& plan, Arguments arguments, int64_t unit_ms, std::string_view command) {
    int64_t at_ms;
    if (!expiry_time(plan, arguments[1], unit_ms, plan.clock_ms(), command, at_ms)) return;
    plan.set(arguments[0], arguments[2], at_ms);
    plan.reply().ok();
}

}  // namespace

void handle_expire(Plan& plan, Arguments arguments) { expire(plan, arguments, 1000, plan.clock_ms(), "expire"); }
void handle_pexpire(Plan& plan, Arguments arguments) { expire(plan, arguments, 1, plan.clock_ms(), "pexpire"); }
void handle_expireat(Plan& plan, Arguments arguments) { expire(plan, arguments, 1000, 0, "expireat"); }
void handle_pexpireat(Plan& plan, Arguments arguments) { expire(plan, arguments, 1, 0, "pexpireat"); }

void handle_ttl(Plan& plan, Arguments arguments) { reply_time_left(plan, arguments[0], 1000); }
void handle_pttl(Plan& plan, Arguments arguments) { reply_time_left(plan, arguments[0], 1); }
void handle_expiretime(Plan& plan, Arguments arguments) { reply_expiry_time(plan, arguments[0], 1000); }
void handle_pexpiretime(Plan& plan, Arguments arguments) { reply_expiry_time(plan, arguments[0], 1); }

void handle_persist(Plan& plan, Arguments arguments) {
    const std::optional<Value> value = plan.find(arguments[0]);
    const bool changes = value && value->expire_at_ms != kNoExpiry;
    if (changes) plan.set_expiry(arguments[0], *value, kNoExpiry);
    plan.reply().integer(changes);
}

void handle_setex(Plan& plan, Arguments arguments) { set_for(plan, arguments, 1000, "setex"); }
void handle_psetex(Plan& plan, Arguments arguments) { set_for(plan, arguments, 1, "psetex"); }

void handle_getex(Plan& plan, Arguments arguments) {
    const std::string_view key = arguments[0];
    ExpiryOption option;
    bool persist = false;
    for (size_t i = 1; i < arguments.size(); ++i) {
        if (equals_ignoring_case(arguments[i], "PERSIST") && !option.given()) persist = true;
        else if (persist || !option.take(arguments, i)) return plan.reply().error(error_text::kSyntax);
    }
    const std::optional<Value> value = plan.read(key);
    if (!value) return plan.reply().null();
    int64_t at_ms = kNoExpiry;
    if (option.given() && !option.resolve(plan, "getex", at_ms)) return;
    plan.reply().value(*value);
    if (persist && value->expire_at_ms != kNoExpiry) plan.set_expiry(key, *value, kNoExpiry);
    else if (option.given() && at_ms <= plan.now_ms()) plan.erase(key);
    else if (option.given()) plan.set_expiry(key, *value, at_ms);
}

}  // namespace millrace::md
