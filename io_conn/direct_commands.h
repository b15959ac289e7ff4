// The commands that io_conn can answer by reading the store itself (direct_reader.h). Runs in io_conn.
#pragma once

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

/// Null for commands that only md answers.
DirectHandler direct_handler(CommandId id);
/// Whether the command uses its keys, as eviction sees it, or only asks about them.
bool uses_its_keys(CommandId id);

}  // namespace millrace::io_conn
