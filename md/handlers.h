// The table from a command's id to its handler in md. Runs in md.
// A handler is a function handle_<identifier>(Plan&, Arguments) in one of the commands_*.cc; a missing one does not link.
#pragma once

#include "common/commands.h"
#include "md/plan.h"

namespace millrace::md {

using Handler = void (*)(Plan&, Arguments);

/// The handler of a command, or null if the command is not md's.
Handler handler_of(CommandId id);

/// Errors that several handlers give, as Redis words them.
namespace error_text {
inline constexpr std::string_view kSyntax = "ERR syntax error";
inline constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";
inline constexpr std::string_view kTooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
inline constexpr std::string_view kNoSuchKey = "ERR no such key";
}  // namespace error_text

/// What a value of these bytes is kept as when it is set, in the words of Redis.
std::string_view encoding_of(const Value& value);
/// Seconds since the key was last used; 0 if nobody notes that, or the key is new. REQUIRES: inspect() has found it.
uint64_t idle_seconds(Plan& plan, std::string_view key);

}  // namespace millrace::md
