// Two machines of a strict pair (md/strict_pair.h) and what is between them: connections that are lost, stall and are noticed by one end only, deaths, timeouts,
// orders; after every event the promises P1..P5 of tests/model/README.md are looked at. A write is a bit in a mask, as in the model. Used by strict_pair_test.cc.
#pragma once

#include "md/strict_pair.h"

#include <algorithm>
#include <array>
#include <bit>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/unit.h"

namespace millrace::unit {

using namespace millrace::md;

using Kind = PairEventKind;
inline constexpr PairEpoch kFirst{1, 0, 7}, kSecond{2, 0, 8};

inline PairRecord record_of(PairRole role, PairState state, PairEpoch epoch = kFirst, uint64_t number = 10) {
    PairRecord record;
    record.role = role;
    record.state = state;
    record.epoch = epoch;
    record.number = record.mark = number;
    record.link = 5;
    record.run = 7;
    return record;
}
inline PairEvent event_of(Kind kind, uint64_t link = 5, PairEpoch epoch = kFirst, uint64_t number = 10) {
    PairEvent event;
    event.kind = kind;
    event.link = link;
    event.epoch = epoch;
    event.number = number;
    return event;
}
inline PairEvent hello_of(PairEpoch epoch, uint64_t number, bool complete = true) {
    PairEvent hello = event_of(Kind::hello, 6, epoch, number);
    hello.complete = complete;
    return hello;
}

enum class Mistake { none, answered_unconfirmed, nothing_undone, void_record_forgotten, epoch_not_raised, unconfirmed_shown, old_value_shown, file_not_written };

/// One write, wherever it is: a bit in a mask.
using Mask = uint64_t;
inline constexpr unsigned kWritesMax = 40;

enum class Sent { hello, partial, record, full, synced, window, confirm, mark };
struct Message {
    Sent kind{};
    uint64_t link = 0;
    PairEpoch epoch{};
    uint64_t number = 0;
    uint64_t cut = kNoCut;
    VoidRecord voided{};
    bool complete = false, fresh = false, open = false;
    Mask writes = 0;
    uint64_t target = 0;  ///< of partial: the position that is reached with all that follows
};

struct Server {
    PairRecord record;
    Mask has = 0, open = 0, owed = 0, owed_ok = 0, owed_error = 0;
    uint64_t last_number = 0;               ///< of any commit
    std::vector<std::pair<uint64_t, int>> log;  ///< stream number, write or -1 for an undo
    // the file (R3)
    PairEpoch filed_epoch;
    VoidRecord filed_void;
    uint32_t filed_heard = 0;
    uint64_t target = kNoCut;  ///< position to be reached by what PARTIAL has announced; kNoCut: none
};

class World {
  public:
    World(uint64_t seed, Mistake mistake) : dice_{static_cast<unsigned>(seed)}, mistake_(mistake) {
        for (int i : {0, 1}) {
            servers_[i].record.run = run_++;
            PairEvent event = event_of(Kind::started, 0, {}, 0);
            event.role = i == 0 ? PairRole::primary : PairRole::secondary;
            apply(i, event);
        }
    }
    const std::string& fault() const { return fault_; }  ///< the first promise that does not hold, or nothing
    unsigned syncs() const { return syncs_; }
    Mask acknowledged() const { return acknowledged_; }
    Mask failed() const { return failed_; }

    void turn() {
        const int i = static_cast<int>(dice_.below(2));
        switch (const uint64_t what = dice_.below(400); what) {
            case 0: case 1: case 2: timeout(i); break;
            case 3: case 4: case 5: lose_link(i); break;
            case 6: case 7: die_now(i); break;
            case 8: forget(i); break;
            case 9: case 10: promote(i); break;
            case 11: case 12: case 13: follow(i); break;
            case 14: if (dice_.below(4) == 0) alone(i); break;
            default:
                if (what < 100) write(i);
                else if (what < 160) answer(i);
                else if (what < 180 && (servers_[i].record.link == 0 || dice_.below(10) == 0)) connect(i);
                else receive(i);
        }
        judge(0), judge(1);
    }

