// See disk_refusals.h. Runs in md and io_conn.
#include "common/disk_refusals.h"

#include "common/check.h"

namespace millrace {

std::string write_refusal(const LogWords& words) {
    if (words.trouble.load(std::memory_order_relaxed) == static_cast<uint32_t>(DiskTrouble::log))
        return "MISCONF Errors writing to the AOF file: " + errno_text(static_cast<int>(words.error.load(std::memory_order_relaxed)));
    return "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, "
           "because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). "
           "Please check the Redis logs for details about the RDB error.";
}

}  // namespace millrace
