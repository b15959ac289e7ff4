// What the store keeps of a strict pair: the record, and what a step does to the window. Part of Store (store.h); common/pair_layout.h. Runs in md.
#include <algorithm>

#include "common/check.h"
#include "md/store.h"

namespace millrace::md {

namespace {

constexpr uint64_t kSplitsMax = 1000;  ///< that one undo may cause: of a window's slots none needs more than one or two

}  // namespace

PairRecord Store::pair() const {
    const st::PairWords& words = root().pair;
    const auto standing = st::PairStanding::from(set_.read(&words.standing));
    const auto epoch = [this](const st::EpochWords& at) { return PairEpoch::from(set_.read(&at.counts), set_.read(&at.run)); };
    PairRecord record;
    record.role = standing.role;
    record.state = standing.state;
    record.alone = standing.alone;
    record.handing_over = standing.handing_over;
    record.epoch = epoch(words.epoch);
    record.number = stream_number();
    record.mark = set_.read(&words.mark);
    record.before_epoch = epoch(words.before_epoch);
    record.before_number = set_.read(&words.before_number);
    record.base = set_.read(&words.base);
    record.voided = {epoch(words.void_epoch), set_.read(&words.void_cut)};
    record.link = set_.read(&words.link);
    record.run = set_.read(&words.run);
    record.heard = static_cast<uint32_t>(set_.read(&words.heard));
    return record;
}

bool Store::pair_is_fresh() const {
    const PairRecord record = pair();
    const bool empty = std::ranges::all_of(root().databases, [](const st::DatabaseWords& words) { return words.keys == 0; });
    return record.epoch.is_none() && record.heard == 0 && record.state == PairState::cold && empty;
}

Store::Put Store::change_pair(const PairStep& made, std::optional<Window::MissingSlot>& missing) {
    const st::PairWords& words = root().pair;
    const PairRecord& next = made.next;
    pair_changed_ = true;
    const auto before = st::PairStanding::from(set_.read(&words.standing));
    const bool falls_out = before.role == PairRole::secondary && before.state == PairState::in_sync && next.state != PairState::in_sync;
    if (falls_out && window_.newest_open() != 0) set_.write(&words.refused_to, window_.newest_open());
    if (made.number != 0) {
        committer_.set_least(made.number);
        if (is_following()) stream_number_ = made.number;
    }
    if (made.undo) {
        begin_record();
        if (!window_.undo(made.undo_epoch, made.undo_above, missing)) return Put::no_slot;
        if (!end_record()) return Put::no_memory;
        if (window_.undone().to != 0) drop_checksums();
        // The log says nothing of what a cleared database gets back: it begins anew behind this (O2 of oplog_ring.h).
        if (window_.undid_clear()) set_.write(&root().oplog_gap, committer_.next_number());
    }
    if (made.number != 0) set_.write(&root().stream_number, made.number);
    if (made.confirm) window_.confirm(made.confirm_up_to);
    const auto write_epoch = [this](const st::EpochWords& at, PairEpoch epoch) {
        set_.write(&at.counts, epoch.counts());
        set_.write(&at.run, epoch.run);
    };
    set_.write(&words.standing, st::PairStanding{next.role, next.state, next.alone, next.handing_over}.word());
    set_.write(&words.run, next.run);
    set_.write(&words.link, next.link);
    write_epoch(words.epoch, next.epoch);
    set_.write(&words.mark, next.mark);
    write_epoch(words.before_epoch, next.before_epoch);
    set_.write(&words.before_number, next.before_number);
    set_.write(&words.base, next.base);
    write_epoch(words.void_epoch, next.voided.epoch);
    set_.write(&words.void_cut, next.voided.cut);
    set_.write(&words.heard, next.heard);
    if (made.fails_owed && window_.undone().to != 0) {  // W4
        const uint64_t count = set_.read(&words.voided_count);
        const st::VoidedRange& place = words.voided[count % st::kVoidedRanges];
        set_.write(&place.from, window_.undone().from);
        set_.write(&place.to, window_.undone().to);
        set_.write(&words.voided_count, count + 1);
    }
    if (made.file) {
        set_.add(&words.file_wanted, 1);
        if (set_.read(&words.file_commit) == 0) set_.write(&words.file_commit, committer_.next_number());
    }
    show(made.fails_owed);
    return Put::done;
}

/// W3 and W5. `held`: answers to undone commits wait for the file as well.
void Store::show(bool held) {
    const st::PairWords& words = root().pair;
    const uint64_t first = window_.first_open_number(), filed = set_.read(&words.file_commit);
    uint64_t shown = first == 0 ? st::kAllShown : first - 1;
    if (filed != 0) shown = std::min(shown, filed - 1);
    if (held) shown = std::min(shown, set_.read(&words.shown));
    set_.write(&words.shown, shown);
}

bool Store::make_pair_step(const PairStep& made) {
    CHECK(set_.empty());
    for (uint64_t splits = 0; splits < kSplitsMax; ++splits) {
        std::optional<Window::MissingSlot> missing;
        const Put outcome = change_pair(made, missing);
        if (outcome == Put::done) {
            return commit();
        }
        abandon();
        if (outcome == Put::no_memory || !split(missing->database, missing->place)) return false;
    }
    return false;
}

void Store::note_pair_file(uint64_t filed) {
    const st::PairWords& words = root().pair;
    if (words.file_commit == 0 || filed < words.file_wanted) return;
    set_.write(&words.file_commit, 0);
    show(false);
    commit();
}

bool Store::release_window(unsigned limit) {
    const bool more = window_.release_some(limit);
    if (set_.empty()) return false;
    return commit() && more;
}

}  // namespace millrace::md
