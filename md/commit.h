// The commit: makes a write set real in one step, and finishes what a dead predecessor had committed. Runs in md.
//
// Order of operations (T1, T3, T6 of common/store_layout.h):
//   1. the list goes into the journal: touched buckets, then (offset, value) of each word, then the header with the number
//   2. `committed` := number                                  <- the commit: this one store
//   3. apply: versions of all listed buckets odd; all words; versions even; root.number := number
//   4. `committed` := 0
// Recovery does 3 and 4 if `committed` is not 0; a crash inside recovery leaves it to be done again.
// Against SIGKILL only the compiler's order matters; readers in other processes get release order at 2, 3 and the versions.
#pragma once

#include <algorithm>

#include "md/write_set.h"

namespace millrace::md {

class Committer {
  public:
    explicit Committer(const StoreMemory& memory) : memory_(memory) {}

    /// The number that the next commit will have.
    uint64_t next_number() const { return std::max(memory_.load(memory_.offset_of(&memory_.root().number)) + 1, least_); }
    /// No further commit has a lower number.
    void set_least(uint64_t number) { least_ = number; }
    /// Whether the journal has room for the set, taking memory for long lists; without any, free pages that the set leaves
    /// alone. Asked before commit().
    bool reserve(const WriteSet& set);
    /// Commits and applies; clears the set. REQUIRES: reserve(set).
    void commit(WriteSet& set);
    /// The same without a list, which a death in the middle would leave half done: for a store that nobody reads, and that is thrown away then.
    void apply_at_once(WriteSet& set);
    /// Finishes what was committed; true if there was something.
    bool recover();

  private:
    st::JournalHeader& header() const { return *memory_.as<st::JournalHeader>(st::kJournalAt); }
    uint64_t entry_at(uint64_t index, uint64_t overflow) const;
    bool back_behind_frontier(const WriteSet& set, uint64_t pages);
    bool choose_free_pages(const WriteSet& set, uint64_t pages);
    void write_list(const WriteSet& set, uint64_t number);
    void apply(uint64_t number);

    const StoreMemory& memory_;
    uint64_t least_ = 0;     ///< number of the next commit, at least
    uint64_t overflow_ = 0;  ///< what reserve() has found for the list's overflow, as in JournalHeader
};

}  // namespace millrace::md
