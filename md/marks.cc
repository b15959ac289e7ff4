// See marks.h. Runs in md.
#include "md/marks.h"

#include "common/live_options.h"

namespace millrace::md {

namespace {

MarkRules rules_in(const StoreMemory& store, MarkKind kind) {
    const auto word = [&](uint64_t at) { return store.load(at); };
    return {kind, static_cast<uint32_t>(live_number(OptionId::lfu_log_factor, word)),
            static_cast<uint32_t>(live_number(OptionId::lfu_decay_time, word))};
}

}  // namespace

void Marks::look(const StoreMemory& store) {
    const auto word = [&](uint64_t at) { return store.load(at); };
    const auto policy = static_cast<EvictionPolicy>(live_number(OptionId::maxmemory_policy, word));
    const MarkKind wanted = back_ ? marks_of(policy) : MarkKind::none;
    changes_ += wanted != wanted_;
    wanted_ = wanted;
    const auto kept = static_cast<MarkKind>(store.load(store.offset_of(&store.root().marks_kept)));
    rules_ = rules_in(store, back_ ? kept : MarkKind::none);
    if (needed()) now_ = MarkRules::now();
}

bool Marks::back_page(uint64_t page) {
    return !needed() || back_(MarkTable::offset_of(page << st::kPageShift), MarkTable::kBytesPerPage);
}

bool Marks::take_page(uint64_t page) {
    if (!needed()) return true;
    if (!back_page(page)) return false;
    MarkRules rules = rules_;
    if (kept() == MarkKind::none) rules.kind = wanted_;
    const uint32_t fresh = rules.fresh(now_);
    for (uint64_t at = page << st::kPageShift, end = at + st::kPageBytes; at < end; at += st::kBucketBytes)
        for (unsigned slot = 0; slot < st::kSlots; ++slot) table_.write(at, slot, fresh);
    return true;
}

void Marks::give_page(uint64_t page) {
    if (give_back_) give_back_(MarkTable::offset_of(page << st::kPageShift), MarkTable::kBytesPerPage);
}

}  // namespace millrace::md
