// See commit.h. Runs in md.
#include "md/commit.h"

#include <atomic>

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

uint64_t journal_entry_at(uint64_t index) { return st::kJournalAt + sizeof(st::JournalHeader) + index * sizeof(st::JournalEntry); }

}  // namespace

/// Place of an entry: in the journal's page, then in the overflow's.
uint64_t Committer::entry_at(uint64_t index, uint64_t overflow) const {
    if (index < st::kJournalEntries) return journal_entry_at(index);
    index -= st::kJournalEntries;
    return (nth_page(overflow, index / st::kOverflowEntries) << st::kPageShift) +
           index % st::kOverflowEntries * sizeof(st::JournalEntry);
}

bool Committer::reserve(const WriteSet& set) {
    const uint64_t entries = set.words().size() + set.buckets().size();
    if (entries <= st::kJournalEntries) return true;
    const uint64_t first = set.read(&memory_.root().frontier);
    const uint64_t count = (entries - st::kJournalEntries + st::kOverflowEntries - 1) / st::kOverflowEntries;
    for (uint64_t i = 0; i < count; ++i) {
        const uint64_t page = nth_page(first, i);
        if (page >= memory_.pages() || !memory_.back(page << st::kPageShift, st::kPageBytes)) return false;
    }
    return true;
}

void Committer::write_list(const WriteSet& set, uint64_t number) {
    const uint64_t count = set.buckets().size() + set.words().size();
    const bool long_list = count > st::kJournalEntries;
    const uint64_t overflow = long_list ? set.read(&memory_.root().frontier) : 0;
    uint64_t index = 0;
    const auto put = [&](uint64_t offset, uint64_t value) {
        const uint64_t at = long_list ? entry_at(index, overflow) : journal_entry_at(index);
        ++index;
        memory_.store(at, offset);
        memory_.store(at + 8, value);
    };
    for (const uint64_t bucket : set.buckets()) put(bucket, 0);
    for (const st::JournalEntry& word : set.words()) put(word.offset, word.value);
    st::JournalHeader& list = header();
    memory_.store(memory_.offset_of(&list.number), number);
    memory_.store(memory_.offset_of(&list.buckets), set.buckets().size());
    memory_.store(memory_.offset_of(&list.words), set.words().size());
    memory_.store(memory_.offset_of(&list.overflow), overflow);
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

void Committer::apply(uint64_t number) {
    const st::JournalHeader list = header();
    const bool long_list = list.overflow != 0;
    const auto place_of = [&](uint64_t index) { return long_list ? entry_at(index, list.overflow) : journal_entry_at(index); };
    const auto offset_of = [&](uint64_t index) { return memory_.load(place_of(index)); };
    for (uint64_t i = 0; i < list.buckets; ++i) memory_.store(offset_of(i), 2 * number + 1);
    std::atomic_thread_fence(std::memory_order_release);
    if constexpr (kSeededBug == SeededBug::even_before_words)
        for (uint64_t i = 0; i < list.buckets; ++i) memory_.store(offset_of(i), 2 * number);
    for (uint64_t i = list.buckets; i < list.buckets + list.words; ++i) {
        const uint64_t at = place_of(i);
        memory_.store(memory_.load(at), memory_.load(at + 8));
    }
    std::atomic_thread_fence(std::memory_order_release);
    for (uint64_t i = 0; i < list.buckets; ++i) memory_.store(offset_of(i), 2 * number);
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
