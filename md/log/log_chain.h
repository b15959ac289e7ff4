// What of a data folder's log md_log has to know before it goes on with it. Runs in md_log.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::md_log {

/// Where the newest log file ends.
struct LogEnd {
    bool usable = false;   ///< there is one, and it can be gone on with at `bytes`
    std::string path;
    uint64_t bytes = 0;    ///< of whole frames
    uint64_t instance = 0;  ///< whose file it is
    uint64_t after = 0;    ///< as the file's name says
    uint64_t number = 0;   ///< of its last record; without a usable file of the last one that its name speaks of
    std::string fault;     ///< why it is not usable, as a sentence; empty if there is none
};

LogEnd end_of_log(const std::string& folder);

/// Whether the newest snapshot, or nothing, and the log give all data: no file behind the snapshot's start begins with a gap.
bool chain_is_whole(const std::string& folder);

}  // namespace millrace::md_log