    /// Whether the pair gets in sync once nothing happens to it any more, and somebody gives the orders that it takes. Of contradicting orders (alone at one, the
    /// other promoted) nothing is promised.
    bool settles() {
        const int p = complete(1) && (!complete(0) || servers_[1].record.epoch > servers_[0].record.epoch) ? 1 : 0, q = 1 - p;
        if (!complete(p) || debt_[0] || debt_[1]) return true;
        for (const int i : {p, q}) {
            to_[i].clear();
            lose_link(i);
            timeout(i);
        }
        if (servers_[q].record.role != PairRole::secondary) apply(q, event_of(Kind::follow));
        constexpr unsigned kTurns = 2000, kPatience = 100;
        for (unsigned n = 0; n < kTurns; ++n) {
            // Again, when the other one had heard of more promotions.
            if (servers_[p].record.role != PairRole::primary) apply(p, event_of(Kind::promote));
            if (n % kPatience == 0) connect(q);
            receive(p), receive(q);
            judge(p), judge(q);
            if (servers_[p].record.state == PairState::in_sync && servers_[q].record.state == PairState::in_sync) return true;
        }
        return false;
    }

  private:
    static Mask bit(unsigned write) { return Mask{1} << write; }
    Mask visible(int i) const {
        const bool all = mistake_ == Mistake::unconfirmed_shown && servers_[i].record.role == PairRole::secondary;
        return servers_[i].has & ~(all ? 0 : servers_[i].open);
    }
    bool complete(int i) const { return servers_[i].record.is_complete(); }
    void fail(std::string what) {
        if (fault_.empty()) fault_ = std::move(what);
    }

    /// Open entries that a record names.
    Mask named(int i, PairEpoch epoch, uint64_t above) const {
        Mask found = 0;
        for (unsigned w = 0; w < written_; ++w)
            if ((servers_[i].open & bit(w)) != 0 && number_[w] > above && (epoch.is_none() || epoch_[w] == epoch)) found |= bit(w);
        return found;
    }
    uint64_t highest(Mask writes) const {
        uint64_t number = 0;
        for (unsigned w = 0; w < written_; ++w)
            if ((writes & bit(w)) != 0) number = std::max(number, number_[w]);
        return number;
    }
    void log(int i, uint64_t number, int write) {
        Server& server = servers_[i];
        if (!server.log.empty() && number <= server.log.back().first) fail("M2: numbers do not rise along a log");
        server.log.push_back({number, write});
        server.last_number = std::max(server.last_number, number);
    }

    PairStep apply(int i, const PairEvent& event) {
        Server& server = servers_[i];
        WindowFacts facts;
        facts.any = server.open != 0;
        facts.own = named(i, server.record.epoch, 0) != 0;
        facts.newest = event.voided.is_none() ? 0 : highest(named(i, event.voided.epoch, event.voided.cut));
        const PairStep made = step(server.record, event, facts, server.last_number + 1);
        if (made.undo) {
            Mask gone = named(i, made.undo_epoch, made.undo_above);
            if (mistake_ == Mistake::nothing_undone) gone = 0;
            if ((gone & ~server.open & ~excused_) != 0) fail("an entry is undone that is not open");
            server.has &= ~gone;
            server.open &= ~gone;
            if (made.fails_owed) {
                server.owed_error |= server.owed;
                server.owed = 0;
            }
            log(i, made.number, -1);
        }
        server.last_number = std::max(server.last_number, made.number);
        const PairRecord before = std::exchange(server.record, made.next);
        if (made.confirm) {
            for (unsigned w = 0; w < written_; ++w)
                if ((server.open & bit(w)) != 0 && number_[w] <= made.confirm_up_to) server.open &= ~bit(w);
        }
        server.owed_ok |= server.owed & ~server.open;
        server.owed &= server.open;
        if (mistake_ == Mistake::void_record_forgotten) server.record.voided = {};
        if (mistake_ == Mistake::epoch_not_raised && event.kind == Kind::timeout) server.record.epoch = before.epoch;
        if (mistake_ != Mistake::file_not_written) {
            const bool is_filed = server.filed_epoch == server.record.epoch && server.filed_void == server.record.voided;
            if (!is_filed && !made.file) fail("R3: the file is not told of a change");
            server.filed_epoch = server.record.epoch;
            server.filed_void = server.record.voided;
            server.filed_heard = server.record.heard;
        }
        return made;
    }

