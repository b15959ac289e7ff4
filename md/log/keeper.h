// md_log's loop: takes records from the oplog to the log on disk, keeps the promises of appendfsync, starts snapshots and removes what they
// make superfluous. Runs in md_log, one thread and the syncer's.
//
// A turn: options -> records from the ring into the writer, a bounded batch, written with one system call -> sync, by the policy -> what is
// durable is published, and whoever waits for it woken -> the snapshot under way, and whether another is due -> park.
// Invariants (those of what the group hears: common/log_words.h):
//   L1  `released` never passes what the file has: a record is given up by md when it was written, under `always` when it was synced. So whatever
//       goes wrong with the disk, what the file lacks is in the ring still, or, after a failed sync under the other policies, in the store,
//       and a snapshot brings it to disk.
//   L2  A failed sync is never asked again: the file is left as it is, another one begun, and what nobody knows to be durable written again.
//   L3  While the disk is in trouble writes are refused. That ends when all that was accepted is on disk, or written at least, as the policy says.
//   L4  The log's files follow each other without a gap from the newest snapshot's start on. Where they do not (the log was switched on, or was
//       lost), a snapshot is begun at once, and until it is there the log alone is no way back.
//   L5  A snapshot counts when the log is durable as far as the walk has seen (walk_ended, walk_synced), and not before.
//   L6  Files go only when two snapshots that do not need them are there.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "common/counters.h"
#include "common/daemon.h"
#include "common/disk/log_writer.h"
#include "common/live_options.h"
#include "common/log_words.h"
#include "common/repl_words.h"
#include "common/resident_memory.h"
#include "common/roster.h"
#include "common/store_reader.h"
#include "common/wakeup.h"
#include "md/log/log_chain.h"
#include "md/log/oplog_reader.h"
#include "md/log/save_rules.h"
#include "md/log/syncer.h"

namespace millrace::md_log {

class Keeper {
  public:
    /// Maps what md has made. Throws Error.
    explicit Keeper(Daemon& daemon);
    ~Keeper();

    /// Serves until told to end. Throws Error when the data could not be saved at the end.
    void run();

  private:
    static constexpr uint64_t kBatchBytes = 4 * 1024 * 1024;     ///< of records before they are written
    static constexpr uint64_t kLargeRecordBytes = 512 * 1024;    ///< longer ones are not copied
    static constexpr uint64_t kLogFileBytesMax = 64 * 1024 * 1024;
    static constexpr uint64_t kMarkUs = 1'000'000;
    static constexpr uint64_t kRetryUs = 1'000'000;              ///< between looks whether a disk is well again
    static constexpr uint64_t kSaveRetryUs = 5'000'000;          ///< between snapshots that fail, as Redis waits
    static constexpr int kParkMs = 100;
    static constexpr int kParkSavingMs = 10;
    static constexpr int kNapMs = 1;                             ///< between looks for followers (D5)
    static constexpr uint64_t kNapsEndUs = 50'000;               ///< after so long without a record
    static constexpr unsigned kSnapshotsKept = 2;
    static constexpr int kSaveNice = 5;
    static constexpr unsigned kSwapTriesMax = 5;

    /// Since when the oplog has been on, and from which number on without a gap (Root::oplog_started, oplog_gap).
    struct OplogPeriod {
        uint64_t started = 0, gap = 0;
        bool operator==(const OplogPeriod&) const = default;
    };
    enum class Policy : int64_t { always = 0, everysec = 1, no = 2 };

    // start
    void adopt_words();
    bool wait_for_md();
    void look_at_data_owner() const;
    void open_log();
    bool go_on_behind(const LogEnd& end);
    bool begins_with_nothing() const;
    // the log (keeper.cc)
    void turn();
    void follow_options();
    void follow_switch();
    OplogPeriod present_period() const;
    bool was_switched() const;
    bool take_records();
    bool add_records(uint64_t tail);
    bool write();
    void sync();
    void sync_now();
    void sync_every_second();
    void after_sync(const Syncer::Job& job);
    bool quiet_sync();
    void mark();
    void seal();
    void publish();
    void wake_md();
    void wake_io_conns();
    void park();
    // trouble
    void fail_disk(int error, const std::string& sentence);
    void fail_disk();
    void give_up_log();
    void try_again();
    void end_trouble();
    // snapshots (keeper_save.cc)
    void look_at_save();
    bool save_is_wanted(std::string& why) const;
    bool rule_is_met(std::string& why) const;
    bool log_has_grown(std::string& why) const;
    bool any_ticket() const;
    void begin_save();
    uint64_t begin_at_present();
    void take_tickets();
    void give_up_save(const char* why);
    void save_in_child(uint64_t start);
    bool write_snapshot(uint64_t start, bool ended, std::string& sentence);
    uint64_t agree_on_end();
    void help_walk();
    void reap_save();
    void end_save(bool good);
    void finish_save(uint64_t now_s);
    void end_child();
    void forget_child();
    void remove_old_files();
    void remove_partial_files();
    void last_save();
    bool last_save_is_wanted() const;
    void count_log_bytes();
    uint64_t changes() const { return words_->changes.load(std::memory_order_relaxed); }

