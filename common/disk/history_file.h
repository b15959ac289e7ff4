// The file `history` of a data folder: whose data it is (common/repl_words.h), as of the last start or the last copy from a master. Text, for people as
// well. And the folder `sync` inside of it, into which a follower receives its master's data: it counts once the file `complete` is in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace millrace::disk {

struct History {
    std::string history;      ///< 40 hexadecimal digits
    std::string second;       ///< the same, or empty
    uint64_t second_end = 0;  ///< stream number
    bool following = false;   ///< whether the records carry their stream numbers
};

/// Empty if there is no such file, or nothing in it that could be understood.
std::optional<History> read_history(const std::string& folder);
/// Durable when it returns true; else errno.
bool write_history(const std::string& folder, const History& history);

std::string sync_folder_path(const std::string& folder);
/// A redis-server's snapshot, which is made into one of ours there.
std::string sync_rdb_path(const std::string& folder);
/// Whether a master's data lies ready.
bool sync_is_complete(const std::string& folder);
/// Says that it does, when all of it is durable. False: errno.
bool complete_sync(const std::string& folder);
/// Makes the data that lies ready the data of the folder, in place of what was there; may be repeated from any point. False: errno.
bool adopt_sync(const std::string& folder);
/// Removes the folder `sync` and what is in it, and what an adoption has left behind.
void remove_sync(const std::string& folder);

}  // namespace millrace::disk