    // --- connections: each direction of each is a queue of its own; what is not read by the other end's present connection is lost ---
    void send(int from, Message message) {
        message.link = servers_[from].record.link;
        to_[1 - from].push_back(message);
    }

    void write(int i) {
        Server& server = servers_[i];
        if (!server.record.takes_writes() || written_ == kWritesMax) return;
        for (unsigned w = 0; w < written_; ++w) {
            if (epoch_[w] == server.record.epoch && writer_[w] != i) fail("P4: two servers take a write in one epoch");
            if (epoch_[w] > server.record.epoch && !debt_[1 - i]) fail("P4: a write in a lower epoch after one in a higher");
        }
        const unsigned w = written_++;
        number_[w] = server.record.number = ++server.last_number;
        epoch_[w] = server.record.epoch;
        writer_[w] = i;
        log(i, number_[w], static_cast<int>(w));
        server.has |= bit(w);
        if (server.record.writes_alone()) {
            server.owed_ok |= bit(w);
            server.record.mark = server.record.number;
            return;
        }
        server.open |= bit(w);
        server.owed |= bit(w);
        Message message{Sent::window};
        message.epoch = epoch_[w];
        message.number = number_[w];
        message.writes = bit(w);
        send(i, message);
    }
    void answer(int i) {
        Server& server = servers_[i];
        if (mistake_ == Mistake::answered_unconfirmed) {
            acknowledged_ |= server.owed;
            server.owed = 0;
        }
        acknowledged_ |= std::exchange(server.owed_ok, 0);
        if (dice_.below(2) == 0) failed_ |= std::exchange(server.owed_error, 0);
        if ((failed_ & acknowledged_) != 0) fail("R5: an answer has two outcomes");
    }
    void timeout(int i) { apply(i, event_of(Kind::timeout)); }
    void lose_link(int i) {
        if (servers_[i].record.link != 0) apply(i, event_of(Kind::link_lost, servers_[i].record.link));
    }
    void connect(int i) {
        Server& server = servers_[i];
        if (server.record.role != PairRole::secondary) return;
        apply(i, event_of(Kind::connected, next_link_++));
        server.target = kNoCut;
        Message hello{Sent::hello};
        hello.epoch = server.record.epoch;
        hello.number = server.record.number;
        hello.complete = complete(i);
        hello.fresh = server.record.epoch.is_none() && server.record.heard == 0 && server.log.empty();
        hello.voided = server.record.voided;
        send(i, hello);
    }

