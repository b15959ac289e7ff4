// Commands about the server that change what md keeps. Runs in md; handlers only (see handlers.h).
#include <fmt/format.h>
#include <sys/resource.h>

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
    if (row.type == OptionType::bytes && !parse_bytes(value, number)) return "argument must be a memory value";
    if (row.id == OptionId::save) return "Invalid save parameters";
    if (row.type == OptionType::text) return fmt::format("argument must be a {}", row.unit);
    if (row.type == OptionType::choice) {
        std::string choices(row.id == OptionId::appendfsync ? "everysec|always|no" : row.unit);  // in Redis's order
        if (choices == "yes|no" || choices == "no|yes") return "argument must be 'yes' or 'no'";
        for (size_t at = 0; (at = choices.find('|', at)) != std::string::npos; at += 2) choices.replace(at, 1, ", ");
        return "argument(s) must be one of the following: " + choices;
    }
    if (row.type == OptionType::integer && !parse_integer(value, number)) return "argument couldn't be parsed into an integer";
    return fmt::format("argument must be between {} and {} inclusive", row.lowest, row.highest);
}

/// What stands in the way of a value that the option itself allows; empty: nothing.
std::string obstacle_to(OptionId id, int64_t number) {
    if (id != OptionId::maxclients) return {};
    rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_max == RLIM_INFINITY) return {};
    const auto most = static_cast<int64_t>(files.rlim_max) - kDescriptorsBesideClients;
    if (number <= most) return {};
    return fmt::format("The operating system is not able to handle the specified number of clients, try with {}", most);
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

void handle_config_resetstat(Plan& plan, Arguments) {
    plan.reset_statistics();
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
            return plan.reply().error(fmt::format("ERR Unknown option or number of arguments for CONFIG SET - '{}'", until_nul(pairs[i])));
        if (std::ranges::find(wanted, row, [](const auto& pair) { return pair.first; }) != wanted.end())
            return plan.reply().error(failed(until_nul(pairs[i]), "duplicate parameter"));
        if (!is_live(row->id) || row->id == OptionId::replicaof) return plan.reply().error(failed(until_nul(pairs[i]), "can't set immutable config"));
        wanted.emplace_back(row, pairs[i + 1]);
    }
    std::vector<std::pair<int64_t, std::string>> values;
    for (size_t i = 0; i < wanted.size(); ++i) {
        const auto& [row, value] = wanted[i];
        const std::string_view name = row->name;
        auto& [number, text] = values.emplace_back();
        if (!parse_option(*row, value, number, text)) return plan.reply().error(failed(name, fault_of(*row, value)));
        if (row->id == OptionId::replication_mode && (number == kStrictMode || plan.is_strict()))
            return plan.reply().error(failed(name, "a strict pair begins and ends with a start of both servers"));
        if (const std::string obstacle = obstacle_to(row->id, number); !obstacle.empty()) return plan.reply().error(failed(name, obstacle));
    }
    for (size_t i = 0; i < wanted.size(); ++i) {
        const auto& [number, text] = values[i];
        const OptionId id = wanted[i].first->id;
        if (live_text_index(id)) plan.set_option(id, text);
        else plan.set_option(id, number);
    }
    plan.reply().ok();
}

}  // namespace millrace::md
