// What the store does about its oplog: records that do not fit the ring, switching it on, taking back what was read; loading. Part of Store
// (store.h). Runs in md.
#include <algorithm>

#include "common/check.h"
#include "md/store.h"

namespace millrace::md {

void Store::log_put(unsigned database, std::string_view key, const Value& value, uint64_t item) {
    // What has come out of extents into a small item is read where it is now.
    if (value.large != 0 && oplog_.is_on() && !items_.is_large(item)) oplog_.add_set(database, key, items_.value_of(item), item);
    else oplog_.add_set(database, key, value, item);
}

bool Store::end_record() {
    if (window_.failed()) return false;
    uint64_t record = 0;
    if (!oplog_.parts().empty() && (record = build_record(root().oplog_records, st::kOplogOwner, oplog_.parts())) == 0) return false;
    return oplog_.end(committer_.next_number(), record);
}

void Store::set_oplog_on(bool on) {
    if (on == oplog_.is_on()) return;
    const uint64_t tail = root().oplog_tail;
    while (const uint64_t record = set_.read(&root().oplog_records)) unlink_record(root().oplog_records, record);
    set_.write(&root().oplog_on, on ? 1 : 0);
    set_.write(&root().oplog_released, tail);
    if (!on && root().oplog_released != tail) set_.write(&root().unlogged, 1);  // what nobody has read goes
    if (on) set_.write(&root().oplog_started, tail);
    // What was done unseen has no stream numbers: those begin behind it.
    if (on && !is_following() && (root().unlogged != 0 || root().stream_number == 0)) set_.write(&root().stream_number, committer_.next_number());
    if (on && root().unlogged != 0) {
        set_.write(&root().oplog_gap, committer_.next_number());
        set_.write(&root().unlogged, 0);
    }
    if (on) set_.write(&root().oplog_from_empty, std::ranges::all_of(root().databases, [](const st::DatabaseWords& words) { return words.keys == 0; }));
    commit();
}

bool Store::release_oplog(uint64_t position) {
    const uint64_t released = root().oplog_released;
    if (position > root().oplog_tail || position <= released) return false;
    if (root().oplog_records != 0) return release_referred(position);
    if (position - released < oplog_.capacity() / 16 && position != root().oplog_tail) return false;
    set_.write(&root().oplog_released, position);
    commit();
    return false;
}

/// Goes through the records, and lets go of what they refer to.
bool Store::release_referred(uint64_t position) {
    uint64_t at = root().oplog_released;
    unsigned let_go = 0;
    while (at < position && let_go < kReleaseRecords) {
        OplogRecord record;
        oplog_.copy_out(at, &record, sizeof record);
        CHECK(record.bytes >= sizeof record && record.bytes <= position - at);
        if (record.by_reference != 0) {
            OplogReference reference;
            oplog_.copy_out(at + sizeof record, &reference, sizeof reference);
            CHECK(is_record(st::kOplogOwner, reference.record));
            unlink_record(root().oplog_records, reference.record);
            ++let_go;
        }
        at += record.bytes;
    }
    set_.write(&root().oplog_released, at);
    return commit() && at < position;
}

void Store::commit_loading() {
    allocator_.settle();
    committer_.apply_at_once(set_);
}

/// Nobody reads the store yet, so these words change as they like.
void Store::end_loading(uint64_t number) {
    memory_.store(memory_.offset_of(&root().number), std::max(root().number, number));
    set_.write(&root().log_loaded, number);
    set_.write(&root().loading, 0);
    commit();
}

}  // namespace millrace::md
