// Memory of the store: pages, and chunks in size classes. Runs in md.
//
// Everything that it changes goes into the write set (T2), so allocation and release are part of the operation's commit.
// Chunks that an operation frees are collected and put back last, so that it never gets them again itself (T4).
// A page whose last chunk is freed goes back to the free pages, and from there to any class or to the system.
#pragma once

#include <vector>

#include "md/write_set.h"

namespace millrace::md {

class Allocator {
  public:
    Allocator(const StoreMemory& memory, WriteSet& set);

    /// Free pages to keep for what must go on when there is no memory: replies of reads, and clearing. 0 at first.
    void set_reserve(uint64_t pages) { reserve_ = pages; }
    enum class Need { ordinary, urgent };

    /// A chunk of at least `bytes`; 0 when there is no memory. More than kChunkBytesMax (at most a page): a whole page.
    uint64_t allocate(uint32_t bytes, Need need = Need::ordinary);
    /// A chunk for an index segment; 0 when there is no memory.
    uint64_t allocate_index_segment() { return allocate_chunk(st::kIndexClass, Need::ordinary); }
    /// Frees a chunk or whole page once the operation's allocations are all made: at settle().
    void free(uint64_t reference) { freed_.push_back(reference); }
    /// Puts what was freed back. Nothing may be allocated after it in the same operation.
    void settle();
    /// Forgets what was to be freed: the operation is given up.
    void abandon() { freed_.clear(); }

    /// Takes a page from the system for the reserve, as a write set of its own. False: it is full, or there is no memory.
    bool fill_reserve();
    /// Bytes that the chunk has, used or not.
    uint32_t capacity_of(uint64_t reference) const;

    /// Moves up to `limit` free pages beyond `keep` to the holes, as a write set of its own; then give_back_holes() after
    /// its commit. Returns how many.
    unsigned retire_free_pages(uint64_t keep, unsigned limit);
    /// Gives the memory of the pages that retire_free_pages() moved back to the system.
    void give_back_holes();

    uint64_t free_page_count() const { return set_.read(&root().free_pages) >> 32; }

  private:
    static constexpr uint64_t kBackPagesMin = 4;   ///< pages taken from the system at once, at least
    static constexpr uint64_t kBackPagesMax = 16;  ///< and at most: taking a page costs microseconds

    const st::Root& root() const { return memory_.root(); }
    st::PageState state_of(uint64_t page) const { return st::PageState::from(set_.read(st::descriptor_at(page))); }
    void set_state(uint64_t page, st::PageState state) { set_.write(st::descriptor_at(page), state.word()); }
    uint64_t links_of(uint64_t page) const { return set_.read(st::descriptor_at(page) + 8); }
    void set_links(uint64_t page, uint32_t next, uint32_t previous) {
        set_.write(st::descriptor_at(page) + 8, next | uint64_t{previous} << 32);
    }
    uint64_t pop_page(const uint64_t& list);
    void push_page(const uint64_t& list, uint64_t page, st::PageKind kind);
    uint64_t fresh_page();
    uint64_t page_from_system();
    uint64_t allocate_page(Need need);
    uint64_t allocate_chunk(unsigned size_class, Need need);
    void link_partial(unsigned size_class, uint64_t page);
    void unlink_partial(unsigned size_class, uint64_t page);
    void put_back(uint64_t reference);

    const StoreMemory& memory_;
    WriteSet& set_;
    std::vector<uint64_t> freed_;
    std::vector<uint64_t> retired_;
    uint64_t reserve_ = 0;
    uint64_t backed_;  ///< pages below this number are backed by the system, or were once
};

}  // namespace millrace::md
