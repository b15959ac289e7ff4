// Commands about the server: COMMAND, CONFIG, INFO and the HELP of containers. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <ctime>
#include <map>
#include <string>

#include "common/text.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

namespace {

struct FlagName {
    uint32_t flag;
    std::string_view name;
};
constexpr FlagName kFlagNames[] = {
    {command_flag::write, "write"},       {command_flag::readonly, "readonly"}, {command_flag::denyoom, "denyoom"},
    {command_flag::admin, "admin"},       {command_flag::noscript, "noscript"}, {command_flag::loading, "loading"},
    {command_flag::stale, "stale"},       {command_flag::fast, "fast"},         {command_flag::no_auth, "no_auth"},
    {command_flag::allow_busy, "allow_busy"},
};

/// ACL categories that follow from the flags and the group, as Redis derives them.
std::vector<std::string> categories_of(const CommandRow& row) {
    std::vector<std::string> categories;
    if (row.is(command_flag::write)) categories.push_back("@write");
    if (row.is(command_flag::readonly)) categories.push_back("@read");
    if (row.is(command_flag::admin)) categories.insert(categories.end(), {"@admin", "@dangerous"});
    if (row.group == "generic") categories.push_back("@keyspace");
    if (row.group == "string" || row.group == "connection") categories.push_back(fmt::format("@{}", row.group));
    categories.push_back(row.is(command_flag::fast) ? "@fast" : "@slow");
    return categories;
}

std::vector<const CommandRow*> subcommands_of(const CommandRow& row) {
    std::vector<const CommandRow*> result;
    for (unsigned i = static_cast<unsigned>(row.id) + 1; i < kCommandCount; ++i) {
        const CommandRow& next = command_rows()[i];
        if (!next.subcommand() || !next.name.starts_with(row.name)) break;
        result.push_back(&next);
    }
    return result;
}

void write_key_specifications(RespWriter& out, const CommandRow& row) {
    if (row.first_key == 0) return out.set(0);
    out.set(1);
    out.map(3);
    out.bulk("flags");
    const bool write = row.is(command_flag::write);
    out.set(2), out.status(write ? "RW" : "RO"), out.status(write ? "update" : "access");
    out.bulk("begin_search"), out.map(2);
    out.bulk("type"), out.bulk("index");
    out.bulk("spec"), out.map(1), out.bulk("index"), out.integer(row.first_key);
    out.bulk("find_keys"), out.map(2);
    out.bulk("type"), out.bulk("range");
    out.bulk("spec"), out.map(3);
    out.bulk("lastkey"), out.integer(row.last_key < 0 ? row.last_key : row.last_key - row.first_key);
    out.bulk("keystep"), out.integer(row.key_step);
    out.bulk("limit"), out.integer(0);
}

void write_command_info(RespWriter& out, const CommandRow& row) {
    out.array(10);
    out.bulk(row.name);
    out.integer(row.arity);
    std::vector<std::string_view> flags;
    for (const FlagName& flag : kFlagNames)
        if (row.is(flag.flag)) flags.push_back(flag.name);
    out.set(static_cast<uint32_t>(flags.size()));
    for (const std::string_view flag : flags) out.status(flag);
    for (const int number : {row.first_key, row.last_key, row.key_step}) out.integer(number);
    const std::vector<std::string> categories = categories_of(row);
    out.set(static_cast<uint32_t>(categories.size()));
    for (const std::string& category : categories) out.status(category);
    out.array(0);  // tips
    write_key_specifications(out, row);
    const auto subcommands = subcommands_of(row);
    out.array(static_cast<uint32_t>(subcommands.size()));
    for (const CommandRow* subcommand : subcommands) write_command_info(out, *subcommand);
}

void write_command_docs(RespWriter& out, const CommandRow& row) {
    const auto subcommands = subcommands_of(row);
    out.bulk(row.name);
    out.map(subcommands.empty() ? 4 : 5);
    out.bulk("summary"), out.bulk(row.summary);
    out.bulk("since"), out.bulk(row.since);
    out.bulk("group"), out.bulk(row.group);
    out.bulk("complexity"), out.bulk(row.complexity);
    if (subcommands.empty()) return;
    out.bulk("subcommands");
    out.map(static_cast<uint32_t>(subcommands.size()));
    for (const CommandRow* subcommand : subcommands) write_command_docs(out, *subcommand);
}

std::vector<const CommandRow*> top_level_commands() {
    std::vector<const CommandRow*> result;
    for (const CommandRow& row : command_rows())
        if (!row.subcommand()) result.push_back(&row);
    return result;
}

/// A command or "container|subcommand" by name, or null.
const CommandRow* find_any(std::string_view name) {
    const size_t bar = name.find('|');
    const CommandRow* row = find_command(name.substr(0, bar));
    return row == nullptr || bar == std::string_view::npos ? row : find_subcommand(*row, name.substr(bar + 1));
}

void write_help(const LocalCall& call) {
    const CommandRow& container = *find_command(call.words[0]);
    std::string upper(container.name);
    for (char& c : upper) c = static_cast<char>(std::toupper(c));
    std::vector<std::string> lines{fmt::format("{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", upper)};
    for (const CommandRow* subcommand : subcommands_of(container)) {
        std::string name(subcommand->name.substr(container.name.size() + 1));
        for (char& c : name) c = static_cast<char>(std::toupper(c));
        lines.push_back(name);
        lines.push_back(fmt::format("    {}.", subcommand->summary));
    }
    call.out.array(static_cast<uint32_t>(lines.size()));
    for (const std::string& line : lines) call.out.status(line);
}

}  // namespace

