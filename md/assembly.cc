// See assembly.h. Runs in md.
#include "md/assembly.h"

#include <algorithm>
#include <cstring>

namespace millrace::md {

Assembly::~Assembly() {
    for (auto& [slot, partial] : by_slot_) release(partial);
}

void Assembly::release(Partial& partial) {
    budget_->used -= partial.charged;
    partial.charged = 0;
    partial.bytes = std::string();
}

bool Assembly::take(Partial& partial, std::span<const std::byte> bytes) {
    const uint64_t needed = partial.bytes.size() + bytes.size();
    if (needed > partial.bytes.capacity()) {
        const uint64_t grown = std::min(std::max(needed, 2 * partial.bytes.capacity()), std::max(partial.total, needed));
        if (budget_->used - partial.charged + grown > budget_->limit) return false;
        partial.bytes.reserve(grown);
        budget_->used += grown - partial.charged;
        partial.charged = grown;
    }
    partial.bytes.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return true;
}

Assembly::Outcome Assembly::add(ConnectionId connection, std::span<const std::byte> body) {
    FragmentHeader header;
    if (body.size() < sizeof header) return Outcome::waiting;
    std::memcpy(&header, body.data(), sizeof header);
    body = body.subspan(sizeof header);
    if (header.offset == 0) {
        Partial& fresh = by_slot_[connection.slot];
        release(fresh);
        fresh = {connection.generation, header.total, 0, 0, false, {}};
    }
    const auto at = by_slot_.find(connection.slot);
    if (at == by_slot_.end()) return Outcome::waiting;
    Partial& partial = at->second;
    if (partial.generation != connection.generation || header.offset != partial.received || header.total != partial.total ||
        body.size() > partial.total - partial.received)
        return Outcome::waiting;
    partial.received += body.size();
    if (!partial.refused && !take(partial, body)) {
        partial.refused = true;
        release(partial);
    }
    if (partial.received < partial.total) return Outcome::waiting;
    const bool refused = partial.refused;
    budget_->used -= partial.charged;
    complete_ = std::move(partial.bytes);
    by_slot_.erase(at);
    return refused ? Outcome::refused : Outcome::complete;
}

void Assembly::forget(ConnectionId connection) {
    const auto at = by_slot_.find(connection.slot);
    if (at == by_slot_.end() || at->second.generation != connection.generation) return;
    release(at->second);
    by_slot_.erase(at);
}

}  // namespace millrace::md
