// HELP of the containers, with Redis's words, as far as their subcommands are here. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "io_conn/local.h"

namespace millrace::io_conn {

namespace {

constexpr std::string_view kCommandHelp[] = {
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
    "HELP",
    "    Prints this help.",
};
constexpr std::string_view kConfigHelp[] = {
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
    "HELP",
    "    Prints this help.",
};
constexpr std::string_view kMemoryHelp[] = {
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
    "HELP",
    "    Prints this help.",
};
constexpr std::string_view kObjectHelp[] = {
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
};

std::string in_capitals(std::string_view text) {
    std::string upper(text);
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return upper;
}

void write_help(const LocalCall& call, const CommandRow& container, const std::vector<std::string>& lines) {
    call.out.array(static_cast<uint32_t>(lines.size() + 1));
    call.out.status(fmt::format("{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", in_capitals(container.name)));
    for (const std::string& line : lines) call.out.status(line);
}

/// Redis's lines without those of subcommands that are not here. A line that is not indented begins with a subcommand's name.
void write_help(const LocalCall& call, std::span<const std::string_view> redis_lines) {
    const CommandRow& container = *find_command(call.words[0]);
    std::vector<std::string> lines;
    bool here = false;
    for (const std::string_view line : redis_lines) {
        if (line.front() != ' ') here = line.front() == '(' || find_subcommand(container, line.substr(0, line.find(' '))) != nullptr;
        if (here) lines.emplace_back(line);
    }
    write_help(call, container, lines);
}

/// From the command table.
void write_help(const LocalCall& call) {
    const CommandRow& container = *find_command(call.words[0]);
    std::vector<std::string> lines;
    for (unsigned i = static_cast<unsigned>(container.id) + 1; i < kCommandCount && command_rows()[i].name.starts_with(container.name); ++i) {
        lines.push_back(in_capitals(command_rows()[i].name.substr(container.name.size() + 1)));
        lines.push_back(fmt::format("    {}.", command_rows()[i].summary));
    }
    write_help(call, container, lines);
}

}  // namespace

void local_client_help(const LocalCall& call) { write_help(call); }
void local_command_help(const LocalCall& call) { write_help(call, kCommandHelp); }
void local_config_help(const LocalCall& call) { write_help(call, kConfigHelp); }
void local_memory_help(const LocalCall& call) { write_help(call, kMemoryHelp); }
void local_object_help(const LocalCall& call) { write_help(call, kObjectHelp); }

}  // namespace millrace::io_conn