void local_command(const LocalCall& call) {
    const auto commands = top_level_commands();
    call.out.array(static_cast<uint32_t>(commands.size()));
    for (const CommandRow* row : commands) write_command_info(call.out, *row);
}

void local_command_count(const LocalCall& call) { call.out.integer(static_cast<int64_t>(top_level_commands().size())); }

void local_command_info(const LocalCall& call) {
    if (call.words.size() == 2) return local_command(call);
    call.out.array(static_cast<uint32_t>(call.words.size() - 2));
    for (const std::string_view name : call.words.subspan(2)) {
        if (const CommandRow* row = find_any(name); row != nullptr) write_command_info(call.out, *row);
        else call.out.null();
    }
}

void local_command_docs(const LocalCall& call) {
    std::vector<const CommandRow*> rows;
    if (call.words.size() == 2) rows = top_level_commands();
    for (const std::string_view name : call.words.subspan(2))
        if (const CommandRow* row = find_any(name); row != nullptr) rows.push_back(row);
    call.out.map(static_cast<uint32_t>(rows.size()));
    for (const CommandRow* row : rows) write_command_docs(call.out, *row);
}

void local_command_help(const LocalCall& call) { write_help(call); }
void local_client_help(const LocalCall& call) { write_help(call); }
void local_config_help(const LocalCall& call) { write_help(call); }
void local_object_help(const LocalCall& call) { write_help(call); }

void local_config_get(const LocalCall& call) {
    std::map<OptionId, std::string_view> matches;
    for (const std::string_view asked : call.words.subspan(2)) {
        if (asked.find_first_of("[*?") == std::string_view::npos) {
            // A plain name is repeated as it was asked for, in whatever case.
            if (const OptionRow* row = find_option(asked); row != nullptr) matches.emplace(row->id, asked);
            continue;
        }
        for (const OptionRow& row : option_rows())
            if (glob_match(asked, row.name, true)) matches.emplace(row.id, row.name);
    }
    call.out.map(static_cast<uint32_t>(matches.size()));
    for (const auto& [id, name] : matches) {
        call.out.bulk(name);
        call.out.bulk(call.server.option_text(id));
    }
}

void local_time(const LocalCall& call) {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    call.out.array(2);
    call.out.bulk(std::to_string(now.tv_sec));
    call.out.bulk(std::to_string(now.tv_nsec / 1000));
}

void local_role(const LocalCall& call) {
    call.out.array(3);
    call.out.bulk("master");
    call.out.integer(0);
    call.out.array(0);
}

void local_info(const LocalCall& call) { call.out.verbatim(info_text(call, call.words.subspan(1))); }

}  // namespace millrace::io_conn
