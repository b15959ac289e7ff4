// See effects.h.
#include "common/effects.h"

#include <cstring>

#include "common/store_layout.h"

namespace millrace {

bool EffectReader::next(Effect& effect) {
    if (left_.empty() || faulty_) return false;
    const auto fail = [this] { return faulty_ = true, false; };
    if (left_.size() < sizeof effect.header) return fail();
    std::memcpy(&effect.header, left_.data(), sizeof effect.header);
    const EffectHeader& header = effect.header;
    const uint64_t room = left_.size() - sizeof header;
    if (header.kind < EffectKind::set || header.kind > EffectKind::set_expiry || static_cast<unsigned>(header.kind) == 4) return fail();
    if (header.database >= store::kDatabases || header.other >= store::kDatabases) return fail();
    if (header.key_length > room || header.value_length > room - header.key_length) return fail();
    effect.key = left_.substr(sizeof header, header.key_length);
    effect.value = left_.substr(sizeof header + header.key_length, header.value_length);
    const uint64_t taken = sizeof header + round_up(header.key_length + header.value_length, 8);
    if (taken > left_.size()) return fail();
    left_.remove_prefix(taken);
    return true;
}

}  // namespace millrace
