// HELP of the containers, from the command table. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "io_conn/local.h"

namespace millrace::io_conn {

namespace {

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
void local_command_help(const LocalCall& call) { write_help(call); }
void local_config_help(const LocalCall& call) { write_help(call); }
void local_latency_help(const LocalCall& call) { write_help(call); }
void local_memory_help(const LocalCall& call) { write_help(call); }
void local_object_help(const LocalCall& call) { write_help(call); }
void local_slowlog_help(const LocalCall& call) { write_help(call); }

}  // namespace millrace::io_conn
