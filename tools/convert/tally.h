// What an import has counted, and how it is told. Used by millrace-convert.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace millrace::convert {

struct Tally {
    uint64_t expired = 0;                      ///< keys that had expired
    uint64_t commands = 0;                     ///< of an AOF, that were applied
    uint64_t refused = 0;                      ///< of an AOF, that would have been errors
    uint64_t stale = 0;                        ///< of an AOF, that would have changed strings and are not known here
    std::map<std::string, uint64_t> types;     ///< of values that were skipped, by name: "list|lists"
    std::map<std::string, uint64_t> skipped;   ///< by name, of commands that were skipped
    std::vector<std::string> remarks;          ///< sentences

    /// The lines of the report behind the one about keys: "skipped: 12 lists, 3 hashes".
    std::vector<std::string> lines() const;
};

/// "1 key", "2 keys".
std::string counted(uint64_t count, const std::string& noun);

}  // namespace millrace::convert
