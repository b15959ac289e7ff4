// See checksum_keeper.h. Runs in md.
#include "md/checksum_keeper.h"

#include "common/clock.h"
#include "common/log.h"

namespace millrace::md {

void ChecksumKeeper::note(ReplLink& repl, uint64_t number, const Plan::MasterChecksum& said) {
    ReplWords* const words = repl.words_if_any();
    if (words == nullptr) return;
    if (said.same) words->checked.store(number, std::memory_order_relaxed);
    if (said.anew) words->verify_wanted.store(number, std::memory_order_relaxed);
}

bool ChecksumKeeper::tend(Store& store, ReplLink& repl, LogLink& log, uint64_t now_us) {
    constexpr uint64_t kLookEveryUs = 10'000;
    if (now_us < next_look_us_ && !store.checksum_walk().active) [[likely]] return false;
    ReplWords* const words = repl.words_if_any();
    if (words == nullptr) return false;
    if (store.checksum_walk().active) return walk(store, *words);
    next_look_us_ = now_us + kLookEveryUs;
    if (!repl.needs_log()) {
        store.forget_checksums();
        return false;
    }
    const bool verifies = words->verify_done.load(std::memory_order_relaxed) != words->verify_wanted.load(std::memory_order_relaxed);
    if (!store.keeps_checksums() || verifies) {
        walk_for_ = words->verify_wanted.load(std::memory_order_relaxed);
        store.begin_checksum_walk();
        return true;
    }
    const bool takes_writes = !store.is_following() && !store.window().is_passive() && !store.window().is_incomplete();
    if (takes_writes && store.oplog().is_on() && log.has_room(store)) say(store, *words);
    return false;
}

/// Says the checksum if it is asked for, or if it was not said for long.
void ChecksumKeeper::say(Store& store, ReplWords& words) {
    const uint64_t now_us = monotonic_us(), wanted = words.check_wanted.load(std::memory_order_relaxed), asked = words.verify_asked.load(std::memory_order_acquire);
    const bool verifies = asked != words.verify_seen.load(std::memory_order_relaxed);
    const bool due = now_us >= next_check_us_ && words.online_replicas.load(std::memory_order_relaxed) != 0;
    if (wanted == check_seen_ && !verifies && !due) return;
    store.begin_record();
    store.log_checksum(store.checksum(), verifies);
    if (!store.end_record()) return store.abandon();
    if (!store.commit()) return;
    check_seen_ = wanted;
    next_check_us_ = now_us + kCheckMs * 1000;
    const uint64_t number = store.memory().root().number;
    words.checked.store(number, std::memory_order_relaxed);
    if (!verifies) return;
    words.verify_wanted.store(number, std::memory_order_relaxed);
    words.verify_seen.store(asked, std::memory_order_release);
}

/// A slice of the walk, and what comes of it at its end. What is asked for meanwhile waits for the next one.
bool ChecksumKeeper::walk(Store& store, ReplWords& words) {
    const bool ended = store.walk_checksums(monotonic_us() + kSliceUs);
    words.verify_keys.store(store.checksum_walk().keys, std::memory_order_relaxed);
    if (!ended) return true;
    const uint64_t keys = store.checksum_walk().keys;
    if (!store.keeps_checksums()) {
        store.keep_checksums();
        log::verbose("the checksum of the data is kept from here on, {} keys", keys);
    } else if (store.walk_agrees()) {
        log::notice("all data was read anew: {} keys are what was written", keys);
        words.verify_done.store(walk_for_, std::memory_order_release);
    } else {
        log::warning("all data was read anew, and its checksum is not that of what was written: memory of this server is damaged; a follower syncs fully by itself, "
                     "a master is to be replaced by one of its followers (REPLICAOF NO ONE there)");
        words.verify_damaged.store(walk_for_, std::memory_order_relaxed);
        words.verify_done.store(walk_for_, std::memory_order_release);
    }
    store.end_checksum_walk();
    return false;
}

}  // namespace millrace::md
