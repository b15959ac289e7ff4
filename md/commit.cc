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
    const uint64_t buckets = set.buckets().size(), words = set.words().size();
    uint64_t overflow = 0;
    if (buckets + words <= st::kJournalEntries) {
        auto* entry = memory_.as<st::JournalEntry>(entry_in_journal(0));
        for (const uint64_t bucket : set.buckets()) *entry++ = {bucket, 0};
        if (words != 0) std::memcpy(entry, set.words().data(), words * sizeof *entry);
    } else {
        overflow = set.read(&memory_.root().frontier);
        uint64_t index = 0;
        const auto put = [&](st::JournalEntry entry) { *memory_.as<st::JournalEntry>(entry_at(index++, overflow)) = entry; };
        for (const uint64_t bucket : set.buckets()) put({bucket, 0});
        for (const st::JournalEntry& word : set.words()) put(word);
    }
    st::JournalHeader& list = header();
    memory_.store(memory_.offset_of(&list.number), number);
    memory_.store(memory_.offset_of(&list.buckets), buckets);
    memory_.store(memory_.offset_of(&list.words), words);
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
