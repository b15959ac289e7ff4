// See allocator.h. Runs in md.
#include "md/allocator.h"

#include <algorithm>

#include "common/check.h"
#include "md/seeded_bugs.h"

namespace millrace::md {

namespace {

uint32_t chunks_of(unsigned size_class) { return static_cast<uint32_t>(st::kPageBytes / st::class_bytes(size_class)); }

}  // namespace

Allocator::Allocator(const StoreMemory& memory, WriteSet& set, Marks& marks)
    : memory_(memory), set_(set), marks_(marks), backed_(memory.load(memory.offset_of(&memory.root().frontier))) {}

uint64_t Allocator::pop_page(const uint64_t& list) {
    const uint64_t word = set_.read(&list);
    const uint64_t page = word & 0xffffffff;
    if (page == 0) return 0;
    set_.write(&list, (links_of(page) & 0xffffffff) | ((word >> 32) - 1) << 32);
    return page;
}

void Allocator::push_page(const uint64_t& list, uint64_t page, st::PageKind kind) {
    const uint64_t word = set_.read(&list);
    set_state(page, {kind, 0, 0, 0, 0});
    set_links(page, static_cast<uint32_t>(word), 0);
    set_.write(&list, page | ((word >> 32) + 1) << 32);
}

/// A page that was never used, or 0. Memory is taken in steps, so that most pages cost no system call.
uint64_t Allocator::fresh_page() {
    uint64_t page = set_.read(&root().frontier);
    if (page % st::kRegionPages == 0) {  // a region begins: its descriptors need memory first
        if (page + 1 >= memory_.pages() || !memory_.back(st::descriptor_at(page), kPageSize)) return 0;
        ++page;
    }
    if (page >= memory_.pages()) return 0;
    if (page >= backed_) {
        const uint64_t region_end = (page / st::kRegionPages + 1) * st::kRegionPages;
        const uint64_t wanted = std::clamp(page / 64, kBackPagesMin, kBackPagesMax);
        uint64_t count = std::min({wanted, region_end - page, memory_.pages() - page});
        if (!memory_.back(page << st::kPageShift, count << st::kPageShift)) {
            count = 1;
            if (!memory_.back(page << st::kPageShift, st::kPageBytes)) return 0;
        }
        backed_ = page + count;
    }
    set_.write(&root().frontier, page + 1);
    return page;
}

/// A page that has no memory yet, with memory now.
uint64_t Allocator::page_from_system() {
    const uint64_t hole = set_.read(&root().holes) & 0xffffffff;
    if (hole != 0 && memory_.back(hole << st::kPageShift, st::kPageBytes)) return pop_page(root().holes);
    return fresh_page();
}

uint64_t Allocator::allocate_page(Need need) {
    if (free_page_count() > reserve_) return pop_page(root().free_pages);
    if (const uint64_t page = page_from_system(); page != 0) return page;
    return need == Need::urgent ? pop_page(root().free_pages) : 0;
}

bool Allocator::fill_reserve() {
    if (free_page_count() >= reserve_) return false;
    const uint64_t page = page_from_system();
    if (page != 0) push_page(root().free_pages, page, st::PageKind::free);
    return page != 0;
}

void Allocator::link_partial(unsigned size_class, uint64_t page) {
    const uint64_t& head = root().partial[size_class];
    const auto first = static_cast<uint32_t>(set_.read(&head));
    set_links(page, first, 0);
    if (first != 0) set_links(first, static_cast<uint32_t>(links_of(first)), static_cast<uint32_t>(page));
    set_.write(&head, page);
}

void Allocator::unlink_partial(unsigned size_class, uint64_t page) {
    const uint64_t links = links_of(page);
    const auto next = static_cast<uint32_t>(links);
    const auto previous = static_cast<uint32_t>(links >> 32);
    if (next != 0) set_links(next, static_cast<uint32_t>(links_of(next)), previous);
    if (previous != 0) set_links(previous, next, static_cast<uint32_t>(links_of(previous) >> 32));
    else set_.write(&root().partial[size_class], next);
}

uint64_t Allocator::allocate_chunk(unsigned size_class, Need need) {
    uint64_t page = set_.read(&root().partial[size_class]);
    st::PageState state;
    if (page == 0) {
        page = allocate_page(need);
        if (page == 0) return 0;
        if (size_class == st::kIndexClass) {
            if (!marks_.take_page(page)) {
                push_page(root().free_pages, page, st::PageKind::free);
                return 0;
            }
            set_.add(&root().index_pages, 1);
        }
        state = {st::PageKind::slab, static_cast<uint8_t>(size_class), 0, 0, 0};
        link_partial(size_class, page);
    } else {
        state = state_of(page);
    }
    const uint32_t bytes = st::class_bytes(size_class);
    const uint64_t start = page << st::kPageShift;
    uint32_t index;
    if (state.free_head != 0) {
        index = state.free_head - 1u;
        state.free_head = static_cast<uint16_t>(set_.read(start + uint64_t{index} * bytes + st::link_offset(size_class)));
    } else {
        index = state.bump++;
    }
    ++state.used;
    set_state(page, state);
    if (state.used == chunks_of(size_class)) unlink_partial(size_class, page);
    set_.add(&root().used_bytes, bytes);
    return start + uint64_t{index} * bytes;
}

uint64_t Allocator::allocate(uint32_t bytes, Need need) {
    CHECK(bytes <= st::kPageBytes);
    if constexpr (kSeededBug == SeededBug::reuse_in_operation) settle();
    if (bytes <= st::kChunkBytesMax) return allocate_chunk(st::class_for(bytes), need);
    const uint64_t page = allocate_page(need);
    if (page == 0) return 0;
    set_state(page, {st::PageKind::whole, 0, 1, 0, 0});
    set_.add(&root().used_bytes, st::kPageBytes);
    return page << st::kPageShift;
}

uint32_t Allocator::capacity_of(uint64_t reference) const {
    const st::PageState state = state_of(reference >> st::kPageShift);
    return state.kind == st::PageKind::slab ? st::class_bytes(state.size_class) : static_cast<uint32_t>(st::kPageBytes);
}

void Allocator::put_back(uint64_t reference) {
    const uint64_t page = reference >> st::kPageShift;
    st::PageState state = state_of(page);
    if (state.kind == st::PageKind::whole) {
        CHECK(reference % st::kPageBytes == 0);
        set_.add(&root().used_bytes, 0 - st::kPageBytes);
        return push_page(root().free_pages, page, st::PageKind::free);
    }
    CHECK(state.kind == st::PageKind::slab && state.used > 0);
    const uint32_t bytes = st::class_bytes(state.size_class);
    set_.add(&root().used_bytes, 0 - uint64_t{bytes});
    const bool was_full = state.used == chunks_of(state.size_class);
    if (state.used == 1 && state.size_class == st::kIndexClass) {
        emptied_[page] = next_number();
    } else if (state.used == 1) {
        if (!was_full) unlink_partial(state.size_class, page);
        return push_page(root().free_pages, page, st::PageKind::free);
    }
    const auto index = static_cast<uint16_t>(reference % st::kPageBytes / bytes);
    if constexpr (kSeededBug == SeededBug::link_not_through_list)
        memory_.store(reference + st::link_offset(state.size_class), state.free_head);
    else set_.write(reference + st::link_offset(state.size_class), state.free_head);
    state.free_head = static_cast<uint16_t>(index + 1);
    --state.used;
    set_state(page, state);
    if (was_full) link_partial(state.size_class, page);
}

void Allocator::settle() {
    for (const uint64_t reference : freed_) put_back(reference);
    freed_.clear();
}

unsigned Allocator::retire_free_pages(uint64_t keep, unsigned limit) {
    retired_.clear();
    while (retired_.size() < limit && free_page_count() > keep) {
        const uint64_t page = pop_page(root().free_pages);
        push_page(root().holes, page, st::PageKind::hole);
        retired_.push_back(page);
    }
    retired_by_ = next_number();
    return static_cast<unsigned>(retired_.size());
}

bool Allocator::give_back_holes(const Readers& readers) {
    if (retired_.empty()) return true;
    if (!readers.all_passed(retired_by_)) return false;
    // One that is in use again meanwhile keeps its memory.
    for (const uint64_t page : retired_)
        if (state_of(page).kind == st::PageKind::hole) memory_.give_back(page << st::kPageShift, st::kPageBytes);
    retired_.clear();
    return true;
}

unsigned Allocator::release_index_pages(const Readers& readers, unsigned limit) {
    unsigned released = 0;
    unmarked_.clear();
    for (auto at = emptied_.begin(); at != emptied_.end() && released < limit;) {
        if (!readers.all_passed(at->second)) break;
        const uint64_t page = at->first;
        at = emptied_.erase(at);
        // It may be in use again, or an operation that was given up left it here.
        if (!is_index_page(page) || state_of(page).used != 0) continue;
        unlink_partial(st::kIndexClass, page);
        push_page(root().free_pages, page, st::PageKind::free);
        set_.add(&root().index_pages, 0 - uint64_t{1});
        unmarked_.push_back(page);
        ++released;
    }
    return released;
}

void Allocator::give_back_marks() {
    for (const uint64_t page : unmarked_) marks_.give_page(page);
    unmarked_.clear();
}

void Allocator::find_holes(unsigned limit) {
    retired_by_ = next_number();
    for (uint64_t page = set_.read(&root().holes) & 0xffffffff; page != 0 && retired_.size() < limit; page = links_of(page) & 0xffffffff)
        retired_.push_back(page);
}

void Allocator::find_index_pages(unsigned limit) {
    uint64_t page = set_.read(&root().partial[st::kIndexClass]);
    for (; page != 0 && limit > 0; --limit, page = links_of(page) & 0xffffffff)
        if (state_of(page).used == 0) emptied_.try_emplace(page, next_number());
}

}  // namespace millrace::md
