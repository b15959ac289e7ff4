// See strict_pair.h. Runs in md.
#include "md/strict_pair.h"

#include <algorithm>

namespace millrace::md {

namespace {

constexpr uint64_t kEverything = ~uint64_t{0};

PairEpoch promoted(const PairRecord& record) { return {std::max(record.epoch.promotions, record.heard) + 1, 0, record.run}; }

void hear_of(PairRecord& record, PairEpoch epoch) { record.heard = std::max(record.heard, epoch.promotions); }

/// R2: whatever was of a connection before is not read any more.
void take_link(PairRecord& record, uint64_t link) {
    record.link = link;
    if (record.state == PairState::in_sync) record.state = PairState::warm;
}

void confirm_all(PairStep& made) {
    made.confirm = true;
    made.confirm_up_to = kEverything;
    made.next.mark = made.next.number;
}

void ignore(PairStep& made, const PairRecord& now) {
    made = {};
    made.next = now;
    made.answer = PairAnswer::ignored;
}

void refuse(PairStep& made, const PairRecord& now, std::string_view why) {
    ignore(made, now);
    made.refusal = why;
}

/// R9: somebody is further. What is open waits for R4.
void fence(PairStep& made) {
    made.next.role = PairRole::fenced;
    made.next.alone = made.next.handing_over = false;
    take_link(made.next, 0);
    made.answer = PairAnswer::fenced;
    made.file = true;
}

/// R6, as far as it does not lie with the store: the undo, and what this epoch builds on from here on.
void obey(PairStep& made, const VoidRecord& record, const WindowFacts& window, uint64_t fresh_number) {
    if (record.is_none() || window.newest == 0) return;
    made.undo = true;
    made.undo_epoch = record.epoch;
    made.undo_above = record.cut;
    made.number = made.next.number = made.next.base = std::max(fresh_number, window.newest + 1);
    if (made.next.before_epoch == record.epoch) made.next.before_number = std::min(made.next.before_number, record.cut);
}

/// R7: what the secondary gets.
void answer_hello(PairStep& made, const PairEvent& hello, uint64_t fresh_number) {
    PairRecord& next = made.next;
    made.answer = PairAnswer::full;
    if (!hello.complete) return;
    if (hello.epoch == next.epoch && hello.number <= next.number) {
        made.answer = PairAnswer::partial;
        made.from = std::max(hello.number, next.base);
        return;
    }
    if (hello.epoch != next.before_epoch || hello.number < next.before_number) return;
    // What it undoes has a number of its own there, above what it has, and before anything of this epoch (M1, M2).
    const bool undoes = hello.number > next.before_number;
    if (undoes && hello.number >= next.base) {
        if (next.base != next.number) return;
        made.number = next.number = next.base = std::max({fresh_number, hello.number + 1, made.number});
    }
    made.answer = PairAnswer::partial;
    made.cut = next.before_number;
    made.from = next.base;
}

void hear_hello(PairStep& made, const PairRecord& now, const PairEvent& event, const WindowFacts& window, uint64_t fresh_number) {
    if (now.role != PairRole::primary) return ignore(made, now);
    hear_of(made.next, event.epoch);
    if (event.epoch > now.epoch) return fence(made);
    if (!now.is_complete()) {
        if (!event.fresh || !event.own_fresh) {
            made.answer = PairAnswer::cold;
            return;
        }
        made.next.epoch = promoted(now);  // a new pair
        made.next.base = made.next.mark = made.next.number;
        made.file = true;
    }
    made.next.link = event.link;
    made.next.state = PairState::warm;
    made.next.handing_over = false;
    obey(made, event.voided, window, fresh_number);
    answer_hello(made, event, fresh_number);
}

void hear_synced(PairStep& made, const PairRecord& now, const PairEvent& event) {
    const bool is_there = now.role == PairRole::primary && now.state == PairState::warm && now.link == event.link && now.link != 0;
    if (!is_there || event.epoch != now.epoch || event.number != now.number) return ignore(made, now);
    // The one place where the data of both is compared (R7).
    if (event.checksum != event.own_checksum) {
        made.answer = PairAnswer::full;
        return;
    }
    made.next.state = PairState::in_sync;
    made.next.alone = false;
    made.file = !now.voided.is_none();
    made.next.voided = {};
    confirm_all(made);
    made.answer = PairAnswer::mark;
}

/// R4.
void give_up_window(PairStep& made, const PairRecord& now, const WindowFacts& window, uint64_t fresh_number) {
    const bool may = (now.role == PairRole::primary || now.role == PairRole::fenced) && now.is_complete() && window.own;
    if (!may) return ignore(made, now);
    PairRecord& next = made.next;
    take_link(next, 0);
    made.undo = made.fails_owed = made.file = true;
    made.undo_epoch = now.epoch;
    made.undo_above = now.mark;
    next.voided = {now.epoch, now.mark};
    next.before_epoch = now.epoch;
    next.before_number = now.mark;
    next.epoch = now.epoch.raised(now.run);
    made.number = next.number = next.base = next.mark = fresh_number;
}

void hear_partial(PairStep& made, const PairRecord& now, const PairEvent& event, const WindowFacts& window) {
    const bool fits = now.role == PairRole::secondary && now.is_complete() && now.link == event.link && now.link != 0 && event.epoch >= now.epoch;
    const bool goes_on = event.cut == kNoCut ? event.epoch == now.epoch && event.number >= now.number : event.cut <= now.number && event.number >= event.cut;
    if (!fits || !goes_on || (event.cut != kNoCut && now.mark > event.cut)) return ignore(made, now);
    PairRecord& next = made.next;
    next.state = PairState::warm;
    next.epoch = event.epoch;
    hear_of(next, event.epoch);
    made.file = event.epoch != now.epoch;
    if (event.cut != kNoCut && now.number > event.cut) {
        if (!window.any || event.number <= now.number) return ignore(made, now);
        made.undo = true;
        made.undo_above = event.cut;
    }
    if (event.number > now.number) made.number = next.number = event.number;
    next.base = event.number;
    if (event.cut != kNoCut) next.mark = std::min(next.mark, event.cut);
}

void hear_mark(PairStep& made, const PairRecord& now, const PairEvent& event) {
    const bool fits = now.role == PairRole::secondary && now.state >= PairState::bootstrapping && now.link == event.link && now.link != 0 && now.epoch == event.epoch;
    if (!fits || event.number > now.number) return ignore(made, now);
    made.confirm = true;
    made.confirm_up_to = event.number;
    made.next.mark = std::max(now.mark, event.number);
    made.next.state = PairState::in_sync;
    made.file = !now.voided.is_none();
    made.next.voided = {};
}

void become_secondary(PairStep& made, const PairRecord& now, const WindowFacts& window) {
    if (now.role != PairRole::secondary && window.own && now.is_complete())
        return refuse(made, now, "writes are not answered yet, which the other server may have; try again after replication-timeout");
    made.next.role = PairRole::secondary;
    made.next.alone = made.next.handing_over = false;
    take_link(made.next, 0);
    made.file = true;
}

void promote(PairStep& made, const PairRecord& now, const WindowFacts& window) {
    if (now.role == PairRole::primary) return;
    if (!now.is_complete()) return refuse(made, now, "this server's data is not complete; promote the other server of the pair");
    if (now.role == PairRole::fenced && window.own) return refuse(made, now, "writes are not answered yet; try again after replication-timeout");
    PairRecord& next = made.next;
    next.before_epoch = now.epoch;
    next.before_number = next.base = now.number;
    next.epoch = promoted(now);
    next.role = PairRole::primary;
    take_link(next, 0);
    made.file = true;
}

void go_alone(PairStep& made, const PairRecord& now) {
    if (now.role != PairRole::primary) return refuse(made, now, "this server is not the primary; promote it first (REPLICAOF NO ONE)");
    if (now.alone) return;
    if (now.link != 0) return refuse(made, now, "the other server is connected");
    if (now.handing_over) return refuse(made, now, "the other server may be primary already");
    if (!now.is_complete()) {
        // One that was never in a pair has all the data that there is.
        if (!now.epoch.is_none() || now.heard != 0 || now.state != PairState::cold)
            return refuse(made, now, "this server's data is not complete; promote the other server of the pair, or remove this one's file data/pair to begin with what it has");
        made.next.epoch = promoted(now);
        made.next.base = now.number;
        made.next.state = PairState::warm;
        made.file = true;
    }
    made.next.alone = true;
    confirm_all(made);
}

}  // namespace

PairStep step(const PairRecord& now, const PairEvent& event, const WindowFacts& window, uint64_t fresh_number) {
    PairStep made;
    made.next = now;
    PairRecord& next = made.next;
    switch (event.kind) {
        case PairEventKind::started:
            next = {};
            next.role = event.role;
            next.run = now.run;
            next.epoch = event.epoch;
            next.voided = event.voided;
            next.heard = std::max(static_cast<uint32_t>(event.number), event.epoch.promotions);
            next.number = next.mark = now.number;
            break;
        case PairEventKind::hello: hear_hello(made, now, event, window, fresh_number); break;
        case PairEventKind::synced: hear_synced(made, now, event); break;
        case PairEventKind::confirm:
            if (now.role != PairRole::primary || now.state != PairState::in_sync || now.link != event.link || now.epoch != event.epoch) {
                ignore(made, now);
                break;
            }
            made.confirm = true;
            made.confirm_up_to = event.number;
            next.mark = std::max(now.mark, std::min(event.number, now.number));
            break;
        case PairEventKind::link_lost:
            if (now.link == event.link && now.link != 0) take_link(next, 0);
            break;
        case PairEventKind::timeout: give_up_window(made, now, window, fresh_number); break;
        case PairEventKind::connected:
            if (now.role != PairRole::secondary) ignore(made, now);
            else take_link(next, event.link);
            if (next.state == PairState::bootstrapping) next.state = PairState::cold;
            break;
        case PairEventKind::partial: hear_partial(made, now, event, window); break;
        case PairEventKind::reloads:
            if (now.role != PairRole::secondary) ignore(made, now);
            else next.state = PairState::bootstrapping;
            break;
        case PairEventKind::loaded:
            if (now.role != PairRole::secondary || is_complete(now.state) || event.epoch < now.epoch) {
                ignore(made, now);
                break;
            }
            next.link = event.link;
            next.epoch = event.epoch;
            hear_of(next, event.epoch);
            next.base = next.mark = now.number;
            next.state = PairState::bootstrapping;  // M3
            made.file = true;
            break;
        case PairEventKind::reached: {
            // The numbers of what has no record, such as M1's, are not in the stream.
            const bool fits = now.role == PairRole::secondary && now.state >= PairState::bootstrapping && now.link == event.link && now.link != 0 && now.epoch == event.epoch;
            if (!fits || event.number < now.number) {
                ignore(made, now);
                break;
            }
            if (event.number > now.number) made.number = next.number = event.number;
            if (now.state == PairState::bootstrapping && !event.open) next.state = PairState::warm;
            break;
        }
        case PairEventKind::mark: hear_mark(made, now, event); break;
        case PairEventKind::follow: become_secondary(made, now, window); break;
        case PairEventKind::promote: promote(made, now, window); break;
        case PairEventKind::alone: go_alone(made, now); break;
        case PairEventKind::end_alone: next.alone = false; break;
    }
    return made;
}

std::string_view name_of(PairRole role) {
    switch (role) {
        case PairRole::none: return "none";
        case PairRole::primary: return "primary";
        case PairRole::secondary: return "secondary";
        case PairRole::fenced: return "fenced";
    }
    return "?";
}

std::string_view name_of(PairState state) {
    switch (state) {
        case PairState::cold: return "cold_start";
        case PairState::bootstrapping: return "bootstrapping";
        case PairState::warm: return "warm_start";
        case PairState::in_sync: return "in_sync";
    }
    return "?";
}

}  // namespace millrace::md
