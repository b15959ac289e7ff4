// The store: 16 databases of string values with expiry, in a segment that outlives md. Runs in md.
//
// Layout and invariants: common/store_layout.h. This class puts the parts together: index, items, allocator, the write set
// of the operation under way, and its commit. An operation is: make_room() if it puts many keys (commits of their own), then
// put, erase, clear, records and cursors in any order, then commit() - or abandon(), and nothing has happened.
// Nothing here takes long: an expired key is removed when it is met or in slices, a cleared database, a large value and a
// released reply are taken out of reach at once and freed in slices, each slice a commit of its own.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/data_checksum.h"
#include "common/live_options.h"
#include "md/checksum_walk.h"
#include "md/index.h"
#include "md/items.h"
#include "md/oplog.h"
#include "md/value.h"
#include "md/window.h"

namespace millrace::md {

inline constexpr unsigned kDatabases = st::kDatabases;

/// What md does of expiry, freeing and giving back in one turn (tests/bench/slice_bench.cc measures it). Freeing and giving back
/// go on turn after turn, and a request waits for the slice under way.
inline constexpr unsigned kExpirySliceWork = 4096;
inline constexpr unsigned kFreeSliceEntries = 32;
inline constexpr unsigned kGiveBackSlicePages = 1;

/// A name for a history that no other has.
std::string random_history();

class Store {
  public:
    /// Lays a fresh store out in zeroed memory whose first pages are backed. `oplog_bytes`: a power of two.
    static void format(const StoreMemory& memory, uint64_t hash_seed, uint64_t oplog_bytes);
    /// Pages that format() needs backed.
    static uint64_t fixed_pages(uint64_t oplog_bytes) { return (st::kOplogAt + oplog_bytes) >> st::kPageShift; }

    /// `memory` has been formatted. Finishes what was committed.
    explicit Store(StoreMemory memory, Marks marks = {});
    Store(const Store&) = delete;

    // --- reading, in the store as the operation under way leaves it ---
    st::KeyPlace place_of(std::string_view key) const;
    /// The value of a key, expired or not.
    std::optional<Value> find(unsigned database, std::string_view key, st::KeyPlace place) const;
    /// The same for a command that uses the key: its mark says so.
    std::optional<Value> find_and_use(unsigned database, std::string_view key, st::KeyPlace place);
    /// The key's mark; empty without such a key, or when no marks are kept.
    std::optional<uint32_t> mark_of(unsigned database, std::string_view key, st::KeyPlace place) const;
    /// Bytes that a key takes: its chunks and pages, its slot in the index, its mark. Empty without such a key.
    std::optional<uint64_t> memory_of(unsigned database, std::string_view key, st::KeyPlace place) const;
    /// A number that tells what a key has from what it will have when it has changed; 0: there is no such key. Of a large value it tells its bucket's
    /// last change, which may be another key's.
    uint64_t token_of(unsigned database, std::string_view key, st::KeyPlace place, int64_t now_ms) const;
    uint64_t keys(unsigned database) const { return set_.read(&root().databases[database].keys); }
    uint64_t keys_with_expiry(unsigned database) const { return set_.read(&root().databases[database].expires); }
    /// Splits of the index since this object was made.
    uint64_t splits() const { return index_.splits(); }
    uint64_t used_bytes() const { return set_.read(&root().used_bytes); }
    /// What counts against maxmemory: chunks and whole pages in use, and the marks.
    uint64_t counted_bytes() const {
        return used_bytes() + (marks_.kept() == MarkKind::none ? 0 : set_.read(&root().index_pages) * MarkTable::kBytesPerPage);
    }
    /// The value of an option that can be changed while the group runs.
    int64_t live_number(OptionId id) const {
        return millrace::live_number(id, [this](uint64_t at) { return memory_.load(at); });
    }
    std::string live_text(OptionId id) const;
    EvictionPolicy policy() const { return static_cast<EvictionPolicy>(live_number(OptionId::maxmemory_policy)); }
    /// Bytes of shared memory taken from the system.
    uint64_t taken_bytes() const;
    /// Asks for the cache lines that find() will read; returns the index segment.
    uint64_t prefetch(unsigned database, st::KeyPlace place) const { return index_.prefetch(database, place); }
    /// The same for the item, once the buckets are there.
    void prefetch_item(uint64_t segment, st::KeyPlace place) const { index_.prefetch_item(segment, place); }

    /// Visits keys from a position on, until `wanted` or a few more were visited, or kWalkSegments of the index, in which there may be few;
    /// returns the position behind them, 0 at the end. A
    /// position is a place in the order of hashes, then of home buckets, so it means the same however the index has grown meanwhile: who
    /// goes on from position to position visits each key that is there all the time, some perhaps twice. Expired keys are visited too.
    using KeyVisitor = std::function<void(std::string key, const Value& value)>;
    uint64_t walk_keys(unsigned database, uint64_t position, uint64_t wanted, const KeyVisitor& visit) const;