    // --- messages ---
    void receive(int i) {
        if (to_[i].empty()) return;
        const Message message = to_[i].front();
        to_[i].pop_front();
        if (message.kind != Sent::hello && message.link != servers_[i].record.link) return;  // R2
        switch (message.kind) {
            case Sent::hello: hear_hello(i, message); break;
            case Sent::partial: hear_partial(i, message); break;
            case Sent::full: hear_full(i, message); break;
            case Sent::record:
            case Sent::window: hear_window(i, message); break;
            case Sent::synced: hear_synced(i, message); break;
            case Sent::confirm: {
                if (apply(i, event_of(Kind::confirm, message.link, message.epoch, message.number)).answer == PairAnswer::ignored) break;
                Message mark{Sent::mark};
                mark.epoch = servers_[i].record.epoch;
                mark.number = message.number;
                send(i, mark);
                break;
            }
            case Sent::mark: apply(i, event_of(Kind::mark, message.link, message.epoch, message.number)); break;
        }
    }
    void hear_hello(int i, const Message& message) {
        PairEvent event = hello_of(message.epoch, message.number, message.complete);
        event.link = message.link;
        event.voided = message.voided;
        event.fresh = message.fresh;
        event.own_fresh = servers_[i].record.epoch.is_none() && servers_[i].record.heard == 0 && servers_[i].log.empty();
        answer_sync(i, apply(i, event));
    }
    void answer_sync(int i, const PairStep& made) {
        Server& server = servers_[i];
        Message out{};
        out.epoch = server.record.epoch;
        if (made.answer == PairAnswer::partial) {
            out.kind = Sent::partial;
            out.number = made.from;
            out.cut = made.cut;
            out.target = server.record.number;
            send(i, out);
            for (const auto& [number, write] : server.log) {
                if (number <= made.from) continue;
                if (write < 0 || (server.has & bit(static_cast<unsigned>(write))) == 0) fail("M1: what was undone is sent");
                Message record{Sent::record};
                record.epoch = server.record.epoch;
                record.number = number;
                record.writes = write < 0 ? 0 : bit(static_cast<unsigned>(write));
                send(i, record);
            }
        } else if (made.answer == PairAnswer::full) {
            out.kind = Sent::full;
            out.number = server.record.number;
            out.writes = server.has;
            out.open = server.open != 0;
            send(i, out);
        }
    }
    void hear_partial(int i, const Message& message) {
        PairEvent event = event_of(Kind::partial, message.link, message.epoch, message.number);
        event.cut = message.cut;
        if (apply(i, event).answer == PairAnswer::ignored) return;
        servers_[i].target = message.target;
        say_synced_when_there(i);
    }
    void say_synced_when_there(int i) {
        Server& server = servers_[i];
        if (server.target == kNoCut || server.record.number != server.target) return;
        server.target = kNoCut;
        Message out{Sent::synced};
        out.epoch = server.record.epoch;
        out.number = server.record.number;
        out.writes = server.has;
        send(i, out);
    }
    void hear_full(int i, const Message& message) {
        Server& server = servers_[i];
        if (apply(i, event_of(Kind::reloads)).answer == PairAnswer::ignored) return;
        server.has = server.open = 0;
        server.record.number = server.record.mark = 0;
        server.log.clear();
        if (dice_.below(5) == 0) return die_now(i);
        server.has = message.writes;
        server.record.number = message.number;
        server.last_number = std::max(server.last_number, message.number);
        for (unsigned w = 0; w < written_; ++w)
            if ((server.has & bit(w)) != 0) server.log.push_back({number_[w], static_cast<int>(w)});
        std::ranges::sort(server.log);
        if (apply(i, event_of(Kind::loaded, message.link, message.epoch)).answer == PairAnswer::ignored) return;
        PairEvent reached = event_of(Kind::reached, message.link, message.epoch, message.number);
        reached.open = message.open;
        apply(i, reached);
        server.target = message.number;
        say_synced_when_there(i);
    }
    void hear_window(int i, const Message& message) {
        Server& server = servers_[i];
        if ((!server.record.takes_windows(message.link) || server.record.epoch != message.epoch) || message.number <= server.record.number) return;
        server.has |= message.writes;
        server.open |= message.writes;
        server.record.number = message.number;
        log(i, message.number, message.writes == 0 ? -1 : std::countr_zero(message.writes));
        if (server.target != kNoCut) return say_synced_when_there(i);
        if (message.kind != Sent::window || server.record.state != PairState::in_sync) return;
        Message out{Sent::confirm};
        out.epoch = message.epoch;
        out.number = message.number;
        send(i, out);
    }
    void hear_synced(int i, const Message& message) {
        PairEvent event = event_of(Kind::synced, message.link, message.epoch, message.number);
        if (servers_[i].record.state == PairState::warm && message.epoch == servers_[i].record.epoch && message.number == servers_[i].record.number &&
            message.writes != servers_[i].has && mistake_ == Mistake::none)
            fail("P5: equal positions, other data");
        const PairStep made = apply(i, event);
        if (made.answer != PairAnswer::mark) return;
        ++syncs_;
        if (servers_[1 - i].record.epoch == servers_[i].record.epoch) debt_[1 - i] = false;
        debt_[i] = false;
        if (!debt_[1 - i]) {
            if ((acknowledged_ & ~servers_[i].has) != 0) fail("P1: an acknowledged write is missing at a sync point");
            if ((servers_[i].has & failed_ & ~excused_) != 0) fail("P2: a write answered with an error is there at a sync point");
            if (((shown_[0] | shown_[1]) & ~servers_[i].has) != 0) fail("P3: what was read is missing at a sync point");
        }
        Message mark{Sent::mark};
        mark.epoch = servers_[i].record.epoch;
        mark.number = servers_[i].record.number;
        send(i, mark);
    }

