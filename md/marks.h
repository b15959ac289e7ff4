// md's side of the marks (common/marks.h): their memory, and writing them. Runs in md.
//
// What is wanted and what is kept are words of the store's root; look() reads them. Store brings the two together in slices
// (tend_marks()), page by page; nothing about that is remembered beyond md: a new one looks at all pages once.
#pragma once

#include <cstdint>
#include <functional>

#include "common/marks.h"
#include "md/store_memory.h"

namespace millrace::md {

class Marks {
  public:
    /// No marks, ever: for tests of other things.
    Marks() : dice_(1) {}
    /// `base`: the marks' first byte. `back` and `give_back` as in StoreMemory, for bytes of the marks.
    /// `is_empty`: whether none have any memory.
    Marks(std::byte* base, StoreMemory::Back back, StoreMemory::GiveBack give_back, std::function<bool()> is_empty, uint64_t seed)
        : table_(base), back_(std::move(back)), give_back_(std::move(give_back)), is_empty_(std::move(is_empty)), dice_(seed) {}

    /// Reads what the root says, and the clock.
    void look(const StoreMemory& store);
    MarkKind wanted() const { return wanted_; }
    /// How often what is wanted has changed.
    uint64_t changes() const { return changes_; }
    MarkKind kept() const { return rules_.kind; }
    const MarkRules& rules() const { return rules_; }
    uint32_t now() const { return now_; }

    /// Memory for the marks of a page of index segments, if marks are kept or wanted, and fresh marks in it. False: there is none.
    bool take_page(uint64_t page);
    /// The same for a page whose marks may be there already: these stay.
    bool keep_page(uint64_t page) { return back_page(page); }
    void give_page(uint64_t page);
    bool is_empty() const { return !is_empty_ || is_empty_(); }

    // All of these do nothing while no marks are kept.
    void put_in(uint64_t bucket_at, unsigned slot) const {
        if (kept() != MarkKind::none) table_.write(bucket_at, slot, rules_.fresh(now_));
    }
    void use(uint64_t bucket_at, unsigned slot) {
        if (kept() != MarkKind::none) table_.use(rules_, bucket_at, slot, now_, dice_.next_half());
    }
    void move(uint64_t from_bucket, unsigned from_slot, uint64_t to_bucket, unsigned to_slot) const {
        if (kept() != MarkKind::none) table_.write(to_bucket, to_slot, table_.read(from_bucket, from_slot));
    }
    /// These two REQUIRE: marks are kept.
    void write(uint64_t bucket_at, unsigned slot, uint32_t mark) const { table_.write(bucket_at, slot, mark); }
    uint32_t read(uint64_t bucket_at, unsigned slot) const { return table_.read(bucket_at, slot); }
    void prefetch(uint64_t bucket_at) const {
        if (kept() != MarkKind::none) table_.prefetch(bucket_at);
    }

  private:
    /// As long as any are kept, whatever is wanted meanwhile, each page has to have them (M2).
    bool needed() const { return wanted_ != MarkKind::none || kept() != MarkKind::none; }
    bool back_page(uint64_t page);

    MarkTable table_;
    StoreMemory::Back back_;
    StoreMemory::GiveBack give_back_;
    std::function<bool()> is_empty_;
    MarkRules rules_;                   ///< of the marks that are kept
    MarkKind wanted_ = MarkKind::none;  ///< by the policy
    uint64_t changes_ = 0;
    uint32_t now_ = 0;                  ///< MarkRules::now()
    MarkDice dice_;
};

/// Of whoever keeps no marks.
inline Marks& no_marks() {
    static Marks none;
    return none;
}

}  // namespace millrace::md
