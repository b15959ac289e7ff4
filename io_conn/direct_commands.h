// The commands that io_conn can answer by reading the store itself (direct_reader.h). Runs in io_conn.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "common/commands.h"
#include "io_conn/direct_reader.h"
#include "io_conn/resp_writer.h"

namespace millrace::io_conn {

/// What a handler works with: its arguments without the command's name, and what was found of its keys, in order.
struct DirectCall {
    std::span<const std::string_view> arguments;
    std::span<const DirectLookup> keys;
    DirectReader& reader;
    RespWriter& out;
};

/// `changed`: what was found is not so any more; `not_here`: only md can answer this.
enum class DirectOutcome { answered, changed, not_here };

/// Writes the answer, which counts only if the reader validates it afterwards.
using DirectHandler = DirectOutcome (*)(const DirectCall&);

struct DirectCommand {
    DirectHandler handler;  ///< null for commands that only md answers
    bool uses_its_keys;     ///< as eviction sees it; otherwise it only asks about them
};

extern const std::array<DirectCommand, kCommandCount> kDirectCommands;

inline const DirectCommand& direct_command(CommandId id) { return kDirectCommands[static_cast<unsigned>(id)]; }

}  // namespace millrace::io_conn
