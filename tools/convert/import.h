// Import: the strings of an RDB or an AOF of Redis's become a snapshot. Used by millrace-convert, and takes as much memory as the strings do.
// Throws Error: one sentence with the file and the offset.
#pragma once

#include <cstdint>
#include <string>

#include "common/disk/data_image.h"
#include "tools/convert/tally.h"

namespace millrace::convert {

/// Reads an RDB, an AOF, a manifest, or a folder that has one. `now_ms`: what has expired then is left out.
disk::DataImage read_redis(const std::string& path, int64_t now_ms, Tally& tally);

/// The number that an imported snapshot has: the log goes on behind it.
inline constexpr uint64_t kImportedNumber = 1;

}  // namespace millrace::convert
