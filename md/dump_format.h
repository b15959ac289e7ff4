// The serialization of DUMP and RESTORE: a value as Redis writes it into its snapshots, with a version and a checksum, so that values move
// to and from Redis. Strings only. Runs in md; part of the handlers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::md {

/// A string value as DUMP gives it; `compress`: if that makes it shorter.
std::string dump_string(std::string_view value, bool compress = true);

enum class DumpFault { none, version_or_checksum, format };

/// Reads what dump_string() or Redis has written; `bytes_max`: the longest value to be made of it.
DumpFault read_dump(std::string_view dump, uint64_t bytes_max, std::string& value);

}  // namespace millrace::md
