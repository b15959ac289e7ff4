// The open window of a strict pair: what slots had before changes that are not known to be on both servers (common/pair_layout.h, W1..W5). Runs in md.
//
// Everything here goes into the write set of the operation under way. One entry a change; what is confirmed is let go of in slices (release_some), what is
// undone goes back newest first, all of it in one commit.
#pragma once

#include <optional>
#include <string>

#include "md/index.h"
#include "md/items.h"
#include "md/oplog.h"
#include "md/strict_pair.h"

namespace millrace::md {

class Window {
  public:
    /// From so many entries, or so many bytes kept, on no further write is taken. One operation more may be in it, and a database that was cleared counts nothing.
    static constexpr uint64_t kChangesMax = 16 * 1024;
    static constexpr uint64_t kBytesMax = 64ull * 1024 * 1024;

    Window(const StoreMemory& memory, WriteSet& set, Allocator& allocator, Index& index, Items& items, Oplog& oplog, const Committer& committer)
        : memory_(memory), set_(set), allocator_(allocator), index_(index), items_(items), oplog_(oplog), committer_(committer) {
        look();
    }

    /// Whether changes keep what was before.
    bool is_on() const { return on_; }
    /// Whether this half of a pair takes no writes of its own.
    bool is_passive() const { return passive_; }
    /// Whether acknowledged writes may be missing here: nothing is shown (R12).
    bool is_incomplete() const { return incomplete_; }
    bool is_of_pair() const { return on_ || passive_ || alone_; }
    /// Whether something is open whose end nobody can say: confirmations do not come.
    bool is_unresolved() const { return !in_sync_ && on_ && words().first_open != 0; }
    /// After a commit that may have changed role or flags.
    void look();
    bool is_full() const { return on_ && !passive_ && (words().changes >= kChangesMax || words().bytes >= kBytesMax); }

    /// A change of the operation under way: the key's slot had `was` and has `became`, 0: nothing. `stream`: its stream number; 0: the commit's.
    void keep_item(unsigned database, uint64_t hash, uint64_t was, uint64_t became, uint64_t stream);
    /// A database was cleared; `cleared` has its index, and is in no list.
    void keep_clear(unsigned database, uint64_t cleared, uint64_t keys, uint64_t expires, uint64_t stream);
    void keep_swap(unsigned one, unsigned other, uint64_t stream);
    /// Whether there was no memory for an entry of the operation under way, which is to be given up then.
    bool failed() const { return failed_; }
    /// The operation under way has ended, either way.
    void end_operation() { failed_ = false; }

    /// What is open, for a step. `record`: whether an open entry is named by it.
    WindowFacts facts(const VoidRecord& record) const;
    /// Whether an open entry is about this key, or about all keys of its database.
    bool has_open(unsigned database, std::string_view key, uint64_t hash) const;
    /// The number of the last commit that has an open entry; 0: nothing is open.
    uint64_t newest_open() const { return read(words().first_open) == 0 ? 0 : read(entry(read(words().newest)).number); }
    uint64_t first_open_number() const {
        const uint64_t first = read(words().first_open);
        return first == 0 ? 0 : read(entry(first).number);
    }

    /// Open entries up to this stream number are confirmed.
    void confirm(uint64_t up_to);
    /// A slot that an undo needs and does not find: the segment is to be split.
    struct MissingSlot {
        unsigned database;
        st::KeyPlace place;
    };
    /// Undoes open entries of this epoch (none: of any) above this stream number. The oplog's record of it has been begun. False: give up and split().
    bool undo(PairEpoch epoch, uint64_t above, std::optional<MissingSlot>& missing);
    /// Numbers of the commits that undo() has undone, as replies have them: (from, to].
    st::VoidedRange undone() const { return undone_; }
    /// Whether a cleared database was among it, of which the oplog says nothing.
    bool undid_clear() const { return undid_clear_; }
    /// Lets go of up to `limit` confirmed entries; true when there are more.
    bool release_some(unsigned limit);

  private:
    /// Words that nobody but md writes are looked up without the write set where no operation of this class comes twice.
    const st::PairWords& words() const { return memory_.root().pair; }
    st::WindowEntry& entry(uint64_t reference) const { return *memory_.as<st::WindowEntry>(reference); }
    uint64_t read(const uint64_t& word) const { return set_.read(&word); }
    void add(st::WindowKind kind, unsigned database, unsigned other, uint64_t was, uint64_t became, uint64_t hash, uint64_t stream);
    bool is_named(const st::WindowEntry& entry, PairEpoch epoch, uint64_t above) const;
    bool undo_item(const st::WindowEntry& entry, std::optional<MissingSlot>& missing);
    void undo_clear(const st::WindowEntry& entry);
    uint64_t bytes_of(const st::WindowEntry& entry) const;

    const StoreMemory& memory_;
    WriteSet& set_;
    Allocator& allocator_;
    Index& index_;
    Items& items_;
    Oplog& oplog_;
    const Committer& committer_;
    bool on_ = false, passive_ = false, in_sync_ = false, alone_ = false, incomplete_ = false;
    bool failed_ = false;
    bool undid_clear_ = false;
    st::VoidedRange undone_{};
};

}  // namespace millrace::md
