// See commit.h. Runs in md.
#include "md/commit.h"

#include <atomic>
#include <cstring>

#include "common/check.h"
#include "md/seeded_bugs.h"

namespace millrace::md {

namespace {

/// The n-th page from `page` on that is no region's first.
uint64_t nth_page(uint64_t page, uint64_t n) {
    for (;; ++page) {
        if (page % st::kRegionPages == 0) continue;
        if (n-- == 0) return page;
    }
}

uint64_t entry_in_journal(uint64_t index) { return st::kJournalAt + sizeof(st::JournalHeader) + index * sizeof(st::JournalEntry); }

}  // namespace

/// Place of an entry: in the journal's page, then in the overflow's.
uint64_t Committer::entry_at(uint64_t index, uint64_t overflow) const {
    if (index < st::kJournalEntries) return entry_in_journal(index);
    index -= st::kJournalEntries;
    const uint64_t nth = index / st::kOverflowEntries;
    const uint64_t page = overflow == st::kOverflowInTable ? header().overflow_pages[nth] : nth_page(overflow, nth);
    return (page << st::kPageShift) + index % st::kOverflowEntries * sizeof(st::JournalEntry);
}

bool Committer::reserve(const WriteSet& set) {
    overflow_ = 0;
    const uint64_t entries = set.words().size() + set.buckets().size();
    if (entries <= st::kJournalEntries) return true;
    const uint64_t pages = (entries - st::kJournalEntries + st::kOverflowEntries - 1) / st::kOverflowEntries;
    return back_behind_frontier(set, pages) || choose_free_pages(set, pages);
}

bool Committer::back_behind_frontier(const WriteSet& set, uint64_t pages) {
    const uint64_t first = set.read(&memory_.root().frontier);
    for (uint64_t i = 0; i < pages; ++i) {
        const uint64_t page = nth_page(first, i);
        if (page >= memory_.pages() || !memory_.back(page << st::kPageShift, st::kPageBytes)) return false;
    }
    overflow_ = first;
    return true;
}

/// Free pages before the operation and after it, which it has not used meanwhile: their descriptors are not in the set. What
/// is freed by it holds what must stay whole until the commit, and what it has taken may have words in the list.
bool Committer::choose_free_pages(const WriteSet& set, uint64_t pages) {
    auto& table = header().overflow_pages;
    if (pages > table.size()) return false;
    uint64_t chosen = 0;
    for (uint64_t page = memory_.root().free_pages & 0xffffffff; page != 0 && chosen < pages;) {
        const uint64_t descriptor = st::descriptor_at(page);
        if (!set.has(descriptor)) table[chosen++] = static_cast<uint32_t>(page);
        page = memory_.as<st::PageDescriptor>(descriptor)->next;
    }
    if (chosen < pages) return false;
    overflow_ = st::kOverflowInTable;
    return true;
}

void Committer::write_list(const WriteSet& set, uint64_t number) {
    const uint64_t buckets = set.buckets().size(), words = set.words().size();
    if (buckets + words <= st::kJournalEntries) {
        auto* entry = memory_.as<st::JournalEntry>(entry_in_journal(0));
        for (const uint64_t bucket : set.buckets()) *entry++ = {bucket, 0};
        if (words != 0) std::memcpy(entry, set.words().data(), words * sizeof *entry);
    } else {
        uint64_t index = 0;
        const auto put = [&](st::JournalEntry entry) { *memory_.as<st::JournalEntry>(entry_at(index++, overflow_)) = entry; };
        for (const uint64_t bucket : set.buckets()) put({bucket, 0});
        for (const st::JournalEntry& word : set.words()) put(word);
    }
    st::JournalHeader& list = header();
    memory_.store(memory_.offset_of(&list.number), number);
    memory_.store(memory_.offset_of(&list.buckets), buckets);
    memory_.store(memory_.offset_of(&list.words), words);
    memory_.store(memory_.offset_of(&list.overflow), overflow_);
}

void Committer::commit(WriteSet& set) {
    const uint64_t number = next_number();
    if constexpr (kSeededBug == SeededBug::commit_before_list)
        memory_.root().committed.store(number, std::memory_order_release);
    write_list(set, number);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    memory_.root().committed.store(number, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    apply(number);
    set.clear();
}

void Committer::apply_at_once(WriteSet& set) {
    const uint64_t number = next_number();
    for (const uint64_t bucket : set.buckets()) memory_.store(bucket, 2 * number);
    for (const st::JournalEntry& word : set.words()) memory_.store(word.offset, word.value);
    memory_.store(memory_.offset_of(&memory_.root().number), number);
    set.clear();
}

void Committer::apply(uint64_t number) {
    const st::JournalHeader& list = header();
    const bool long_list = list.overflow != 0;
    const auto place_of = [&](uint64_t index) { return long_list ? entry_at(index, list.overflow) : entry_in_journal(index); };
    const auto offset_of = [&](uint64_t index) { return memory_.load(place_of(index)); };
    for (uint64_t i = 0; i < list.buckets; ++i) memory_.store(offset_of(i), 2 * number + 1);
    std::atomic_thread_fence(std::memory_order_release);
    if constexpr (kSeededBug == SeededBug::even_before_words)
        for (uint64_t i = 0; i < list.buckets; ++i) memory_.store(offset_of(i), 2 * number);
    if (!long_list) {
        const auto* entry = memory_.as<st::JournalEntry>(entry_in_journal(list.buckets));
        for (const auto* const end = entry + list.words; entry != end; ++entry) memory_.store(entry->offset, entry->value);
    } else {
        for (uint64_t i = list.buckets; i < list.buckets + list.words; ++i) {
            const auto& entry = *memory_.as<st::JournalEntry>(place_of(i));
            memory_.store(entry.offset, entry.value);
        }
    }
    std::atomic_thread_fence(std::memory_order_release);
    for (uint64_t i = 0; i < list.buckets; ++i) memory_.store(offset_of(i), 2 * number);
    // Who sees the number sees the versions (T8), and who sees a chunk filled anew sees that it had been let go of.
    std::atomic_thread_fence(std::memory_order_release);
    memory_.store(memory_.offset_of(&memory_.root().number), number);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    memory_.root().committed.store(0, std::memory_order_release);
}

bool Committer::recover() {
    const uint64_t number = memory_.root().committed.load(std::memory_order_acquire);
    if (number == 0) return false;
    CHECK(header().number == number);  // T6
    if constexpr (kSeededBug == SeededBug::cleared_before_applied) memory_.root().committed.store(0);
    apply(number);
    if constexpr (kSeededBug == SeededBug::version_rolled_back)
        for (uint64_t i = 0; i < header().buckets; ++i) memory_.store(memory_.load(entry_at(i, header().overflow)), 2 * (number - 1));
    return true;
}

}  // namespace millrace::md
