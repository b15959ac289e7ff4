// See oplog.h. Runs in md.
#include "md/oplog.h"

#include <algorithm>
#include <cstring>

#include "common/live_options.h"
#include "common/store_layout.h"
#include "md/seeded_bugs.h"

namespace millrace::md {

void Oplog::begin() {
    on_ = is_on();
    any_ = spilled_ = false;
    if (!parts_.empty()) parts_.clear();
    part_bytes_ = 0;
    origin_ = 0;
    start_ = set_.read(&memory_.root().oplog_tail);
    at_ = start_ + sizeof(OplogRecord);
    limit_ = start_ + capacity() / kOplogRecordShare;
    full_ = on_ && room() < capacity() / kOplogRecordShare;
}

void Oplog::put(const void* bytes, uint64_t count) {
    const auto* from = static_cast<const char*>(bytes);
    if (spilled_) {
        part_bytes_ += count;
        for (; count > 0;) {
            if (parts_.back().item != 0 || parts_.back().fields.size() >= kPartBytes) parts_.emplace_back();
            std::string& fields = parts_.back().fields;
            const uint64_t piece = std::min<uint64_t>(count, kPartBytes - fields.size());
            fields.append(from, piece);
            from += piece;
            count -= piece;
        }
        return;
    }
    while (count > 0) {
        const uint64_t within = at_ & (capacity() - 1);
        const uint64_t piece = std::min(count, capacity() - within);
        std::memcpy(memory_.at(st::kOplogAt + within), from, piece);
        from += piece;
        at_ += piece;
        count -= piece;
    }
}

void Oplog::copy_out(uint64_t position, void* out, uint64_t count) const {
    const uint64_t within = position & (capacity() - 1), piece = std::min(count, capacity() - within);
    std::memcpy(out, memory_.at(st::kOplogAt + within), piece);
    std::memcpy(static_cast<char*>(out) + piece, memory_.at(st::kOplogAt), count - piece);
}

/// What is in the ring of this record goes on as parts.
void Oplog::spill() {
    spilled_ = true;
    parts_.emplace_back();
    std::string bytes(at_ - start_ - sizeof(OplogRecord), '\0');
    at_ = start_ + sizeof(OplogRecord);
    copy_out(at_, bytes.data(), bytes.size());
    put(bytes.data(), bytes.size());
}

void Oplog::begin_effect(EffectHeader& header, std::string_view key, uint64_t value_bytes) {
    header.key_length = static_cast<uint32_t>(key.size());
    if (!spilled_ && at_ + sizeof header + round_up(key.size() + value_bytes, 8) > limit_) spill();
    put(&header, sizeof header);
    put(key.data(), key.size());
}

void Oplog::end_effect() {
    static constexpr char kPadding[8] = {};
    const uint64_t bytes = spilled_ ? part_bytes_ : at_;
    put(kPadding, round_up(bytes, 8) - bytes);
}

void Oplog::add(EffectHeader header, std::string_view key, std::string_view value, std::string_view more) {
    any_ = true;
    if (!on_ || full_) return;
    header.value_length = value.size() + more.size();
    begin_effect(header, key, header.value_length);
    put(value.data(), value.size());
    put(more.data(), more.size());
    end_effect();
}

void Oplog::add_set(unsigned database, std::string_view key, const Value& value, uint64_t item) {
    any_ = true;
    if (!on_ || full_) return;
    EffectHeader header{EffectKind::set, narrow(database), 0, 0, 0, value.expire_at_ms};
    if ((st::ItemHeader::from(set_.read(item)).flags & st::kLarge) == 0) {
        return add(header, key, {value.small, value.stored_length}, value.rest);
    }
    header.value_length = value.length();
    if (!spilled_) spill();
    begin_effect(header, key, 0);
    if (parts_.back().item != 0) parts_.emplace_back();
    parts_.back().item = item;
    parts_.back().item_length = value.length();
    part_bytes_ += value.length();
    end_effect();
}

void Oplog::add_range(unsigned database, std::string_view key, uint64_t offset, std::string_view bytes) {
    add({EffectKind::write_range, narrow(database), 0, 0, 0, static_cast<int64_t>(offset)}, key, bytes);
}

void Oplog::add_expiry(unsigned database, std::string_view key, int64_t expire_at_ms) {
    add({EffectKind::set_expiry, narrow(database), 0, 0, 0, expire_at_ms}, key, {});
}

bool Oplog::end(uint64_t number, uint64_t record) {
    if (!any_) return true;
    if (!on_) {
        if (memory_.root().unlogged == 0) set_.write(&memory_.root().unlogged, 1);
        return true;
    }
    if (full_) return false;
    const OplogReference reference{record, part_bytes_};
    if (spilled_) {
        spilled_ = false;
        put(&reference, sizeof reference);
    }
    const OplogRecord header{static_cast<uint32_t>(at_ - start_), record != 0, number};
    const uint64_t end = at_;
    at_ = start_;
    put(&header, sizeof header);
    if constexpr (kSeededBug == SeededBug::oplog_tail_direct) memory_.store(memory_.offset_of(&memory_.root().oplog_tail), end);
    else set_.write_first(&memory_.root().oplog_tail, end);
    if (origin_ == 0 && !st::is_following(memory_.root())) set_.write_first(&memory_.root().stream_number, number);
    return true;
}

}  // namespace millrace::md
