// See log_link.h. Runs in md.
#include "md/log_link.h"

#include <unistd.h>

#include "common/paths.h"

namespace millrace::md {

LogLink::LogLink(const std::string& dir, uint64_t instance, uint64_t generation, uint64_t store_generation, bool strict) : store_generation_(store_generation) {
    const SegmentSpec spec{paths::log_words(dir), kLogWordsLayout, instance, generation, kSegmentPayload + sizeof(LogWords)};
    if (access(spec.path.c_str(), F_OK) == 0) {
        segment_ = Segment::attach(spec, Access::read_write);
    } else {
        segment_ = Segment::create(spec);
        segment_.payload<LogWords>()->durable_position.store(strict ? 0 : kAllDurable);
        segment_.payload<LogWords>()->durable_number.store(strict ? 0 : kAllDurable);
        segment_.publish();
    }
    words_ = segment_.payload<LogWords>();
    if (access(paths::md_log_fifo(dir).c_str(), F_OK) == 0) bell_ = Bell(words_->park, Fifo(paths::md_log_fifo(dir)));
}

/// Position before which the oplog is free.
uint64_t LogLink::released() const {
    if (words_->generation.load(std::memory_order_acquire) != store_generation_) return 0;  // D4
    return words_->released.load(std::memory_order_acquire);
}

bool LogLink::follow(Store& store, bool replicated) {
    if (words_ == nullptr) return false;
    const bool wanted = store.live_number(OptionId::appendonly) != 0 || words_->wants_oplog.load(std::memory_order_relaxed) != 0 || replicated;
    if (wanted != store.oplog().is_on()) store.set_oplog_on(wanted);
    return wanted && store.release_oplog(released());
}

bool LogLink::has_room(Store& store) {
    if (store.oplog_has_room()) return true;
    if (words_ == nullptr) return false;
    while (store.release_oplog(released())) {}
    return store.oplog_has_room();
}

void LogLink::publish(const Store& store, bool replicated) {
    const st::Root& root = store.memory().root();
    if (words_ == nullptr || root.oplog_tail == rung_at_ || root.oplog_on == 0) return;
    bool at_once = store.live_number(OptionId::appendfsync) == 0 || (replicated && store.live_number(OptionId::replication_mode) != 0);  // always, sync
    if (replicated && !at_once) {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        at_once = words_->wants_ring.load(std::memory_order_relaxed) != 0;  // D5
    }
    if (!at_once && root.oplog_tail - root.oplog_released < root.oplog_bytes / kWakeShare) return;
    rung_at_ = root.oplog_tail;
    bell_.ring();
}

void LogLink::want_room(bool wanted) {
    if (wanted == wants_room_ || words_ == nullptr) return;
    wants_room_ = wanted;
    words_->md_waits.store(wanted, std::memory_order_relaxed);
    if (wanted) bell_.ring_always();
}

std::string_view LogLink::refusal_text() const {
    text_ = write_refusal(*words_);
    return text_;
}

}  // namespace millrace::md
