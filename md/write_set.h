// The words that an operation is going to change, and what the store looks like with them. Runs in md.
//
// Everything that an operation reads of the store goes through here once it has changed something, so it sees its own
// changes before anybody else does. The commit (commit.h) writes the set into the journal and applies it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "md/store_memory.h"

namespace millrace::md {

class WriteSet {
  public:
    explicit WriteSet(const StoreMemory& memory) : memory_(memory) {}

    void clear();
    bool empty() const { return words_.empty() && buckets_.empty(); }

    /// The word at `offset` (a multiple of 8) as it will be.
    uint64_t read(uint64_t offset) const {
        if ((filter_ & filter_bit(offset)) == 0) return memory_.load(offset);
        const size_t at = find(offset);
        return at == kNone ? memory_.load(offset) : words_[at].value;
    }
    void write(uint64_t offset, uint64_t value);
    /// The same for a word that this operation has not written yet: spares the look for it.
    void write_first(uint64_t offset, uint64_t value) {
        filter_ |= filter_bit(offset);
        words_.push_back({offset, value});
        if (words_.size() > kLinearMax) enter_last();
    }
    void write_first(const uint64_t* word, uint64_t value) { write_first(memory_.offset_of(word), value); }
    /// The same for a run of words that follow each other.
    void write_first(uint64_t offset, std::span<const uint64_t> values);
    uint64_t read(const uint64_t* word) const { return read(memory_.offset_of(word)); }
    void write(const uint64_t* word, uint64_t value) { write(memory_.offset_of(word), value); }
    void add(const uint64_t* word, uint64_t difference) { write(word, read(word) + difference); }

    /// The bucket at `offset` as it will be.
    st::Bucket read_bucket(uint64_t offset) const {
        st::Bucket bucket;
        if (words_.empty()) {
            for (unsigned i = 0; i < bucket.words.size(); ++i) bucket.words[i] = memory_.load(offset + 8 * i);
        } else {
            for (unsigned i = 0; i < bucket.words.size(); ++i) bucket.words[i] = read(offset + 8 * i);
        }
        return bucket;
    }
    /// Changes a bucket: its version will be that of the commit (T3).
    void write_bucket(uint64_t offset, const st::Bucket& bucket);
    /// Whether the word is going to change.
    bool has(uint64_t offset) const { return (filter_ & filter_bit(offset)) != 0 && find(offset) != kNone; }
    /// Whether the bucket may be changed or touched already, and with it perhaps what its slots refer to. When there are many, the
    /// answer is yes: looking through them would cost more than it spares.
    bool may_be_touched(uint64_t offset) const;
    /// The bucket's version will be that of the commit, whatever else changes: who has read it must look again.
    void touch_bucket(uint64_t offset);

    const std::vector<st::JournalEntry>& words() const { return words_; }
    const std::vector<uint64_t>& buckets() const { return buckets_; }
    const StoreMemory& memory() const { return memory_; }

  private:
    static constexpr size_t kNone = ~size_t{0};
    static constexpr size_t kLinearMax = 24;  ///< more words than this are found by hash
    static constexpr size_t kTableMin = 64;   ///< slots of the table; a power of two

    static uint64_t hash(uint64_t offset) { return (offset >> 3) * 0x9e3779b97f4a7c15ull; }
    static uint64_t filter_bit(uint64_t offset) { return 1ull << (hash(offset) >> 58); }
    size_t find(uint64_t offset) const;
    void enter_last();
    void rehash(size_t slots);

    const StoreMemory& memory_;
    std::vector<st::JournalEntry> words_;
    std::vector<uint64_t> buckets_;
    uint64_t filter_ = 0;
    std::vector<uint32_t> table_;  ///< index into words_ + 1, open addressing; empty while there are few
};

}  // namespace millrace::md
