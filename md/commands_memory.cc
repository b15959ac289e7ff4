// MEMORY USAGE; the rest of MEMORY is io_conn's. Runs in md; handlers only (see handlers.h).
#include "common/text.h"
#include "md/handlers.h"

namespace millrace::md {

/// A string has nothing to take samples of: their number changes nothing.
void handle_memory_usage(Plan& plan, Arguments arguments) {
    const std::string_view key = arguments[1];
    for (size_t i = 2; i < arguments.size(); i += 2) {
        int64_t samples;
        if (!equals_ignoring_case(arguments[i], "SAMPLES") || i + 1 == arguments.size()) return plan.reply().error(error_text::kSyntax);
        if (!parse_integer(arguments[i + 1], samples)) return plan.reply().error(error_text::kNotAnInteger);
        if (samples < 0) return plan.reply().error(error_text::kSyntax);
    }
    const std::optional<Value> value = plan.inspect(key);
    if (value) plan.reply().integer(static_cast<int64_t>(plan.memory_of(key, *value)));
    else plan.reply().null();
}

}  // namespace millrace::md
