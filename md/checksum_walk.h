// The checksums of all databases (common/data_checksum.h) taken anew from the keys, in slices, while operations go on. Runs in md.
//
// Invariants:
//   W1  `sums` have each key of the databases before `database`, and of that one each whose hash is below `position`: with what it has now. An operation that
//       changes such a key changes the sum by as much, when it is committed.
//   W2  Keys with hashes from `position` to `end` are being summed up (`part`), if `under_way`. When an operation changes one of them, that part is begun anew:
//       only a value of more than kLongValue makes a part take longer than a slice.
//   W3  Databases that are swapped begin the walk anew, and so does what is undone of a strict pair's window.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/store_layout.h"

namespace millrace::md {

namespace st = millrace::store;

struct ChecksumWalk {
    static constexpr uint64_t kLongValue = 256 * 1024;  ///< bytes; longer ones are read in pieces
    static constexpr unsigned kPatience = 8;            ///< times that a part is begun anew before it is read in one go, however long that takes

    /// What the operation under way does to a sum.
    struct Change {
        enum class Kind : uint8_t { key, clear, swap } kind;
        unsigned database;
        uint64_t hash;
        uint64_t difference;
    };
    /// A value that is read in pieces.
    struct Long {
        uint64_t item;
        uint64_t next_block;
    };

    bool active = false;
    unsigned database = 0;
    uint64_t position = 0;
    std::array<uint64_t, st::kDatabases> sums{};
    uint64_t keys = 0;  ///< summed up so far

    bool under_way = false;
    uint64_t end = 0;  ///< 0: the end of the database
    uint64_t part = 0, part_keys = 0;
    unsigned begun = 0;  ///< times that this part was
    std::vector<Long> longs;
    std::vector<Change> changes;

    void begin() {
        *this = {};
        active = true;
    }
    bool covers(const Change& change) const { return change.database < database || (change.database == database && change.hash < position); }
    bool is_reading(const Change& change) const { return under_way && change.database == database && change.hash >= position && (end == 0 || change.hash < end); }
    /// The operation is committed.
    void settle() {
        for (const Change& change : changes) {
            if (change.kind == Change::Kind::swap) return begin();
            if (change.kind == Change::Kind::clear) {
                sums[change.database] = 0;
                if (change.database == database) under_way = false;
            } else if (covers(change)) {
                sums[change.database] += change.difference;
            } else if (is_reading(change)) {
                under_way = false;
            }
        }
        changes.clear();
    }
};

}  // namespace millrace::md
