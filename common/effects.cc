// See effects.h. Runs in md, in the processes that keep files and replicas, and in tools.
#include "common/effects.h"

#include <algorithm>
#include <cstring>

#include "common/store_layout.h"

namespace millrace {

static_assert(kEffectDatabases == store::kDatabases);

namespace {

bool lengths_fit_the_kind(const EffectHeader& header) {
    switch (header.kind) {
        case EffectKind::set: return header.expire_at_ms >= -1;
        case EffectKind::set_expiry: return header.expire_at_ms >= -1 && header.value_length == 0;
        case EffectKind::erase: return header.value_length == 0;
        case EffectKind::origin: return header.key_length == 0 && header.value_length == 0;
        case EffectKind::checksum: return header.key_length == 0 && header.value_length == 0 && header.other <= 1;
        case EffectKind::clear_database: return header.key_length == 0 && header.value_length == 0;
        case EffectKind::swap_databases: return header.key_length == 0 && header.value_length == 0 && header.other < kEffectDatabases;
        case EffectKind::write_range:
            return header.expire_at_ms >= 0 && static_cast<uint64_t>(header.expire_at_ms) <= kEffectBytesMax - header.value_length;
    }
    return false;
}

/// Whether an effect of this header may stand in so many bytes. The limits come first, so that the sum cannot overflow.
bool possible(const EffectHeader& header, uint64_t bytes) {
    return header.database < kEffectDatabases && header.key_length <= kEffectBytesMax && header.value_length <= kEffectBytesMax &&
           lengths_fit_the_kind(header) && effect_bytes(header.key_length, header.value_length) <= bytes;
}

}  // namespace

void Effect::write_into(std::string& bytes) const {
    bytes.resize(std::max<uint64_t>(bytes.size(), header.offset() + value.size()));
    bytes.replace(header.offset(), value.size(), value);
}

void append_effect(std::string& bytes, EffectHeader header, std::string_view key, std::string_view value) {
    header.key_length = static_cast<uint32_t>(key.size());
    header.value_length = value.size();
    const size_t end = bytes.size() + effect_bytes(key.size(), value.size());
    bytes.append(reinterpret_cast<const char*>(&header), sizeof header).append(key).append(value);
    bytes.resize(end);
}

bool EffectReader::next(Effect& effect) {
    if (rest_.empty() || faulty_) return false;
    EffectHeader header;
    if (rest_.size() >= sizeof header) std::memcpy(&header, rest_.data(), sizeof header);
    faulty_ = rest_.size() < sizeof header || !possible(header, rest_.size());
    if (faulty_) return false;
    effect = {header, rest_.substr(sizeof header, header.key_length), rest_.substr(sizeof header + header.key_length, header.value_length)};
    rest_.remove_prefix(effect_bytes(header.key_length, header.value_length));
    return true;
}

}  // namespace millrace
