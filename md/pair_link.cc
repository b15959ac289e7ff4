// See pair_link.h. Runs in md.
#include "md/pair_link.h"

#include <unistd.h>

#include <algorithm>

#include "common/check.h"
#include "common/disk/pair_file.h"
#include "common/live_options.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/random.h"
#include "common/versioned_words.h"

namespace millrace::md {

void tell(const PairRecord& before, const PairStep& made) {
    const PairRecord& next = made.next;
    if (made.fails_owed)
        log::warning("strict pair: the other server has not confirmed writes in replication-timeout; they were undone, and are answered with an error. Only reads are served until it is in sync again");
    if (made.answer == PairAnswer::fenced) log::warning("strict pair: the other server has been promoted; this one only serves reads until REPLICAOF makes it a secondary");
    if (before.role == next.role && before.state == next.state && before.alone == next.alone) return;
    log::notice("strict pair: {}, {}{}", name_of(next.role), name_of(next.state), next.alone ? ", alone: writes are acknowledged without the other server" : "");
}

void PairLink::open(const std::string& dir, ReplWords& words) {
    words_ = &words;
    if (access(paths::md_repl_fifo(dir).c_str(), F_OK) == 0) bell_.emplace(words.park, Fifo(paths::md_repl_fifo(dir)));
}

void PairLink::begin(Store& store, const std::string& folder) {
    const bool strict = store.live_number(OptionId::replication_mode) == kStrictMode;
    const PairRecord now = store.pair();
    if (!strict) {
        if (now.role == PairRole::none) return;
        PairStep ends;
        ends.confirm = true;
        ends.confirm_up_to = kNoCut;
        if (!store.make_pair_step(ends)) throw Error("there is no shared memory left");
        while (store.release_window(kReleaseEntries)) {}
        return;
    }
    if (now.role != PairRole::none) return;  // memory from before: a warm start, or another md of the same group
    std::string fault;
    const auto file = disk::read_pair(folder, fault);
    if (!fault.empty()) throw Error(fault + ": it says which writes of a strict pair do not count. Restore it, or remove it if the other server has all data and is, or gets, the primary");
    PairEvent event;
    event.kind = PairEventKind::started;
    event.role = store.is_following() ? PairRole::secondary : PairRole::primary;
    if (file) {
        event.epoch = file->epoch;
        event.voided = {file->void_epoch, file->void_cut};
        event.number = file->heard;
    }
    PairRecord fresh = now;
    fresh.run = random_number<uint64_t>() | 1;
    PairStep made = step(fresh, event, {}, store.next_number());
    if (!store.make_pair_step(made)) throw Error("there is no shared memory left");
    log::notice("strict pair: {}, {}", name_of(made.next.role), name_of(made.next.state));
}

void PairLink::make(Store& store, const PairEvent& event) {
    const PairRecord before = store.pair();
    const PairStep made = store.pair_step(event);
    if (made.next == before && !made.confirm && !made.undo) return;
    if (store.make_pair_step(made)) tell(before, made);
}

/// CONFIRM and MARK, and that the connection has ended.
void PairLink::hear(Store& store) {
    const st::PairWords& words = store.memory().root().pair;
    const uint64_t version = words_->pair.version.load(std::memory_order_acquire);
    if (version == heard_version_ && words.link == heard_link_) return;
    PairHeard heard{};
    if (version != 0 && !read_versioned(words_->pair.version, words_->pair.words, &heard)) return;
    heard_version_ = version;
    if (words.link != 0 && words.link != heard.link) {
        PairEvent lost;
        lost.kind = PairEventKind::link_lost;
        lost.link = words.link;
        make(store, lost);
    }
    heard_link_ = words.link;
    if (heard.link == 0 || heard.link != words.link) return;
    PairEvent event;
    event.link = heard.link;
    event.epoch = PairEpoch::from(heard.epoch_counts, heard.epoch_run);
    if (heard.confirmed > words.mark) {
        event.kind = PairEventKind::confirm;
        event.number = heard.confirmed;
        make(store, event);
    }
    if (const uint64_t marked = std::min(heard.marked, store.stream_number()); marked > words.mark) {
        event.kind = PairEventKind::mark;
        event.number = marked;
        make(store, event);
    }
    if (heard.marked > words.mark) heard_version_ = 0;  // what it is about has not come from md_repl yet
}

/// R4's time counts from when this md sees an entry as the oldest open one.
void PairLink::watch(Store& store, uint64_t now_us) {
    const uint64_t oldest = store.window().first_open_number();
    if (oldest != watched_ || watched_since_us_ == 0) {
        watched_ = oldest;
        watched_since_us_ = now_us;
    }
    if (oldest == 0 || now_us - watched_since_us_ < timeout_us_) return;
    PairEvent timeout;
    timeout.kind = PairEventKind::timeout;
    make(store, timeout);
    watched_since_us_ = now_us;
}

bool PairLink::turn(Store& store, uint64_t now_us) {
    const st::PairWords& words = store.memory().root().pair;
    if (words_ == nullptr || words.standing == 0) return false;
    hear(store);
    watch(store, now_us);
    if (words.file_commit != 0 && words_->pair_filed_run.load(std::memory_order_acquire) == words.run) store.note_pair_file(words_->pair_filed.load(std::memory_order_acquire));
    const bool more = store.release_window(kReleaseEntries);
    const uint64_t changes = words.mark ^ words.link ^ words.file_wanted ^ words.standing;
    if (changes != rung_at_) {
        rung_at_ = changes;
        if (bell_) bell_->ring();  // it looks at mark, link and file
    }
    return more;
}

bool PairLink::shows_more(const Store& store) {
    const st::PairWords& words = store.memory().root().pair;
    if (words.shown == shown_ && words.file_commit == filing_ && words.refused_to == refused_to_) return false;
    shown_ = words.shown;
    filing_ = words.file_commit;
    refused_to_ = words.refused_to;
    return true;
}

std::string_view PairLink::refusal(const Store& store) const {
    const PairRecord record = store.pair();
    if (record.takes_writes() || record.role == PairRole::none) return {};
    if (record.role == PairRole::fenced) return "READONLY The other server of the strict pair has been promoted; write there, or make this one its replica (REPLICAOF).";
    if (record.role == PairRole::secondary) return "READONLY You can't write against a read only replica.";
    if (!record.is_complete()) return "NOREPLICAS This primary of a strict pair has no complete data: promote the other server, or start with what is here (MS_ALONE yes).";
    return "NOREPLICAS The other server of the strict pair is not in sync; reads only until it is.";
}

}  // namespace millrace::md
