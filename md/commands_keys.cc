// Commands over keys of any type and over whole databases. Runs in md; handlers only (see handlers.h).
#include "common/byte_range.h"
#include "common/text.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

void reply_time_left(Plan& plan, std::string_view key, int64_t unit_ms) {
    const std::optional<Value> value = plan.read(key);
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
    for (const std::string_view key : arguments) found += plan.read(key).has_value();
    plan.reply().integer(found);
}

void handle_type(Plan& plan, Arguments arguments) { plan.reply().status(plan.read(arguments[0]) ? "string" : "none"); }

void handle_ttl(Plan& plan, Arguments arguments) { reply_time_left(plan, arguments[0], 1000); }
void handle_pttl(Plan& plan, Arguments arguments) { reply_time_left(plan, arguments[0], 1); }

void handle_dbsize(Plan& plan, Arguments) { plan.reply().integer(static_cast<int64_t>(plan.key_count())); }

void handle_flushall(Plan& plan, Arguments arguments) {
    const bool valid = arguments.empty() || (arguments.size() == 1 && (equals_ignoring_case(arguments[0], "ASYNC") ||
                                                                       equals_ignoring_case(arguments[0], "SYNC")));
    if (!valid) return plan.reply().error(error_text::kSyntax);
    plan.clear_all();  // out of reach at once, freed in slices: ASYNC and SYNC are the same here
    plan.reply().ok();
}

}  // namespace millrace::md
