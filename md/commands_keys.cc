// Commands over keys of any type and over whole databases. Runs in md; handlers only (see handlers.h).
#include "common/byte_range.h"
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

void reply_time_left(Plan& plan, std::string_view key, int64_t unit_ms) {
    const std::optional<Value> value = plan.inspect(key);
    if (!value) plan.reply().integer(-2);
    else if (value->expire_at_ms == kNoExpiry) plan.reply().integer(-1);
    else plan.reply().integer(time_to_live(value->expire_at_ms, plan.now_ms(), unit_ms));
}

}  // namespace

void handle_del(Plan& plan, Arguments arguments) {
    int64_t removed = 0;
    for (const std::string_view key : arguments) {
        if (!plan.find(key)) continue;
        plan.erase(key);
        ++removed;
    }
    plan.reply().integer(removed);
}

void handle_exists(Plan& plan, Arguments arguments) {
    int64_t found = 0;
    for (const std::string_view key : arguments) found += plan.inspect(key).has_value();
    plan.reply().integer(found);
}

void handle_type(Plan& plan, Arguments arguments) { plan.reply().status(plan.inspect(arguments[0]) ? "string" : "none"); }

void handle_ttl(Plan& plan, Arguments arguments) { reply_time_left(plan, arguments[0], 1000); }
void handle_pttl(Plan& plan, Arguments arguments) { reply_time_left(plan, arguments[0], 1); }

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
    const std::optional<uint32_t> mark = plan.mark_of(key);
    const Marks& marks = plan.marks();
    // Marks that are not ready yet begin now.
    plan.reply().integer(mark && marks.kept() == MarkKind::lru ? marks.rules().idle(*mark, marks.now()) / MarkRules::kTicksPerSecond : 0);
}

void handle_dbsize(Plan& plan, Arguments) { plan.reply().integer(static_cast<int64_t>(plan.key_count())); }

void handle_flushall(Plan& plan, Arguments arguments) {
    const bool valid = arguments.empty() || (arguments.size() == 1 && (equals_ignoring_case(arguments[0], "ASYNC") ||
                                                                       equals_ignoring_case(arguments[0], "SYNC")));
    if (!valid) return plan.reply().error(error_text::kSyntax);
    plan.clear_all();  // out of reach at once, freed in slices: ASYNC and SYNC are the same here
    plan.reply().ok();
}

}  // namespace millrace::md
