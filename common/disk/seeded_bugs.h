// Bugs of what md_log does, put in on purpose, one a build, as md/seeded_bugs.h has them of md: tests/crash/mutants.py builds an md_log with each
// and expects a test of power losses or of disk trouble to see it. A normal build has none; nothing here costs anything there. Runs in md_log.
#pragma once

namespace millrace::disk {

enum class SeededLogBug {
    none,
    // of common/disk/log_writer.cc:
    log_not_synced,          ///< what was written counts as durable, and the disk is not asked
    log_name_not_synced,     ///< the folder is not synced when a log file has got its name
    log_name_before_header,  ///< a log file gets its name before its header is durable (L1 of log_format.h)
    // of common/disk/snapshot_writer.cc:
    log_snapshot_not_synced,  ///< a snapshot gets its name before its bytes are durable
    // of md/log/keeper.cc:
    log_sync_asked_again,    ///< after a failed sync the same file is synced again, and believed (L2 of keeper.h)
    log_written_is_durable,  ///< who waits for the disk hears of records when they are written
    // of md/log/keeper_save.cc:
    log_behind_snapshot,     ///< a snapshot counts before the log is durable as far as the walk has seen (L5 of keeper.h)
};

#ifdef MILLRACE_SEEDED_LOG_BUG
inline constexpr SeededLogBug kSeededLogBug = SeededLogBug::MILLRACE_SEEDED_LOG_BUG;
#else
inline constexpr SeededLogBug kSeededLogBug = SeededLogBug::none;
#endif

}  // namespace millrace::disk