    Policy policy() const { return static_cast<Policy>(live_.number(OptionId::appendfsync)); }
    /// Whether somebody follows who gets all of it from the log's files, and soon.
    bool is_followed() const { return repl_->needs_log.load(std::memory_order_acquire) != 0; }
    /// Whether replies wait for followers (R4 of repl_words.h).
    bool waits_for_followers() const { return live_.number(OptionId::replication_mode) == kSyncMode && live_.text(OptionId::replicaof).empty(); }
    void note_written();
    void look_at_followers();
    bool log_is_on() const { return live_.number(OptionId::appendonly) != 0; }

    Daemon& daemon_;
    const std::string folder_;
    Segment control_segment_, roster_segment_, words_segment_, repl_segment_;
    const Control* control_ = nullptr;
    Roster* roster_ = nullptr;
    LogWords* words_ = nullptr;
    ReplWords* repl_ = nullptr;
    Counters<LogCounter> counters_;
    ResidentMemory memory_;
    StoreReader store_;
    OplogReader oplog_;
    LiveValues live_;
    Fifo fifo_;
    Parker parker_;
    Bell md_bell_, repl_bell_;
    std::array<std::unique_ptr<Bell>, kMaxIoConns> io_bells_;
    std::unique_ptr<disk::LogWriter> writer_;
    Syncer syncer_;
    OplogEntry entry_;

    bool wanted_ = false;         ///< records are to go to the file
    bool logging_ = false;        ///< they do
    bool based_ = false;          ///< a snapshot and the log are a way back (L4)
    OplogPeriod period_;          ///< when the log was opened
    uint64_t position_ = 0;       ///< of the next record in the ring
    uint64_t written_to_ = 0;     ///< position up to which the file has it
    uint64_t synced_to_ = 0;      ///< and the disk
    uint64_t skip_to_ = 0;        ///< records up to this number are in the file already
    uint64_t seen_number_ = 0;    ///< every commit up to it is before position_
    uint64_t synced_seen_ = 0;    ///< seen_number_ of synced_to_
    /// What was written at once: followers that have this number have all before that position.
    struct Written {
        uint64_t number, position, seen;
    };
    static constexpr size_t kWrittenMax = 4096;
    std::deque<Written> written_;
    uint64_t worked_us_ = 0;      ///< when there was a record last
    bool waited_ = false;         ///< followers were waited for at the last look
    uint64_t replicated_to_ = 0, replicated_seen_ = 0;  ///< position that enough followers have reached, and number of which every commit is before it
    uint64_t marked_to_ = 0;      ///< position up to which the file says that it is durable
    uint64_t next_mark_us_ = 0, next_sync_us_ = 0, next_try_us_ = 0, next_save_us_ = 0;
    uint64_t syncing_to_ = 0, syncing_seen_ = 0, syncing_since_us_ = 0;
    bool disk_fails_ = false;     ///< nothing can be written
    bool gave_up_ = false;        ///< a log that is only there for followers could not be written
    bool lost_sync_ = false;      ///< a sync has failed, and what the file lacks only the store has
    bool strict_ = false;         ///< the marks of `always` are kept (D3)
    uint64_t started_s_ = 0;

    pid_t child_ = 0;
    OplogPeriod child_period_;    ///< when it began
    uint64_t child_stream_ = 0, child_stream_database_ = 0;  ///< stream number and database when it began
    uint64_t child_changes_ = 0;  ///< changes() when it began
    bool child_by_rule_ = false;
    std::array<uint64_t, kMaxIoConns> child_tickets_{};
    uint64_t child_repl_ticket_ = 0;
    bool save_pending_ = false;   ///< one is to begin once the log is written
    std::string pending_why_;
    uint64_t looked_at_us_ = 0;
    uint64_t log_bytes_at_save_ = 0, snapshot_bytes_ = 0;
};

}  // namespace millrace::md_log
