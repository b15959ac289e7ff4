// Checks every file of a data folder, and that log and newest snapshot make the data whole. Used by oplogdump.
#pragma once

#include <string>
#include <vector>

namespace millrace::oplogdump {

/// What was found of a file, or of the folder as a whole.
struct Finding {
    bool problem = false;
    std::string name;  ///< "data/log-00000000000000000000"
    std::string text;

    /// "ok       NAME: TEXT", or "problem  NAME: TEXT".
    std::string line() const { return (problem ? "problem  " : "ok       ") + name + ": " + text; }
};

/// Findings about snapshots, log files, half-made files, and last the folder. An undurable tail of the newest log file is no problem. Throws Error for a folder
/// that cannot be read.
std::vector<Finding> verify(const std::string& folder);

}  // namespace millrace::oplogdump
