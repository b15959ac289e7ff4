// See oplog.h. Runs in md.
#include "md/oplog.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "md/seeded_bugs.h"

namespace millrace::md {

void Oplog::begin() {
    start_ = set_.read(&memory_.root().oplog_tail);
    at_ = start_ + sizeof(OplogRecord);
    effects_ = 0;
}

void Oplog::put(const void* bytes, uint64_t count) {
    if (count == 0) return;
    const auto* from = static_cast<const char*>(bytes);
    while (count > 0) {
        const uint64_t within = at_ & (capacity() - 1);
        const uint64_t piece = std::min(count, capacity() - within);
        std::memcpy(memory_.at(st::kOplogAt + within), from, piece);
        from += piece;
        at_ += piece;
        count -= piece;
    }
}

void Oplog::add_set(unsigned database, std::string_view key, const Value& value) {
    const uint64_t bytes = sizeof(EffectHeader) + key.size() + value.length() + 8;
    const bool fits = value.large == 0 && at_ - start_ + bytes <= capacity() / 8;
    add(fits ? EffectKind::set : EffectKind::set_by_reference, database, key, value);
}

void Oplog::add(EffectKind kind, unsigned database, std::string_view key, const Value& value, unsigned other) {
    const bool with_value = kind == EffectKind::set;
    const uint64_t bytes = sizeof(EffectHeader) + key.size() + (with_value ? value.length() : 0) + 8;
    if (at_ - start_ + bytes > capacity() / 2) return;  // what no ring can hold: the record says less than happened
    const EffectHeader header{kind, static_cast<uint8_t>(database), static_cast<uint16_t>(other), static_cast<uint32_t>(key.size()), value.length(),
                              value.expire_at_ms};
    put(&header, sizeof header);
    put(key.data(), key.size());
    if (with_value) {
        put(value.small, value.stored_length);
        put(value.rest.data(), value.rest.size());
    }
    static constexpr char kPadding[8] = {};
    put(kPadding, round_up(at_, 8) - at_);
    ++effects_;
}

void Oplog::end(uint64_t number) {
    if (effects_ == 0) return;
    const OplogRecord record{static_cast<uint32_t>(at_ - start_), effects_, number};
    const uint64_t end = std::exchange(at_, start_);
    put(&record, sizeof record);
    if constexpr (kSeededBug == SeededBug::oplog_tail_direct) memory_.store(memory_.offset_of(&memory_.root().oplog_tail), end);
    else set_.write_first(&memory_.root().oplog_tail, end);
}

}  // namespace millrace::md
