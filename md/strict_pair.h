// The strict pair's state machine: one step from what a server is and what happens to what it is then and has to do. It knows no store, no socket and no clock,
// so the same code runs in md and in a simulation of two servers (tests/unit/strict_pair_test.cc). Runs in md.
//
// The rules are R1..R13 of tests/model/README.md; md/README.md has the picture. Everything that changes role, state, epoch, before, void record, mark or link goes
// through step(); what a step asks for - undoing, confirming, the file, the answer - belongs to the same commit, but for what leaves the server, which waits for
// the file (R3).
// What is beside the rules:
//   M1  `base`: what the data has of the present epoch are the records with stream numbers above it, so those, and nothing else, are to be sent to one who has
//       what this epoch builds on. Whatever raises the epoch, or undoes, moves it up to the number of that commit.
//   M2  An undo has a stream number of its own, above everything that it undoes, at both ends (PairStep::number): numbers rise along every log.
//   M3  A copy is of an earlier moment, and what follows it comes piece by piece: who loaded one is incomplete until it has reached all that there is. If the primary had
//       open entries, the copy has none of their before-images, and its holder stays incomplete until the sync point.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/pair_layout.h"

namespace millrace::md {

using store::PairEpoch;
using store::PairRole;
using store::PairState;

/// Entries of this epoch above this number were answered with an error; no epoch: there is no record.
struct VoidRecord {
    PairEpoch epoch;
    uint64_t cut = 0;
    bool is_none() const { return epoch.is_none(); }
    bool operator==(const VoidRecord&) const = default;
};

/// What of a server the rules speak about.
struct PairRecord {
    PairRole role = PairRole::none;
    PairState state = PairState::cold;
    bool alone = false, handing_over = false;
    PairEpoch epoch;
    uint64_t number = 0;       ///< with the epoch: the position
    uint64_t mark = 0;         ///< what is above is open
    PairEpoch before_epoch;
    uint64_t before_number = 0;
    uint64_t base = 0;         ///< M1
    VoidRecord voided;
    uint64_t link = 0;
    uint64_t run = 0;
    uint32_t heard = 0;        ///< promotions of the highest epoch that was heard of

    bool is_complete() const { return store::is_complete(state); }
    /// Whether a write may be executed; it is answered at once if `alone`.
    bool takes_writes() const { return role == PairRole::primary && ((state == PairState::in_sync && link != 0) || writes_alone()); }
    bool writes_alone() const { return role == PairRole::primary && alone && state == PairState::warm && link == 0; }
    /// Whether a connection's entries are taken (R9).
    bool takes_windows(uint64_t from) const { return role == PairRole::secondary && state >= PairState::bootstrapping && link == from && link != 0; }
    bool operator==(const PairRecord&) const = default;
};

/// What the step has to know of the open window.
struct WindowFacts {
    bool any = false;       ///< something is open
    bool own = false;       ///< of the present epoch
    uint64_t newest = 0;    ///< highest stream number of an open entry that PairEvent::voided names; 0: it names none
};

enum class PairEventKind : uint8_t {
    started,    ///< without the memory from before; `epoch`, `voided`, `number` (promotions heard of) from the file; `role` from the configuration
    hello,      ///< R7: `link`, `epoch`, `number`, `complete`, `voided`, `fresh`
    synced,     ///< R7: `link`, `epoch`, `number`, `checksum` and `own_checksum`
    confirm,    ///< `link`, `epoch`, `number`
    link_lost,  ///< `link`
    timeout,    ///< R4
    connected,  ///< a secondary has a new connection: `link`
    partial,    ///< R7: `link`, `epoch`, `number` (what is behind it follows), `cut`
    reloads,    ///< a secondary lets go of its data, in favour of the copy that has come
    loaded,     ///< and has it: `link`, `epoch`
    reached,    ///< a secondary has all that the primary has: `link`, `epoch`, `number`, `open`
    mark,       ///< `link`, `epoch`, `number`
    follow,     ///< R9: REPLICAOF host port
    promote,    ///< R10: REPLICAOF NO ONE
    alone,      ///< R13
    end_alone,  ///< takes that back
};

inline constexpr uint64_t kNoCut = ~uint64_t{0};

struct PairEvent {
    PairEventKind kind{};
    uint64_t link = 0;
    PairEpoch epoch{};
    uint64_t number = 0;
    uint64_t cut = kNoCut;
    VoidRecord voided{};
    PairRole role = PairRole::none;
    bool complete = false;
    bool fresh = false;   ///< hello: the secondary has never had data nor an epoch; and this server neither: `own_fresh`
    bool own_fresh = false;
    bool open = false;    ///< reached: a copy had open entries (M3)
    uint64_t checksum = 0, own_checksum = 0;
};

enum class PairAnswer : uint8_t {
    none,
    ignored,   ///< the event does not fit: the other end is to connect again
    partial,   ///< PARTIAL: what is behind `from` follows, `cut`
    full,      ///< FULL
    fenced,    ///< the other one has a higher epoch; this one steps back
    cold,      ///< this server has no complete data, and gets none this way: somebody has to say what counts
    mark,      ///< the sync point: MARK
};

struct PairStep {
    PairRecord next;
    PairAnswer answer = PairAnswer::none;
    uint64_t from = 0, cut = kNoCut;  ///< of PARTIAL
    bool undo = false;                ///< open entries of undo_epoch (none: of any) above undo_above go, in this commit
    PairEpoch undo_epoch;
    uint64_t undo_above = 0;
    uint64_t number = 0;              ///< stream number of the undo, or of what is as good as one (M2); 0: there is none
    bool confirm = false;             ///< open entries up to confirm_up_to are confirmed
    uint64_t confirm_up_to = 0;
    bool fails_owed = false;          ///< what the undone entries' clients wait for becomes an error
    bool file = false;                ///< R3
    std::string_view refusal;         ///< of an order: why nothing was done
};

/// The step. `window`: of the store as it is; `fresh_number`: a stream number above all that this server has used.
PairStep step(const PairRecord& now, const PairEvent& event, const WindowFacts& window, uint64_t fresh_number);

std::string_view name_of(PairRole role);
std::string_view name_of(PairState state);

}  // namespace millrace::md
