// Prints the records of log files and the items of snapshots. Used by oplogdump.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tools/oplogdump/text.h"

namespace millrace::oplogdump {

struct Selection {
    uint64_t from = 0, to = UINT64_MAX;  ///< numbers of records, or stamps of items, both included

    bool has(uint64_t number) const { return number >= from && number <= to; }
};

/// Takes a line without its line feed; `remark`: about the file, not from it.
using Printer = std::function<void(const std::string& line, bool remark)>;

/// The data folder that a folder is or has; throws Error if it is none.
std::string data_folder_of(const std::string& folder);

/// Prints a file, or all log files of a folder in order. Behind damage it goes on with the next batch. Returns whether all of it could be read but for an
/// undurable tail of the last file. Throws Error for what is no log, no snapshot and no folder.
bool dump(const std::string& path, const Selection& selection, const Style& style, const Printer& print);

}  // namespace millrace::oplogdump
