// Commands over keys of any type and over whole databases. Runs in md; handlers only (see handlers.h).
#include "common/text.h"
#include "md/handlers.h"

namespace millrace::md {

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

void handle_type(Plan& plan, Arguments arguments) { plan.reply().status(plan.find(arguments[0]) ? "string" : "none"); }

void handle_dbsize(Plan& plan, Arguments) { plan.reply().integer(static_cast<int64_t>(plan.key_count())); }

void handle_flushall(Plan& plan, Arguments arguments) {
    const bool valid = arguments.empty() || (arguments.size() == 1 && (equals_ignoring_case(arguments[0], "ASYNC") ||
                                                                       equals_ignoring_case(arguments[0], "SYNC")));
    if (!valid) return plan.reply().error(error_text::kSyntax);
    plan.clear_all();  // out of reach at once, freed in slices: ASYNC and SYNC are the same here
    plan.reply().ok();
}

}  // namespace millrace::md
