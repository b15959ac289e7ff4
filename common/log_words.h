// What md_log tells the group, in the segment run/shm/log: how far the disk is, and what its snapshots do. Made by md before anybody else
// starts; written by md_log, but for the last line, which is md's; read by md, io_conn and those who show it.
//
// Invariants:
//   D1  `released` is the oplog position before which md_log needs nothing: what is behind it md does not write over. It rises.
//   D2  `durable_number`: what commits up to this number did is on disk for good, or the disk is not asked for (appendonly no): then it is kAllDurable.
//       `durable_position` is the same as a position of the oplog. Both rise, but when the log is switched on.
//   D3  Under `appendfsync always` nobody is told what the disk does not have: io_conn holds md's replies until `durable_position` has
//       reached what md has written beside them (ChannelControl::replies_oplog), and reads of its own whose bucket is of a later commit go to md.
//   D4  A new md_log goes on where the words say; `generation` is the store's that they are about, and of another store they mean nothing.
//   D5  For followers that nobody waits for, md_log looks at the oplog once a millisecond while there is work, and is not woken for every batch. When it stops
//       doing so it stores `wants_ring`, and then looks once more (C1 to C3 of wakeup.h): md, which stores the tail, then a fence, then looks
//       at `wants_ring`, sees it, or md_log sees the record.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "common/layout.h"
#include "common/roster.h"

namespace millrace {

inline constexpr uint64_t kAllDurable = ~uint64_t{0};

/// Why writes are refused.
enum class DiskTrouble : uint32_t {
    none = 0,
    log = 1,       ///< the log cannot be written or synced, until it can again and all that it lacks is on disk
    snapshot = 2,  ///< the last snapshot failed, and stop-writes-on-bgsave-error is set
};

enum class SaveOutcome : uint32_t { none = 0, good = 1, failed = 2 };

struct LogWords {
    alignas(kCacheLineDistance) std::atomic<uint64_t> released;
    std::atomic<uint64_t> released_number;  ///< number of the last record before it
    std::atomic<uint64_t> generation;
    std::atomic<uint32_t> pid;
    std::atomic<uint32_t> wants_oplog;  ///< 1: a snapshot needs it, whatever the options say
    std::atomic<uint32_t> park;         ///< wakeup.h
    std::atomic<uint32_t> wants_ring;   ///< 1: it sleeps until it is woken, and for followers it has to be woken at once (D5)
    std::atomic<uint32_t> trouble;      ///< DiskTrouble
    std::atomic<uint32_t> error;        ///< errno of it
    alignas(kCacheLineDistance) std::atomic<uint64_t> durable_position;
    std::atomic<uint64_t> durable_number;
    alignas(kCacheLineDistance) std::atomic<uint32_t> saving;  ///< 1: a snapshot is being written
    std::atomic<uint32_t> last_save;                           ///< SaveOutcome
    std::atomic<uint64_t> save_began_s;                        ///< seconds since 1970
    std::atomic<uint64_t> save_keys;                           ///< written so far
    std::atomic<uint64_t> save_bytes;
    std::atomic<uint64_t> saves;                               ///< snapshots finished since the group was started
    std::atomic<uint64_t> last_save_s;                         ///< when the last good one was finished, seconds since 1970; 0: never
    std::atomic<uint64_t> last_save_took_s;
    std::atomic<uint64_t> changes_saved;                       ///< MdCounter::changes when the last good one began
    std::atomic<uint64_t> log_bytes;                           ///< of all log files
    std::atomic<uint64_t> log_syncs;
    std::array<std::atomic<uint64_t>, kMaxIoConns> save_seen;  ///< RosterLine::save_wanted of whom a finished save has served
    std::array<std::atomic<uint64_t>, kMaxIoConns> save_failed;  ///< the same of whom it has failed
    // From the process that writes the snapshot to the rest of md_log and back.
    std::atomic<uint64_t> walk_ended;     ///< snapshots whose walk has ended: the log is to be synced as far as it is now
    std::atomic<uint64_t> walk_synced;    ///< of these, those for which it is
    std::atomic<uint64_t> walk_number;    ///< number of the last record then
    std::atomic<uint64_t> walk_reading;   ///< number of a commit since which the walk reads the store; 0: it does not (T9 of store_layout.h)
    std::atomic<uint32_t> walk_pid;
    alignas(kCacheLineDistance) std::atomic<uint32_t> md_waits;  ///< these by md. 1: it is to be woken when `released` rises
    std::atomic<uint32_t> loading;                               ///< 1: md loads data from disk, and serves nobody yet
    std::atomic<uint64_t> changes;                               ///< changes of keys by commands, goes on over the deaths of md
    std::atomic<uint64_t> load_began_s, load_bytes, load_bytes_done;
};
inline constexpr uint64_t kLogWordsLayout =
    layout_hash("log-1", {sizeof(LogWords), offsetof(LogWords, durable_position), offsetof(LogWords, saving), offsetof(LogWords, save_seen), offsetof(LogWords, md_waits)});

}  // namespace millrace
