// Memory of the store: pages, and chunks in size classes. Runs in md.
//
// Everything that it changes goes into the write set (T2), so allocation and release are part of the operation's commit.
// Chunks that an operation frees are collected and put back last, so that it never gets them again itself (T4).
// A page whose last chunk is freed goes back to the free pages, and from there to any class or to the system. Readers ask for two
// exceptions (T9): memory goes to the system, and an emptied page of index segments to the free pages, only when nobody reads any
// more who may have found it in use. A page of index segments has marks (marks.h) from before it is linked until it is none any more.
#pragma once

#include <vector>

#include <unordered_map>

#include "md/marks.h"
#include "md/readers.h"
#include "md/write_set.h"

namespace millrace::md {

class Allocator {
  public:
    Allocator(const StoreMemory& memory, WriteSet& set, Marks& marks = no_marks());

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
    /// its commit. Returns how many. REQUIRES: no page waits for give_back_holes().
    unsigned retire_free_pages(uint64_t keep, unsigned limit);
    /// Gives the memory of the pages that retire_free_pages() moved back to the system. False: somebody may still read there.
    bool give_back_holes(const Readers& readers);
    /// Whether pages were retired whose memory has not been given back.
    bool holes_wait() const { return !retired_.empty(); }
    /// Moves up to `limit` pages of index segments that are empty to the free pages, as a write set of its own. Returns how many.
    unsigned release_index_pages(const Readers& readers, unsigned limit);
    /// Gives the marks of those pages back, after the commit.
    void give_back_marks();
    bool is_index_page(uint64_t page) const {
        const st::PageState state = state_of(page);
        return state.kind == st::PageKind::slab && state.size_class == st::kIndexClass;
    }
    bool index_pages_wait() const { return !emptied_.empty(); }
    /// Looks for such pages that a predecessor has left, at most `limit` pages on.
    void find_index_pages(unsigned limit);
    /// Takes the last holes, at most `limit`, for those whose memory a predecessor could not give back any more.
    void find_holes(unsigned limit);

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
    /// Of the commit that the operation under way will have, or of a later one.
    uint64_t next_number() const { return memory_.load(memory_.offset_of(&root().number)) + 1; }
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
    Marks& marks_;
    std::vector<uint64_t> unmarked_;  ///< pages that are no index pages any more, whose marks are to be given back
    std::vector<uint64_t> freed_;
    std::vector<uint64_t> retired_;
    uint64_t retired_by_ = 0;  ///< number of the commit that made them unreachable, or of a later one
    std::unordered_map<uint64_t, uint64_t> emptied_;  ///< pages of index segments without any: number of the commit that did it
    uint64_t reserve_ = 0;
    uint64_t backed_;  ///< pages below this number are backed by the system, or were once
};

}  // namespace millrace::md