    /// A position for walk_keys(), from any 64 bits.
    static uint64_t random_position(uint64_t bits) { return bits >> (64 - kWalkDepth - 6); }

    // --- changing ---
    /// Makes sure that the keys have slots, each split a commit of its own. False: no memory. REQUIRES: no operation.
    /// One that puts few keys need not ask: put() says when a slot is missing, which is seldom.
    bool make_room(unsigned database, std::span<const st::KeyPlace> places);
    enum class Put { done, no_memory, no_slot };
    /// no_slot: abandon, split() and start again.
    Put put(unsigned database, std::string_view key, st::KeyPlace place, const Value& value);
    /// Gives a key that is there another mark, if marks are kept.
    void set_mark(unsigned database, std::string_view key, st::KeyPlace place, uint32_t mark);
    bool split(unsigned database, st::KeyPlace place);
    /// False if there was no such key.
    bool erase(unsigned database, std::string_view key, st::KeyPlace place);
    /// False: no memory.
    bool clear(unsigned database);
    /// Frees the index of a database without keys, if it has grown, as a commit of its own. The index does not shrink otherwise. REQUIRES: no
    /// operation.
    bool drop_empty_index();
    /// Each of two databases has what the other had.
    void swap_databases(unsigned one, unsigned other);

    void count_statistics_reset() { set_.write(st::kStatisticsResetsAt, memory().root().statistics_resets + 1); }
    void set_pause(st::PauseWord pause) { set_.write(st::kPauseAt, pause.word()); }
    /// Changes a live option. `text`: at most st::kLiveTextBytesMax bytes.
    void set_live(OptionId id, int64_t value);
    void set_live(OptionId id, std::string_view text);

    // --- replication (common/repl_words.h) ---
    /// Whether this server follows another one.
    bool is_following() const { return st::is_following(root()); }
    uint64_t stream_number() const { return set_.read(&root().stream_number); }
    uint64_t stream_database() const { return set_.read(&root().stream_database); }
    /// The operation is what a follower has heard from its master: its record has this stream number (R1), and goes on in this database. Before
    /// begin_record()'s effects.
    void set_stream_number(uint64_t number, uint64_t database);
    std::string history() const;
    std::string second_history() const;
    uint64_t second_history_end() const { return set_.read(&root().second_history_end); }
    /// From here on the data goes its own way: what this server has done up to now is that of the history before.
    void begin_history(std::string_view history);
    /// The data is that of a history, whatever was before. `second`: may be empty.
    void adopt_history(std::string_view history, std::string_view second, uint64_t second_end, uint64_t stream_number, uint64_t stream_database);

    /// Copies bytes [from, from + length) of a large item's value.
    void read_large_value(uint64_t item, uint64_t from, uint64_t length, char* out) const { items_.read_large_value(item, from, length, out); }
    /// Copies bytes [from, from + count) of a value.
    void copy_value(const Value& value, uint64_t from, uint64_t count, char* out) const { items_.copy_value(value, from, count, out); }
    /// Builds a reply record of a channel; 0: no memory.
    uint64_t add_record(unsigned channel, std::span<const ReplyPart> parts);
    /// False if the channel has no such record.
    bool release_record(unsigned channel, uint64_t record);
    /// A channel is new: its cursors are 0 and the records of the one before go.
    void reset_channel(unsigned channel, uint64_t generation);
    /// Once an operation, as reset_channel() is.
    void set_cursors(unsigned channel, uint64_t request_head, uint64_t reply_tail);
    const st::ChannelWords& channel(unsigned channel) const { return root().channels[channel]; }

    /// Starts and ends the oplog's record of the operation. False: there is no memory, or no room, for it, and the operation is to be given up.
    void begin_record() {
        oplog_.begin();
        if (stream_number_ != 0) oplog_.add_origin(stream_number_, stream_database());
    }
    bool end_record();
    /// Switches the oplog on or off, as a commit of its own. REQUIRES: no operation.
    void set_oplog_on(bool on);
    /// Nobody reads the oplog before this position any more: a commit of its own, if it is worth one. Takes at most kReleaseRecords records by
    /// reference; true when there are more. REQUIRES: no operation.
    bool release_oplog(uint64_t position);
    /// Whether the oplog can take what any operation may write into it.
    bool oplog_has_room() const { return !oplog_.is_on() || oplog_.room() >= oplog_.capacity() / 2; }
    /// Makes the operation real. False: there was no memory for its list, and nothing has happened.
    bool commit();
    void abandon();

