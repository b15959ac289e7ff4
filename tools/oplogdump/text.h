// Effects and items as a line for people or a line of JSON. Used by oplogdump.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/disk/snapshot_reader.h"
#include "common/effects.h"

namespace millrace::oplogdump {

/// How lines are written.
struct Style {
    bool json = false;
    bool full = false;  ///< values whole, else their first kShownBytes
};

inline constexpr size_t kShownBytes = 64;

/// Where a record was found.
struct Origin {
    std::string file;
    uint64_t offset = 0, number = 0;
    int64_t wall_ms = 0;  ///< 0: not known
};

/// Bytes as redis-cli shows them, without the quotes around: \n, \xff, and so on for what is not printable ASCII.
std::string escaped(std::string_view bytes);
/// With quotes; of more than kShownBytes the first ones and the length, unless the style has them whole.
std::string shown(std::string_view bytes, const Style& style);
/// "2026-11-26T14:00:00.123Z"; "-" for 0.
std::string time_text(int64_t wall_ms);

/// 5 2026-11-26T14:00:00.123Z db0 set "key" "value" expires 1800000000000
/// {"file": ..., "offset": 64, "number": 5, "time": ..., "effect": "set", "database": 0, "key": "key", "value": "value", "value_bytes": 5, "expire_at_ms": -1}
std::string line_of(const Origin& origin, const Effect& effect, const Style& style);
/// The same for an item of a snapshot; the number is its stamp.
std::string line_of(const std::string& file, const disk::SnapshotReader::Item& item, const Style& style);

}  // namespace millrace::oplogdump
