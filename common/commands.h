// The command table and the look-up by name. Used by io_conn (names, arity, where) and md (execution by id).
// A new command is one row in commands.def, one handler (md/commands_*.cc or io_conn/local_*.cc) and its tests.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace millrace {

enum class CommandId : uint16_t {
#define MR_COMMAND(identifier, ...) identifier,
#include "common/commands.def"
#undef MR_COMMAND
};

inline constexpr unsigned kCommandCount = []() {
    unsigned count = 0;
#define MR_COMMAND(...) ++count;
#include "common/commands.def"
#undef MR_COMMAND
    return count;
}();

/// Where a command runs.
enum class CommandPlace : uint8_t { io, md, container };

/// Flags as COMMAND INFO shows them, and ours (barrier, internal, guarded).
namespace command_flag {
inline constexpr uint32_t none = 0;
inline constexpr uint32_t write = 1u << 0;
inline constexpr uint32_t readonly = 1u << 1;
inline constexpr uint32_t denyoom = 1u << 2;
inline constexpr uint32_t admin = 1u << 3;
inline constexpr uint32_t noscript = 1u << 4;
inline constexpr uint32_t loading = 1u << 5;
inline constexpr uint32_t stale = 1u << 6;
inline constexpr uint32_t fast = 1u << 7;
inline constexpr uint32_t no_auth = 1u << 8;
inline constexpr uint32_t allow_busy = 1u << 9;
inline constexpr uint32_t skip_slowlog = 1u << 10;
inline constexpr uint32_t no_multi = 1u << 11;
inline constexpr uint32_t no_async_loading = 1u << 12;
inline constexpr uint32_t barrier = 1u << 16;
inline constexpr uint32_t internal = 1u << 17;
inline constexpr uint32_t guarded = 1u << 18;
inline constexpr uint32_t linked = 1u << 19;
}  // namespace command_flag

struct CommandRow {
    CommandId id;
    std::string_view name;
    int16_t arity;
    uint32_t flags;
    int16_t first_key, last_key, key_step;
    CommandPlace place;
    std::string_view group, since, complexity, summary;

    bool is(uint32_t flag) const { return (flags & flag) != 0; }
    bool accepts(size_t words) const {
        return arity >= 0 ? words == static_cast<size_t>(arity) : words >= static_cast<size_t>(-arity);
    }
    /// Whether it may be a part of what a redis-server tells its replicas to do. PFCOUNT writes down what it has counted.
    bool replicable() const { return place == CommandPlace::md && !is(command_flag::linked) && (is(command_flag::write) || id == CommandId::pfcount); }
    bool subcommand() const { return name.find('|') != std::string_view::npos; }
};

/// The first key of a command, as far as its row tells; empty if there is none. `row` may be null.
inline std::string_view first_key(const CommandRow* row, std::span<const std::string_view> words) {
    const size_t at = row == nullptr ? 1 : static_cast<size_t>(row->first_key);
    return at == 0 || at >= words.size() ? std::string_view() : words[at];
}

/// All rows, sorted by name as written (a container's subcommands follow it); the index is the CommandId.
std::span<const CommandRow> command_rows();
inline const CommandRow& command_row(CommandId id) { return command_rows()[static_cast<unsigned>(id)]; }

/// The row of a command by its first word (any case), or null. Subcommands are not found this way.
const CommandRow* find_command(std::string_view name);
/// The row of a container's subcommand (any case), or null.
const CommandRow* find_subcommand(const CommandRow& container, std::string_view name);

}  // namespace millrace
