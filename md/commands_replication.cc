// Following another server: whom, and what comes from there. Runs in md; handlers only (see handlers.h). Invariants: common/repl_words.h.
#include <fmt/format.h>

#include "common/check.h"
#include "common/effects.h"
#include "common/repl_words.h"
#include "common/text.h"
#include "md/commands_replication.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

/// Bytes [offset, ...) of a key's value are these, as an effect says.
void write_range(Plan& plan, const Effect& effect) {
    const auto value = plan.find(effect.key);
    const uint64_t offset = effect.header.offset();
    if (!value) return;
    if (offset == value->length()) return plan.append(effect.key, *value, effect.value);
    if (plan.can_patch(*value, offset, effect.value.size())) return plan.patch(effect.key, *value, offset, effect.value);
    std::string bytes(plan.bytes(value));
    effect.write_into(bytes);
    plan.set(effect.key, plan.keep(bytes), value->expire_at_ms);
}

void apply(Plan& plan, const Effect& effect) {
    plan.select(effect.header.database);
    switch (effect.header.kind) {
        case EffectKind::set: return plan.set(effect.key, effect.value, effect.header.expire_at_ms);
        case EffectKind::erase: return plan.erase(effect.key);
        case EffectKind::clear_database: plan.clear(); return;
        case EffectKind::swap_databases: return plan.swap_databases(effect.header.database, effect.header.other);
        case EffectKind::set_expiry:
            if (const auto value = plan.find(effect.key)) plan.set_expiry(effect.key, *value, effect.header.expire_at_ms);
            return;
        case EffectKind::write_range: return write_range(plan, effect);
        case EffectKind::origin: return;
    }
}

}  // namespace

void apply_effects(Plan& plan, Arguments arguments) {
    int64_t from = 0, to = 0;
    if (!parse_integer(arguments[0], from) || !parse_integer(arguments[1], to) || from < 0 || to <= from) return plan.reply().error(error_text::kNotAnInteger);
    if (!plan.is_following()) return plan.reply().error("NOTFOLLOWING this server follows nobody any more");
    if (plan.stream_number() != static_cast<uint64_t>(from)) return plan.reply().error(fmt::format("NOTNEXT {}", plan.stream_number()));
    plan.set_stream_number(static_cast<uint64_t>(to));
    for (const std::string_view bytes : arguments.subspan(2)) {
        EffectReader effects(bytes);
        for (Effect effect; effects.next(effect);) apply(plan, effect);
        if (effects.faulty()) throw Error("effects from the master do not parse; a newer millrace may have made them");
    }
    plan.reply().ok();
}

/// MS_APPLY from to effects [effects ...].
void handle_ms_apply(Plan& plan, Arguments arguments) {
    if (plan.is_strict()) return plan.reply().error("NOTFOLLOWING this server is half of a strict pair");
    apply_effects(plan, arguments);
}

/// MS_HISTORY history second-history second-end: the master's data, which is this server's as well, has another name by now.
void handle_ms_history(Plan& plan, Arguments arguments) {
    const std::string_view second = arguments[1] == "-" ? std::string_view() : arguments[1];
    int64_t end = 0;
    if (arguments[0].size() != kHistoryBytes || (!second.empty() && second.size() != kHistoryBytes) || !parse_integer(arguments[2], end)) return plan.reply().error(error_text::kSyntax);
    if (!plan.is_following()) return plan.reply().error("NOTFOLLOWING this server follows nobody any more");
    plan.adopt_history(std::string(arguments[0]), std::string(second), static_cast<uint64_t>(end));
    plan.reply().ok();
}

/// MS_RELOAD: all data is let go of, and what lies ready in data/sync is loaded.
void handle_ms_reload(Plan& plan, Arguments) {
    if (!plan.is_following()) return plan.reply().error("NOTFOLLOWING this server follows nobody any more");
    if (plan.is_strict()) plan.step_pair({.kind = PairEventKind::reloads});
    plan.reload();
    plan.reply().ok();
}

/// Whether the state machine of a strict pair allows the order (R9, R10); it is answered if not.
static bool step_or_refuse(Plan& plan, PairEventKind kind) {
    if (!plan.is_strict()) return true;
    const PairStep made = plan.step_pair({.kind = kind});
    if (!made.refusal.empty()) plan.reply().error(fmt::format("ERR {}", made.refusal));
    return made.refusal.empty();
}

void handle_replicaof(Plan& plan, Arguments arguments) {
    if (equals_ignoring_case(arguments[0], "no") && equals_ignoring_case(arguments[1], "one")) {
        if (!step_or_refuse(plan, PairEventKind::promote)) return;
        if (!plan.is_following()) return plan.reply().ok();
        plan.follow({});
        plan.begin_history(random_history());
        return plan.reply().ok();
    }
    int64_t port = 0;
    if (!parse_integer(arguments[1], port) || port < 1 || port > 65535) return plan.reply().error("ERR Invalid master port");
    const std::string master = fmt::format("{} {}", arguments[0], port);
    int64_t unused = 0;
    std::string text;
    if (!parse_option(option_row(OptionId::replicaof), master, unused, text) || text != master) return plan.reply().error("ERR Invalid master host");
    if (plan.master() == master) return plan.reply().status("OK Already connected to specified master");
    if (!step_or_refuse(plan, PairEventKind::follow)) return;
    plan.follow(master);
    plan.reply().ok();
}

void handle_slaveof(Plan& plan, Arguments arguments) { handle_replicaof(plan, arguments); }

}  // namespace millrace::md
