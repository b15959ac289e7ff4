// The data that the files of a data folder say, in memory: what a start would load, or what it would have loaded at an earlier record or time.
// Used by tools, which need as much memory as the data has, and a little more. Throws Error: one sentence, with file and place.
//
// Invariants:
//   I1  A record of the log changes a key only if its number is above the stamp that the key has in the snapshot; a key that is not there has
//       the snapshot's `start` for a stamp. So each effect counts once, whenever the snapshot has come by the key (S2 in snapshot_format.h).
//   I2  write_range and set_expiry of a key that is not there change nothing: a later record, which the snapshot has, has removed it.
//   I3  No snapshot spans a swap of databases: a swap between its `start` and its `end` is damage.
//   I4  What an image says is the data of one moment: the log was applied to at least the `end` of the snapshot.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/effects.h"

namespace millrace::disk {

class SnapshotReader;

/// How far a log is applied: up to this record, and as long as records are not younger than this; both included.
struct Until {
    uint64_t number = UINT64_MAX;
    int64_t wall_ms = INT64_MAX;
};

class DataImage {
  public:
    struct Entry {
        std::string value;
        int64_t expire_at_ms = -1;  ///< -1: none; what has expired is here until it is removed
        uint64_t stamp = 0;         ///< of the snapshot's item (I1); the log does not change it, because its numbers only rise
    };
    using Database = std::unordered_map<std::string, Entry>;
    /// Told now and then how many bytes of the files were read, and how many there are.
    using Progress = std::function<void(uint64_t done, uint64_t total)>;

    /// The newest snapshot that is whole and old enough, and the log behind it. Snapshots that are damaged are passed over, and remarks() tells so.
    static DataImage of_folder(const std::string& folder, Until until = {}, const Progress& progress = {});

    /// Applies a record's effects (I1, I2). False: they are faulty, or write behind a value's end; some of them may be applied then.
    bool apply(uint64_t number, std::string_view effects);

    std::array<Database, kEffectDatabases>& databases() { return databases_; }
    const std::array<Database, kEffectDatabases>& databases() const { return databases_; }
    uint64_t keys() const;
    /// Number of the last record that the image has.
    uint64_t number() const { return number_; }
    uint64_t instance() const { return instance_; }  ///< as the files say; 0: there are none
    /// Sentences about what was found and does no harm.
    const std::vector<std::string>& remarks() const { return remarks_; }
    /// Removes what expires at `now_ms` or before; gives how many keys that were.
    uint64_t remove_expired(int64_t now_ms);

  private:
    bool load(const std::string& path, const Until& until, const Progress& progress, uint64_t total);
    void take_items(SnapshotReader& snapshot, const Progress& progress, uint64_t total);
    void replay(const std::string& folder, const Until& until, const Progress& progress, uint64_t total);
    void require_reached(uint64_t reached) const;
    bool apply(uint64_t number, const Effect& effect);
    bool applies(uint64_t number, const Entry& entry) const { return number > entry.stamp; }
    bool write_range(uint64_t number, const Effect& effect);
    void clear(uint64_t number, Database& database);

    std::array<Database, kEffectDatabases> databases_;
    std::string snapshot_;  ///< its path; empty: there is none
    uint64_t start_ = 0, end_ = 0, number_ = 0, instance_ = 0, snapshot_bytes_ = 0;
    std::vector<std::string> remarks_;
};

}  // namespace millrace::disk