    // --- orders and deaths, within the exceptions of tests/model/README.md ---
    void promote(int i) {
        if (debt_[1 - i] || servers_[1 - i].record.alone || servers_[i].owed != 0) return;
        apply(i, event_of(Kind::promote));
    }
    void follow(int i) {
        // The operator makes a secondary only where the other one is primary, or may be.
        if (servers_[i].record.role == PairRole::secondary || debt_[i] || !complete(1 - i)) return;
        if (servers_[1 - i].record.role == PairRole::secondary && servers_[i].record.role == PairRole::primary && dice_.below(4) != 0) return;
        apply(i, event_of(Kind::follow));
    }
    void alone(int i) {
        Server& server = servers_[i];
        if (debt_[1 - i] || servers_[1 - i].record.alone || (servers_[1 - i].record.role == PairRole::primary && servers_[1 - i].record.epoch > server.record.epoch)) return;
        if (!complete(i)) return;
        const Mask open = server.open & ~server.owed;
        if (!apply(i, event_of(Kind::alone)).confirm) return;
        debt_[i] = true;
        excused_ |= open;
    }
    void clear_answers(int i) { servers_[i].owed = servers_[i].owed_ok = servers_[i].owed_error = 0; }
    void die_now(int i) {
        Server& server = servers_[i];
        clear_answers(i);
        apply(i, event_of(Kind::link_lost, server.record.link));
        if (server.record.state == PairState::bootstrapping) server.record.state = PairState::cold;
        server.target = kNoCut;
    }
    /// Never the only one whose data is complete.
    void forget(int i) {
        if (!complete(1 - i) || debt_[i] || servers_[i].record.alone) return;
        Server& server = servers_[i];
        const bool file = dice_.below(2) == 0;
        clear_answers(i);
        server.has = server.open = 0;
        server.log.clear();
        server.last_number = 0;
        server.target = kNoCut;
        server.record.number = server.record.mark = 0;
        server.record.run = run_++;
        PairEvent event = event_of(Kind::started, 0, file ? server.filed_epoch : PairEpoch{}, file ? server.filed_heard : 0);
        event.voided = file ? server.filed_void : VoidRecord{};
        event.role = server.record.role == PairRole::primary && dice_.below(2) == 0 ? PairRole::primary : PairRole::secondary;
        if (!file) excused_ |= failed_;
        server.filed_epoch = event.epoch;
        server.filed_void = event.voided;
        apply(i, event);
    }

    void judge(int i) {
        if (!complete(i)) return;
        const bool shows_before = mistake_ == Mistake::old_value_shown && !debt_[0] && !debt_[1];
        const Mask not_contradicted = servers_[i].record.state == PairState::in_sync || shows_before ? visible(i) : servers_[i].has;
        if (((shown_[i] | (shows_before ? shown_[1 - i] : 0)) & ~not_contradicted) != 0) fail("P3: what was read is taken back");
        shown_[i] |= visible(i);
        if ((visible(i) & failed_ & ~excused_) != 0) fail("P2: a write answered with an error is shown");
        if (debt_[1 - i]) return;
        if ((acknowledged_ & ~servers_[i].has) != 0) fail("P1: an acknowledged write is missing where data counts as complete");
        if (((shown_[0] | shown_[1]) & ~servers_[i].has) != 0) fail("P3: what was read is missing where data counts as complete");
    }

    Random dice_;
    Mistake mistake_;
    std::array<Server, 2> servers_;
    std::array<std::deque<Message>, 2> to_;
    std::array<uint64_t, kWritesMax> number_{};
    std::array<PairEpoch, kWritesMax> epoch_{};
    std::array<int, kWritesMax> writer_{};
    unsigned written_ = 0, syncs_ = 0;
    uint64_t next_link_ = 1, run_ = 1;
    Mask acknowledged_ = 0, failed_ = 0, excused_ = 0;
    std::array<Mask, 2> shown_{};
    std::array<bool, 2> debt_{};
    std::string fault_;
};

}  // namespace millrace::unit
