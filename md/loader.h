// Loads the data folder into a fresh store: the newest snapshot, and what the log says behind it. Runs in md, before it serves.
//
// The order: the snapshot's head; the log from its start S to its end E, of which only the keys are noted that were written meanwhile; the
// snapshot's items, with the stamps of those keys; the log from S on. Up to E a record changes a key only if it is later than the key's stamp
// (common/disk/snapshot_format.h), behind it always.
// What is found wrong:
//   a tail of the log that was never durable    is cut off, with a line in the log
//   a hole behind which the log begins anew     ends the loading there: what comes behind it has no beginning (md/log/keeper.h, L4)
//   damage                                      ends the start with a sentence that says what is lost by which way out; with --repair the damaged end of
//                                               the log is put aside, or the older snapshot is taken
//   files of a newer millrace                   end the start
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/daemon.h"
#include "common/disk/log_reader.h"
#include "common/disk/snapshot_reader.h"
#include "common/effects.h"
#include "md/back_ahead.h"
#include "md/read_ahead.h"
#include "md/store.h"

namespace millrace::md {

/// What helps a start that has a second processor, begun before md is confined.
struct LoadHelpers {
    std::unique_ptr<ReadAhead> reader;
    std::unique_ptr<BackAhead> backer;
};

class Loader {
  public:
    /// `progress(bytes read, bytes in all)` is called often.
    /// `ahead`: a process that reads the newest snapshot already, if there is one.
    Loader(Store& store, std::string folder, bool repair, std::unique_ptr<ReadAhead> ahead, std::function<void(uint64_t, uint64_t)> progress);

    /// Whether there is anything to load.
    bool has_data() const { return !snapshots_.empty() || !logs_.empty(); }
    /// Throws Error. Afterwards the store is whole, and so is the log's end.
    void run();
    /// For people: what was loaded, and how fast.
    std::string report() const;

  private:
    /// Keys whose places are fetched into the processor's cache before they are put.
    static constexpr size_t kBatchKeys = 16;

    struct Pending {
        unsigned database;
        std::string_view key, value;
        int64_t expire_at_ms;
        st::KeyPlace place;
    };

    void note_keys_written(uint64_t start, uint64_t end);
    void load_items(disk::SnapshotReader& snapshot);
    void settle_history();
    void load_log(uint64_t start, uint64_t end);
    void end_log(disk::LogReader& log, disk::LogReader::Outcome outcome, uint64_t end);
    void cut(const disk::LogReader& log);
    void put_aside(const std::string& path);
    void put_aside_from(const std::string& path);
    void apply(uint64_t number, std::string_view effects, bool within);
    void apply_one(uint64_t number, const Effect& effect, bool within);
    void change_part(const Effect& effect);
    void clear(uint64_t number, unsigned database, bool within);
    bool is_older(uint64_t number, const Effect& effect) const;
    void put(unsigned database, std::string_view key, std::string_view value, int64_t expire_at_ms);
    void add(unsigned database, std::string_view key, std::string_view value, int64_t expire_at_ms);
    void flush();
    std::string value_of(const Value& value) const;
    static std::string name_of(unsigned database, std::string_view key) { return static_cast<char>(database) + std::string(key); }
    void tell_progress(uint64_t more);

    Store& store_;
    const std::string folder_;
    const bool repair_;
    std::unique_ptr<ReadAhead> ahead_;
    std::function<void(uint64_t, uint64_t)> progress_;
    std::vector<std::string> snapshots_;
    std::vector<disk::LogFileInfo> logs_;
    std::unordered_map<std::string, uint64_t> stamps_;  ///< of keys that were written while the snapshot was, 0: not in it
    std::vector<Pending> batch_;
    uint64_t last_number_ = 0;  ///< of the last record
    uint64_t stream_ = 0;       ///< stream number of what was loaded
    uint64_t stream_database_ = 0;
    uint64_t items_ = 0, records_ = 0, bytes_ = 0, all_bytes_ = 0, began_us_ = 0, took_us_ = 0;
    uint64_t bytes_before_log_ = 0;
};

}  // namespace millrace::md