    // --- the strict pair (strict_pair.h, window.h) ---
    PairRecord pair() const;
    /// The step that an event makes as the store is now.
    PairStep pair_step(const PairEvent& event) const { return step(pair(), event, window_.facts(event.voided), next_number()); }
    /// Whether this server has never had data, nor heard of a pair.
    bool pair_is_fresh() const;
    /// Whether nothing is removed on this server's own account: it follows another one, or takes no writes.
    bool is_passive() const { return is_following() || window_.is_passive(); }
    const Window& window() const { return window_; }
    /// Number of the commit that has to be shown before the operation under way is answered: its own, or an earlier one that is open; 0: none has.
    /// `in_sync`: what is open is waited for; else it is not in the answer (R12).
    uint64_t answer_number(bool in_sync) const {
        const uint64_t file = set_.read(&root().pair.file_commit);
        if (in_sync) return std::max(window_.newest_open(), file);
        return file == 0 ? 0 : file | st::kWaitsForFile;
    }
    /// What may be shown and answered: W3 of pair_layout.h.
    uint64_t shown() const { return root().pair.shown; }
    /// The numbers that a step needs.
    uint64_t next_number() const { return committer_.next_number(); }
    /// Puts what a step has made of the record, with its undo and its confirming, into the operation under way. no_slot: abandon, split(), and begin again.
    Put change_pair(const PairStep& made, std::optional<Window::MissingSlot>& missing);
    /// The same as a commit of its own. False: no memory. REQUIRES: no operation.
    bool make_pair_step(const PairStep& made);
    /// The file has what file_wanted counts up to this: what waited for it may be shown (W5). REQUIRES: no operation.
    void note_pair_file(uint64_t filed);
    /// Lets go of up to `limit` confirmed entries; true when there are more.
    bool release_window(unsigned limit);

    // --- slices, each a commit of its own; REQUIRE: no operation ---
    /// Removes keys whose time is over among those that follow; returns how many. `work` bounds what it does: a bucket counts
    /// one, a key with an expiry kLookWork more, one that is removed kRemovalWork more.
    unsigned expire_some(int64_t now_ms, unsigned work);
    /// Whether the last slice came to the end of all databases.
    bool expiry_pass_ended() const { return expire_pass_ended_; }
    static constexpr unsigned kLookWork = 2;
    static constexpr unsigned kRemovalWork = 16;
    bool any_expiry() const;
    /// Whether expire_some() is wanted.
    bool expiry_is_on() const { return root().expiry_is_off == 0; }
    void set_expiry_on(bool on) { set_.write(&root().expiry_is_off, on ? 0 : 1); }
    /// Removes a key that is there, and says so in the oplog. False: no memory for that.
    bool evict(unsigned database, const FoundSlot& found);
    /// Puts what the configuration says into the live words in which it differs from what it said before.
    bool adopt_options(const Options& options);
    /// Brings the marks into line with the policy (M3 of common/marks.h), `limit` pages at most. True when there is more to do at once.
    bool tend_marks(unsigned limit);
    /// Whether that waits for readers or for memory: it is to be called again after a while.
    bool marks_wait() const { return !marks_tended_ || marks_tended_at_ != marks_.changes(); }
    /// Frees up to `limit` entries or extents; true when some are left.
    bool free_some(unsigned limit);
    /// Pages that are kept for reading and clearing when there is no memory any more.
    void set_reserve(uint64_t pages) { allocator_.set_reserve(pages); }
    /// Takes a page for the reserve; true when there may be more to take.
    bool fill_reserve_some();
    /// Gives up to `limit` free pages back to the system; true when there may be more. What may still be read waits.
    bool give_back_some(unsigned limit);
    /// Whether something waits for readers to end: give_back_some() is to be called again after a while.
    bool waits_for_readers() const { return allocator_.holes_wait() || allocator_.index_pages_wait(); }
    /// Free pages that are kept for the next allocations before memory goes back to the system.
    void set_free_pages_kept(uint64_t pages) { free_pages_kept_ = pages; }
    /// Who reads the store besides md; without this nobody does.
    void set_readers(Readers readers);

    const StoreMemory& memory() const { return memory_; }
    /// For who chooses what is to be evicted: the index, the bucket as it is, and what an item says.
    const Index& index() const { return index_; }
    st::Bucket read_bucket(uint64_t at) const { return set_.read_bucket(at); }
    int64_t expiry_of(uint64_t item) const { return items_.expiry_of(item); }
    std::string key_of(uint64_t item) const { return items_.key_of(item); }
    Marks& marks() { return marks_; }
    const Marks& marks() const { return marks_; }

