// See write_set.h. Runs in md.
#include "md/write_set.h"

#include <algorithm>

namespace millrace::md {

void WriteSet::clear() {
    words_.clear();
    buckets_.clear();
    filter_ = 0;
    table_.clear();
}

size_t WriteSet::find(uint64_t offset) const {
    if (table_.empty()) {
        for (size_t i = words_.size(); i-- > 0;)
            if (words_[i].offset == offset) return i;
        return kNone;
    }
    for (size_t at = hash(offset) >> 20 & (table_.size() - 1);; at = (at + 1) & (table_.size() - 1)) {
        if (table_[at] == 0) return kNone;
        if (words_[table_[at] - 1].offset == offset) return table_[at] - 1;
    }
}

void WriteSet::rehash(size_t slots) {
    table_.assign(slots, 0);
    for (size_t i = 0; i < words_.size(); ++i) {
        size_t at = hash(words_[i].offset) >> 20 & (slots - 1);
        while (table_[at] != 0) at = (at + 1) & (slots - 1);
        table_[at] = static_cast<uint32_t>(i + 1);
    }
}

void WriteSet::write(uint64_t offset, uint64_t value) {
    if ((filter_ & filter_bit(offset)) != 0) {
        if (const size_t at = find(offset); at != kNone) {
            words_[at].value = value;
            return;
        }
    }
    write_first(offset, value);
}

void WriteSet::write_first(uint64_t offset, std::span<const uint64_t> values) {
    const size_t before = words_.size();
    if (before + values.size() > kLinearMax) {
        for (size_t i = 0; i < values.size(); ++i) write_first(offset + 8 * i, values[i]);
        return;
    }
    words_.resize(before + values.size());
    for (size_t i = 0; i < values.size(); ++i) {
        filter_ |= filter_bit(offset + 8 * i);
        words_[before + i] = {offset + 8 * i, values[i]};
    }
}

/// Makes the last word known to the table, and the others if there was none.
void WriteSet::enter_last() {
    if (2 * words_.size() > table_.size()) return rehash(std::max<size_t>(kTableMin, 4 * table_.size()));
    size_t at = hash(words_.back().offset) >> 20 & (table_.size() - 1);
    while (table_[at] != 0) at = (at + 1) & (table_.size() - 1);
    table_[at] = static_cast<uint32_t>(words_.size());
}

bool WriteSet::may_be_touched(uint64_t offset) const {
    constexpr size_t kLookedThroughMax = 8;
    return buckets_.size() > kLookedThroughMax || std::ranges::find(buckets_, offset) != buckets_.end();
}

void WriteSet::write_bucket(uint64_t offset, const st::Bucket& bucket) {
    touch_bucket(offset);
    for (unsigned i = 1; i < bucket.words.size(); ++i)
        if (read(offset + 8 * i) != bucket.words[i]) write(offset + 8 * i, bucket.words[i]);
}

void WriteSet::touch_bucket(uint64_t offset) {
    // A bucket touched twice costs an entry, no more; looking back a little catches the usual case.
    const size_t from = buckets_.size() > 4 ? buckets_.size() - 4 : 0;
    for (size_t i = from; i < buckets_.size(); ++i)
        if (buckets_[i] == offset) return;
    buckets_.push_back(offset);
}

}  // namespace millrace::md
