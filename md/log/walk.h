// Walks the store while md changes it, and writes a snapshot. Runs in md_log, in a process of its own that ends with it.
//
// A snapshot is no moment: each item has a stamp, and has the effects of every commit up to it; what the log says of later commits is done
// again when the snapshot is loaded (common/disk/snapshot_format.h). The order, for one segment of the index after the other, by hash:
//   known     the route; then the number N of the last commit, with none under way; the route still says the same: what follows has all up to N
//   view      the segment's 64 buckets, copied whole under their versions: all even, and the same before and after the copy. So a key that lives
//             through the view is in it exactly once, however keys move between buckets
//   item      key, value and expiry of each slot, copied while they may change
//   confirm   the slot's bucket has the version of the view still: what was copied is whole. Else the key's two buckets are copied again, under
//             their versions: one of them has the same slot: the item is the same one, and its key is compared with a second copy
//   stamp     the greater of N and the view's version of the bucket
//   gone      neither bucket has the slot, and the segment has not been split: the item was replaced or removed by a commit after the view. The
//             log has that one, with the whole value if there is one (X2 of effects.h): nothing is written
// Invariants:
//   K1  Every key that lives through the walk, and was not written anew, is in the snapshot at least once; later occurrences have higher stamps.
//   K2  An item's value may have been changed where it lies after the stamp, by commits that the log says again; so it need not be whole. Its key is.
//       A large value is copied without looking back: if it was replaced, what was copied is garbage with a stamp below the log's record of it.
//   K3  Databases swapped during the walk would be in it twice or not at all: it begins anew (X3). One emptied meanwhile is in the log.
//   K4  While it looks at a segment the walk says so (walk_reading): no memory that was in use then goes back to the system (T9).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/disk/snapshot_writer.h"
#include "common/log_words.h"
#include "common/store_reader.h"

namespace millrace::md_log {

class Walk {
  public:
    /// `rate`: bytes of keys and values a second, 0 = no limit.
    Walk(const StoreReader& store, LogWords& words, disk::SnapshotWriter& out, uint64_t rate) : store_(store), words_(words), out_(out), rate_(rate) {}

    enum class Outcome { done, swapped, write_failed, restless };
    /// All databases. `swapped`: K3. `restless`: a segment did not hold still for kViewTries looks.
    Outcome run();
    /// Is told of every segment; for who wants to show how far it is.
    void set_progress(std::function<void(uint64_t keys)> progress) { progress_ = std::move(progress); }

  private:
    static constexpr unsigned kViewTries = 20'000;
    static constexpr unsigned kSpinTries = 50;  ///< of these without sleeping in between
    static constexpr size_t kPieceBytes = 256 * 1024;

    using View = std::array<st::Bucket, st::kBuckets>;
    struct Place {
        uint64_t route = 0;      ///< the word
        uint64_t segment = 0;    ///< 0: the database has no keys
        uint64_t number = 0;     ///< N
        unsigned depth = 0;      ///< of the segment
    };
    struct Item {
        std::string key;
        std::string value;
        uint64_t large = 0;      ///< or the reference of a large one, of which only the key is copied
        uint64_t value_length = 0;
        int64_t expire_at_ms = -1;
    };
    enum class Look { ok, again, gone };

    bool walk_database(unsigned database, Outcome& outcome);
    bool walk_segment(unsigned database, uint64_t prefix, Place& place, Outcome& outcome);
    bool locate(unsigned database, uint64_t prefix, Place& place) const;
    bool settle(unsigned database, Place& place) const;
    bool copy_view(unsigned database, const Place& place);
    bool copy_pair(uint64_t segment, unsigned first, unsigned second, st::Bucket& one, st::Bucket& other) const;
    bool stands(unsigned database, const Place& place) const;
    Look read_item(uint64_t reference, Item& item) const;
    Look confirm(unsigned database, const Place& place, unsigned bucket, st::Slot slot, uint64_t bits);
    bool same_key(uint64_t reference);
    bool copy_large(uint64_t item, uint64_t from, uint64_t length, const std::function<bool(std::string_view)>& take) const;
    bool write_item(unsigned database, uint64_t stamp);
    bool write_slots(unsigned database, const Place& place, Look& look);
    void hold_rate(uint64_t bytes);

    const StoreReader& store_;
    LogWords& words_;
    disk::SnapshotWriter& out_;
    uint64_t rate_, taken_ = 0, began_us_ = 0;
    View view_;
    Item item_, second_;
    std::function<void(uint64_t)> progress_;
};

}  // namespace millrace::md_log
