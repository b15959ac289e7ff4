// What a server of a strict pair keeps in its store (`replication-mode strict`; the rules R1..R13 stand in tests/model/README.md): PairWords in the root, and
// the open window. Written by md in commits only; read by md_repl and io_conn.
//
// The window holds a WindowEntry for each change of data that is not known to be on both servers: what the slot had before. Its chunks are a list from the
// oldest entry to the newest. A change that is confirmed lets go of what was before; one that is undone puts it back.
// Invariants:
//   W1  While the window is kept nothing that a slot refers to changes where it lies: a change builds another item, and the entry keeps the one before. So an
//       entry's item is as it was, and is reached from the entry only (T7 of store_layout.h), not from a slot and not from the garbage list.
//   W2  Entries are in the order of their numbers, and those of one number belong to one commit: they are confirmed, or undone, together. Own numbers and
//       stream numbers rise together along the list.
//   W3  `shown` is the number of a commit of this server: what that one and those before it did is confirmed, or was never open. kAllShown: there is nothing open,
//       and nothing that the pair's file has to say first. io_conn lets go of a reply, and shows a bucket, of a later commit only when `shown` has reached it.
//   W4  Replies to commits (from, to] of a `voided` range are errors: what they tell of was undone. A range is stored before `shown` passes it.
//   W5  `file_wanted` counts what the file has to say. Until md_repl has forced it to disk, `shown` stays before the commit that wants it (R3).
//   W6  Replies to commits up to `refused_to` that are not shown are reads of a secondary whose confirmations do not come any more: they are refused (R12).
#pragma once

#include <array>
#include <compare>
#include <cstdint>

namespace millrace::store {

enum class PairRole : uint8_t { none = 0, primary = 1, secondary = 2, fenced = 3 };
/// The first two are incomplete: acknowledged writes may be missing.
enum class PairState : uint8_t { cold = 0, bootstrapping = 1, warm = 2, in_sync = 3 };
constexpr bool is_complete(PairState state) { return state >= PairState::warm; }

/// Compared from the left.
struct PairEpoch {
    uint32_t promotions = 0;
    uint32_t raises = 0;   ///< by timeouts, since that promotion
    uint64_t run = 0;      ///< run id of who raised it

    constexpr auto operator<=>(const PairEpoch&) const = default;
    constexpr bool is_none() const { return promotions == 0 && raises == 0 && run == 0; }
    constexpr PairEpoch raised(uint64_t by) const { return {promotions, raises + 1, by}; }
    constexpr uint64_t counts() const { return uint64_t{promotions} << 32 | raises; }
    static constexpr PairEpoch from(uint64_t counts, uint64_t run) { return {static_cast<uint32_t>(counts >> 32), static_cast<uint32_t>(counts), run}; }
};

/// An epoch as two words.
struct EpochWords {
    uint64_t counts, run;
    constexpr PairEpoch epoch() const { return PairEpoch::from(counts, run); }
};

struct VoidedRange {
    uint64_t from, to;  ///< numbers of commits (W4)
};
inline constexpr unsigned kVoidedRanges = 16;
inline constexpr uint64_t kAllShown = ~uint64_t{0};
/// With the number of a reply: it does not wait for what is open, only until `file_commit` is not that commit, nor one before it.
inline constexpr uint64_t kWaitsForFile = 1ull << 63;

struct PairWords {
    uint64_t shown;           ///< W3
    uint64_t standing;        ///< role, state and flags: PairStanding
    uint64_t run;             ///< run id of this memory
    uint64_t link;            ///< the connection that this end has; 0: none
    EpochWords epoch;
    uint64_t mark;            ///< confirmed mark, a stream number; the position's number is Root::stream_number
    EpochWords before_epoch;  ///< R1
    uint64_t before_number;
    uint64_t base;            ///< what of the data is of the present epoch has stream numbers above this one
    EpochWords void_epoch;    ///< R1; none: no void record
    uint64_t void_cut;
    uint64_t heard;           ///< promotions of the highest epoch that was heard of
    uint64_t file_wanted;     ///< W5
    uint64_t file_commit;     ///< number of the commit that the file has to speak of first; 0: none
    uint64_t oldest, newest;  ///< WindowEntry; 0: the window is empty
    uint64_t first_open;      ///< the first entry above the mark; those before it wait to be let go of. 0: nothing is open
    uint64_t changes;         ///< entries of the window
    uint64_t bytes;           ///< of what they keep
    uint64_t windows_undone, changes_undone;  ///< ever
    uint64_t refused_to;      ///< W6
    uint64_t voided_count;    ///< ranges ever; the last kVoidedRanges of them are
    std::array<VoidedRange, kVoidedRanges> voided;
};

/// PairWords::standing, unpacked.
struct PairStanding {
    PairRole role = PairRole::none;
    PairState state = PairState::cold;
    bool alone = false, handing_over = false;

    static constexpr PairStanding from(uint64_t word) {
        return {static_cast<PairRole>(word & 0xff), static_cast<PairState>(word >> 8 & 0xff), (word >> 16 & 1) != 0, (word >> 17 & 1) != 0};
    }
    constexpr uint64_t word() const { return static_cast<uint64_t>(role) | static_cast<uint64_t>(state) << 8 | uint64_t{alone} << 16 | uint64_t{handing_over} << 17; }
};

enum class WindowKind : uint8_t { item = 1, clear = 2, swap = 3 };

/// One change. `was` and `became` of an item are references, 0: the key was not there, or is not any more.
struct WindowEntry {
    uint64_t newer;    ///< the first word: it goes through the list (T4)
    uint64_t older;
    uint64_t number;   ///< of the commit
    uint64_t stream;   ///< stream number
    EpochWords epoch;
    uint64_t what;     ///< WindowKind | database << 8 | other database << 16
    uint64_t was;      ///< of clear: a ClearedDatabase that is in no list
    uint64_t became;   ///< of clear: keys that the database had
    uint64_t hash;     ///< of the key; of clear: keys with an expiry

    WindowKind kind() const { return static_cast<WindowKind>(what & 0xff); }
    unsigned database() const { return static_cast<unsigned>(what >> 8 & 0xff); }
    unsigned other() const { return static_cast<unsigned>(what >> 16 & 0xff); }
    static uint64_t what_of(WindowKind kind, unsigned database, unsigned other) { return static_cast<uint64_t>(kind) | uint64_t{database} << 8 | uint64_t{other} << 16; }
};
static_assert(sizeof(WindowEntry) == 80);

}  // namespace millrace::store