    // --- checksums (T10 of common/store_layout.h) ---
    bool keeps_checksums() const { return root().checksums_kept != 0; }
    /// That of all databases together. REQUIRES: they are kept.
    uint64_t checksum() const;
    /// Says the checksum in the oplog, so that followers compare it with theirs at the same place. `walks`: they are to take theirs anew as well. Within an
    /// operation, after begin_record().
    void log_checksum(uint64_t checksum, bool walks) { oplog_.add_checksum(checksum, walks); }
    /// The checksums are kept no more: a commit of its own.
    void forget_checksums();
    /// Takes the checksums anew, in slices, from the beginning on. Another store, or another md, begins again.
    void begin_checksum_walk() { walk_.begin(); }
    void end_checksum_walk() { walk_ = {}; }
    const ChecksumWalk& checksum_walk() const { return walk_; }
    /// A slice; true when all keys are summed up. REQUIRES: a walk is under way, and no operation.
    bool walk_checksums(uint64_t until_us);
    /// From here on the checksums are kept, as the walk that has come to its end has found them: a commit of its own.
    void keep_checksums();
    /// Whether the walk that has come to its end has found what the checksums say.
    bool walk_agrees() const;

    /// Around loading data from disk into a fresh store. Numbers of commits go on behind `number`, the last one that the files know.
    void begin_loading() { memory_.store(memory_.offset_of(&root().loading), 1); }
    void end_loading(uint64_t number);
    /// commit() between the two, without a list: who dies meanwhile leaves a store that is thrown away (Root::loading).
    void commit_loading();
    /// Where memory ends that was ever taken into use.
    uint64_t frontier_bytes() const { return root().frontier << st::kPageShift; }
    /// Whether recovery found something to finish.
    bool recovered() const { return recovered_; }
    Oplog& oplog() { return oplog_; }

  private:
    static constexpr uint64_t kFreePagesKept = 64;
    static constexpr unsigned kWalkSegments = 64;
    static constexpr unsigned kWalkDepth = 28;  ///< bits of a hash in a position; no directory is deeper
    /// Pages that a new md looks through for what its predecessor was about to free.
    static constexpr unsigned kIndexPagesLookedAt = 4096;

    const st::Root& root() const { return memory_.root(); }
    std::optional<FoundSlot> find_slot(unsigned database, std::string_view key, st::KeyPlace place) const {
        return index_.find(database, place, [&](uint64_t item) { return items_.key_equals(item, key); });
    }
    bool end_marks();
    std::string read_history(const std::array<uint64_t, 5>& place) const;
    void write_history(const std::array<uint64_t, 5>& place, std::string_view history);
    bool is_record(uint64_t owner, uint64_t reference) const;
    void show(bool held);
    void erase_slot(unsigned database, const FoundSlot& found);
    Put put_found(unsigned database, std::string_view key, st::KeyPlace place, const Value& value, const std::optional<FoundSlot>& found);
    bool counts_checksums() const { return keeps_checksums() || walk_.active; }
    void count_change(unsigned database, uint64_t hash, uint64_t difference);
    uint64_t difference_of(std::string_view key, const std::optional<FoundSlot>& found, const Value& value) const;
    void drop_checksums();
    void begin_walk_part();
    bool read_long_values(uint64_t until_us);
    void log_put(unsigned database, std::string_view key, const Value& value, uint64_t item);
    void prefetch_expiring(uint64_t bucket_at) const;
    bool free_database_slice(uint64_t garbage, unsigned limit);
    bool free_record_slice(uint64_t garbage, unsigned limit);
    uint64_t build_record(const uint64_t& head, uint64_t owner, std::span<const ReplyPart> parts);
    void unlink_record(const uint64_t& head, uint64_t record);
    bool release_referred(uint64_t position);
    static constexpr unsigned kReleaseRecords = 16;

    StoreMemory memory_;
    Readers readers_;
    Marks marks_;
    WriteSet set_;
    Committer committer_;
    uint64_t stream_number_ = 0;  ///< of the operation under way; 0: its own
    bool pair_changed_ = false;   ///< by the operation under way
    bool recovered_;
    Allocator allocator_;
    Index index_;
    Items items_;
    Oplog oplog_;
    Window window_;
    ChecksumWalk walk_;
    // Where expire_some() goes on. Another md begins elsewhere, so that md dying often leaves no part of the index out.
    unsigned expire_database_ = 0;
    uint64_t expire_entry_;
    unsigned expire_bucket_ = 0;
    bool expire_pass_ended_ = false;
    uint64_t free_pages_kept_ = kFreePagesKept;
    // Where tend_marks() goes on: all pages once in the life of an md, and again when what is wanted has changed.
    uint64_t marks_page_ = 1;
    uint64_t marks_tended_at_ = 0;  ///< Marks::changes() then
    bool marks_tended_ = false;
    uint64_t marks_ended_by_ = 0;  ///< number of the commit that ended the last kind, or of a later one
};

}  // namespace millrace::md
