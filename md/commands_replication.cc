// Following another server: whom, and what comes from there. Runs in md; handlers only (see handlers.h). Invariants: common/repl_words.h.
#include <fmt/format.h>

#include <array>

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
        case EffectKind::origin: return plan.set_stream_database(effect.header.database);
        case EffectKind::checksum: return;
    }
}

/// Whether this server's data is what the master's was at this place of its records. A server that takes writes of its own has other data by intention.
bool check(Plan& plan, const Effect& effect) {
    const auto own = plan.checksum();
    const bool compares = own.has_value() && plan.is_read_only();
    plan.log_checksum({effect.header.checksum(), effect.header.other != 0, compares});
    return !compares || *own == effect.header.checksum();
}

}  // namespace

/// from to effects [effects ...]: what the master did behind stream number `from`, up to `to`. An effect that clears or swaps databases, writes
/// into a value, or has the checksum of all data before it stands alone.
void apply_effects(Plan& plan, Arguments arguments) {
    int64_t from = 0, to = 0;
    if (!parse_integer(arguments[0], from) || !parse_integer(arguments[1], to) || from < 0 || to <= from) return plan.reply().error(error_text::kNotAnInteger);
    if (!plan.is_following()) return plan.reply().error("NOTFOLLOWING this server follows nobody any more");
    if (plan.stream_number() != static_cast<uint64_t>(from)) return plan.reply().error(fmt::format("NOTNEXT {}", plan.stream_number()));
    plan.set_stream_number(static_cast<uint64_t>(to));
    for (const std::string_view bytes : arguments.subspan(2)) {
        EffectReader effects(bytes);
        for (Effect effect; effects.next(effect);) {
            if (effect.header.kind == EffectKind::checksum && !check(plan, effect))
                return plan.give_up(), plan.reply().error(fmt::format("DIFFERENT the checksum of the data at number {} is {:016x}, and the master's {:016x}", from, *plan.checksum(), effect.header.checksum()));
            apply(plan, effect);
        }
        if (effects.faulty()) throw Error("effects from the master do not parse; a newer millrace may have made them");
    }
    plan.reply().ok();
}

/// MS_APPLY from to effects [effects ...].
void handle_ms_apply(Plan& plan, Arguments arguments) {
    if (plan.is_strict()) return plan.reply().error("NOTFOLLOWING this server is half of a strict pair");
    apply_effects(plan, arguments);
}

namespace {

/// A command of MS_EXECUTE.
struct Foreign {
    unsigned database = 0;
    Arguments words;
};

constexpr size_t kWhyBytesMax = 200;

/// Takes the next one off: its database, how many words it has, and the words. False: there is none that is well-formed.
bool take_foreign(Arguments& left, Foreign& command) {
    int64_t database = 0, words = 0;
    if (left.size() < 2 || !parse_integer(left[0], database) || !parse_integer(left[1], words)) return false;
    if (database < 0 || database >= kDatabases || words < 1 || static_cast<uint64_t>(words) > left.size() - 2) return false;
    command = {static_cast<unsigned>(database), left.subspan(2, static_cast<size_t>(words))};
    left = left.subspan(2 + static_cast<size_t>(words));
    return true;
}

/// Plans one; empty, or why not.
std::string plan_foreign(Plan& plan, const Foreign& command) {
    const CommandRow* const row = find_command(command.words[0]);
    if (row == nullptr || !row->replicable()) return "it is not known here";
    if (!row->accepts(command.words.size())) return "its number of words is wrong";
    if (command.database >= plan.databases()) return fmt::format("it is for database {}, and there are {} here", command.database, plan.databases());
    plan.select(command.database);
    const uint64_t errors = plan.reply().errors();
    handler_of(row->id)(plan, command.words.subspan(1));
    if (plan.reply().errors() != errors) return std::string(plan.reply().error_text());
    if (plan.exhausted()) return "it takes more memory than one transaction may";
    plan.reply().restart();
    plan.tick();
    return {};
}

}  // namespace

/// MS_EXECUTE from from-database to to-database [database words command [argument ...]] ...: what a redis-server's stream says behind offset `from`, where
/// `from-database` is selected, up to `to`, where it is `to-database`. All of it is done, or nothing; several commands are done as a transaction is.
void handle_ms_execute(Plan& plan, Arguments arguments) {
    std::array<int64_t, 4> place{};  // from, its database, to, its database
    for (size_t i = 0; i < place.size(); ++i)
        if (!parse_integer(arguments[i], place[i]) || place[i] < 0 || (i % 2 == 1 && place[i] >= kDatabases)) return plan.reply().error(error_text::kNotAnInteger);
    if (place[2] <= place[0]) return plan.reply().error(error_text::kNotAnInteger);
    if (!plan.is_following()) return plan.reply().error("NOTFOLLOWING this server follows nobody any more");
    if (plan.stream_number() != static_cast<uint64_t>(place[0]) || plan.stream_database() != static_cast<uint64_t>(place[1]))
        return plan.reply().error(fmt::format("NOTNEXT {} {}", plan.stream_number(), plan.stream_database()));
    plan.set_stream_number(static_cast<uint64_t>(place[2]));
    plan.set_stream_database(static_cast<uint64_t>(place[3]));
    Arguments left = arguments.subspan(place.size());
    std::string why;
    Foreign command;
    unsigned index = 0;
    for (; why.empty() && !left.empty(); ++index) {
        if (!take_foreign(left, command)) return plan.begin(0, plan.clock_ms()), plan.reply().error(error_text::kSyntax);
        if (index == 0 && !left.empty()) plan.begin_transaction();
        why = plan_foreign(plan, command);
    }
    plan.reply().restart();
    if (why.empty()) return plan.reply().ok();
    plan.begin(0, plan.clock_ms());
    plan.reply().error(fmt::format("FAILED {} '{}' of key '{}': {}", index - 1, printable(command.words[0]), printable(first_key(find_command(command.words[0]), command.words)),
                                   printable(why, kWhyBytesMax)));
}

/// MS_HISTORY history second-history second-end number: the master's data, which is this server's as well up to this stream number, has another name by now.
void handle_ms_history(Plan& plan, Arguments arguments) {
    const std::string_view second = arguments[1] == "-" ? std::string_view() : arguments[1];
    int64_t end = 0, number = 0;
    if (arguments[0].size() != kHistoryBytes || (!second.empty() && second.size() != kHistoryBytes) || !parse_integer(arguments[2], end) || !parse_integer(arguments[3], number)) return plan.reply().error(error_text::kSyntax);
    if (!plan.is_following()) return plan.reply().error("NOTFOLLOWING this server follows nobody any more");
    if (plan.stream_number() != static_cast<uint64_t>(number)) return plan.reply().error(fmt::format("NOTNEXT {}", plan.stream_number()));
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
