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

}  // namespace

/// All of them or none.
void handle_config_set(Plan& plan, Arguments arguments) {
    const Arguments pairs = arguments.subspan(1);  // "set" comes first
    if (pairs.size() % 2 != 0) return plan.reply().error(error_text::kSyntax);
    std::vector<std::pair<const OptionRow*, std::string_view>> wanted;
    for (size_t i = 0; i < pairs.size(); i += 2) {
        const OptionRow* row = find_option(pairs[i]);
        if (row == nullptr)
            return plan.reply().error(fmt::format("ERR Unknown option or number of arguments for CONFIG SET - '{}'", until_nul(pairs[i])));
        if (std::ranges::find(wanted, row, [](const auto& pair) { return pair.first; }) != wanted.end())
            return plan.reply().error(failed(until_nul(pairs[i]), "duplicate parameter"));
        if (!live_index(row->id)) return plan.reply().error(failed(until_nul(pairs[i]), "can't set immutable config"));
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
