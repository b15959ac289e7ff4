// Commands about the server that change what md keeps. Runs in md; handlers only (see handlers.h).
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "common/live_options.h"
#include "common/text.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

/// What is wrong with a value, as Redis words it.
std::string fault_of(const OptionRow& row, std::string_view value) {
    int64_t number;
    if (row.type == OptionType::bytes) return "argument must be a memory value";
    if (row.type == OptionType::choice) {
        std::string choices(row.unit);
        for (size_t at = 0; (at = choices.find('|', at)) != std::string::npos; at += 2) choices.replace(at, 1, ", ");
        return "argument(s) must be one of the following: " + choices;
    }
    if (!parse_integer(value, number)) return "argument couldn't be parsed into an integer";
    return fmt::format("argument must be between {} and {} inclusive", row.lowest, row.highest);
}

std::string failed(std::string_view name, std::string_view what) {
    return fmt::format("ERR CONFIG SET failed (possibly related to argument '{}') - {}", name, what);
}

/// Later than any pause ends, milliseconds since 1970; what a word can hold.
constexpr int64_t kPauseUntilMax = int64_t{1} << 62;

}  // namespace

/// A pause that is under way can be made longer and stricter, not shorter or milder.
void handle_client_pause(Plan& plan, Arguments arguments) {
    st::PauseWord pause{0, true};
    if (arguments.size() > 3)
        return plan.reply().error(fmt::format("ERR unknown subcommand or wrong number of arguments for '{}'. Try CLIENT HELP.", arguments[0]));
    if (arguments.size() == 3) {
        pause.all = equals_ignoring_case(arguments[2], "ALL");
        if (!pause.all && !equals_ignoring_case(arguments[2], "WRITE")) return plan.reply().error("ERR CLIENT PAUSE mode must be WRITE or ALL");
    }
    if (!parse_integer(arguments[1], pause.until_ms)) return plan.reply().error("ERR timeout is not an integer or out of range");
    if (pause.until_ms < 0) return plan.reply().error("ERR timeout is negative");
    pause.until_ms = plan.now_ms() + std::min(pause.until_ms, kPauseUntilMax - plan.now_ms());
    if (const st::PauseWord present = plan.pause(); present.until_ms > plan.now_ms()) {
        pause.until_ms = std::max(pause.until_ms, present.until_ms);
        pause.all = pause.all || present.all;
    }
    plan.set_pause(pause);
    plan.reply().ok();
}

void handle_client_unpause(Plan& plan, Arguments) {
    if (plan.pause().until_ms != 0) plan.set_pause({0, false});
    plan.reply().ok();
}

/// All of them or none.
void handle_config_set(Plan& plan, Arguments arguments) {
    const Arguments pairs = arguments.subspan(1);  // "set" comes first
    if (pairs.size() % 2 != 0) return plan.reply().error(error_text::kSyntax);
    std::vector<std::pair<const OptionRow*, std::string_view>> wanted;
    for (size_t i = 0; i < pairs.size(); i += 2) {
        const OptionRow* row = find_option(pairs[i]);
        if (row == nullptr)
            return plan.reply().error(fmt::format("ERR Unknown option or number of arguments for CONFIG SET - '{}'", pairs[i]));
        if (std::ranges::find(wanted, row, [](const auto& pair) { return pair.first; }) != wanted.end())
            return plan.reply().error(failed(row->name, "duplicate parameter"));
        if (!live_index(row->id)) return plan.reply().error(failed(row->name, "can't set immutable config"));
        wanted.emplace_back(row, pairs[i + 1]);
    }
    std::vector<std::pair<OptionId, int64_t>> numbers;
    for (const auto& [row, value] : wanted) {
        int64_t number;
        if (!parse_option(*row, value, number)) return plan.reply().error(failed(row->name, fault_of(*row, value)));
        numbers.emplace_back(row->id, number);
    }
    for (const auto& [id, number] : numbers) plan.set_option(id, number);
    plan.reply().ok();
}

}  // namespace millrace::md
