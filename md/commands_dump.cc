// DUMP and RESTORE, as Redis 7.0 answers them. Runs in md; handlers only (see handlers.h).
#include "common/text.h"
#include "md/dump_format.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

struct RestoreOptions {
    bool replace = false, absolute = false;
    std::optional<int64_t> idle_seconds, frequency;
};

/// False after an error reply.
bool parse_options(Plan& plan, Arguments words, RestoreOptions& options) {
    for (size_t i = 0; i < words.size(); ++i) {
        const bool more = i + 1 < words.size();
        int64_t number;
        if (equals_ignoring_case(words[i], "REPLACE")) {
            options.replace = true;
        } else if (equals_ignoring_case(words[i], "ABSTTL")) {
            options.absolute = true;
        } else if (equals_ignoring_case(words[i], "IDLETIME") && more && !options.frequency) {
            if (!parse_integer(words[++i], number)) return plan.reply().error(error_text::kNotAnInteger), false;
            if (number < 0) return plan.reply().error("ERR Invalid IDLETIME value, must be >= 0"), false;
            options.idle_seconds = number;
        } else if (equals_ignoring_case(words[i], "FREQ") && more && !options.idle_seconds) {
            if (!parse_integer(words[++i], number)) return plan.reply().error(error_text::kNotAnInteger), false;
            if (number < 0 || number > MarkRules::kLfuMax) return plan.reply().error("ERR Invalid FREQ value, must be >= 0 and <= 255"), false;
            options.frequency = number;
        } else {
            return plan.reply().error(error_text::kSyntax), false;
        }
    }
    return true;
}

/// The mark that the options ask for, if marks of that kind are kept.
std::optional<uint32_t> wanted_mark(const Plan& plan, const RestoreOptions& options) {
    const Marks& marks = plan.marks();
    if (marks.kept() == MarkKind::lru && options.idle_seconds) return marks.rules().idle_since(marks.now(), *options.idle_seconds);
    if (marks.kept() == MarkKind::lfu && options.frequency) return marks.rules().with_frequency(marks.now(), static_cast<uint32_t>(*options.frequency));
    return std::nullopt;
}

}  // namespace

void handle_dump(Plan& plan, Arguments arguments) {
    const std::optional<Value> value = plan.read(arguments[0]);
    if (value) plan.reply().bulk(dump_string(plan.bytes(value), plan.compresses()));
    else plan.reply().null();
}

void handle_restore(Plan& plan, Arguments arguments) {
    const std::string_view key = arguments[0];
    RestoreOptions options;
    if (!parse_options(plan, arguments.subspan(3), options)) return;
    const bool exists = plan.find(key).has_value();
    if (exists && !options.replace) return plan.reply().error("BUSYKEY Target key name already exists.");
    int64_t at_ms;
    if (!parse_integer(arguments[1], at_ms)) return plan.reply().error(error_text::kNotAnInteger);
    if (at_ms < 0) return plan.reply().error("ERR Invalid TTL value, must be >= 0");
    std::string value;
    switch (read_dump(arguments[2], plan.value_bytes_max(), value)) {
        case DumpFault::version_or_checksum: return plan.reply().error("ERR DUMP payload version or checksum are wrong");
        case DumpFault::format: return plan.reply().error("ERR Bad data format");
        case DumpFault::none: break;
    }
    const bool expires = at_ms != 0;
    if (expires && !options.absolute && __builtin_add_overflow(at_ms, plan.clock_ms(), &at_ms)) at_ms = 0;  // over long ago, in Redis's arithmetic
    plan.reply().ok();
    if (expires && at_ms <= plan.now_ms()) {
        if (exists) plan.erase(key);
        return;
    }
    plan.set(key, plan.keep(value), expires ? at_ms : kNoExpiry);
    if (const auto mark = wanted_mark(plan, options)) plan.set_mark(*mark);
}

}  // namespace millrace::md
