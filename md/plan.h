// Plan: what a command handler works with. A handler reads through it, states its changes and writes its reply; it
// holds no pointer into the store and changes nothing itself. Runs in md.
//
// The order is always the same: plan (the handler runs), build (the changes become a write set, out of reach), commit (one
// step, together with the request's consumption and the reply; channel_server.h), publish (once a batch).
// Invariants:
//   P1  Nothing that another process or a later command can see changes before the commit.
//   P2  Changes are absolute: "this key now has these bytes", never "one more than before".
//   P3  A read inside a plan sees the plan's own earlier changes.
//   P4  A key whose time is over reads as absent, and its removal becomes one of the plan's changes; on a follower it does not, the master will tell.
// `now_ms` is read once a batch, after the batch's requests were taken from the ring.
#pragma once

#include <atomic>
#include <cstdint>
#include <forward_list>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/byte_range.h"
#include "common/commands.h"
#include "md/reply_writer.h"
#include "md/store.h"

namespace millrace::md {

/// A command's arguments without its name; views into the request.
using Arguments = std::span<const std::string_view>;

/// Counts of what plans did, for md's counters.
struct PlanStatistics {
    uint64_t hits = 0, misses = 0, expired = 0, changes = 0;
    uint32_t databases_changed = 0;  ///< a bit for each
};

class Plan {
  public:
    Plan(Store& store, ReplyWriter& reply, PlanStatistics& statistics)
        : store_(store), reply_(reply), statistics_(statistics), dice_(store.memory().root().number ^ store.memory().root().hash_seed) {}

    /// Starts a new operation; forgets the one before. `touches`: what it reads counts as used.
    void begin(unsigned database, int64_t now_ms, bool touches = true);

    // --- reading ---
    /// The value of a key as a reading command sees it (counted as hit or miss); empty if absent.
    std::optional<Value> read(std::string_view key);
    /// The same for a command that asks about the key and does not use it: eviction takes no notice.
    std::optional<Value> inspect(std::string_view key);
    /// The value of a key that the command is about to change; empty if absent. In the selected database or another one.
    std::optional<Value> find(std::string_view key) { return find_in(database_, key); }
    std::optional<Value> find_in(unsigned database, std::string_view key);
    unsigned database() const { return database_; }
    /// Bytes that a key takes, which inspect() found; of one that this plan puts, those of its key and value.
    uint64_t memory_of(std::string_view key, const Value& value);
    /// Where in the store a value's bytes begin; 0: it is one that this plan puts.
    uint64_t place_of(const Value& value) const { return value.large != 0 ? value.large : value.small == nullptr ? 0 : store_.memory().offset_of(value.small); }
    /// Bytes of a value that read() or find() gave, valid until the commit. REQUIRES: the range lies in the value.
    std::string_view part(const Value& value, ByteRange range);
    /// The mark of a key that inspect() found, and how it is to be read; empty while no marks are kept.
    std::optional<uint32_t> mark_of(std::string_view key) const { return store_.mark_of(database_, key, store_.place_of(key)); }
    const Marks& marks() const { return store_.marks(); }
    EvictionPolicy policy() const { return store_.policy(); }
    /// All bytes of a value, as part() gives them; none without a value.
    std::string_view bytes(const std::optional<Value>& value) { return value ? part(*value, {0, value->length()}) : std::string_view(); }
    /// The same bytes copied to `out`, and not kept.
    void copy(const Value& value, ByteRange range, char* out) const;
    /// Says that a long command gets on, so that the watchdog does not take it for a hang. For every millisecond or so of work.
    void tick() {
        if (progress_ != nullptr) progress_->fetch_add(1, std::memory_order_relaxed);
    }
    void set_progress(std::atomic<uint64_t>& word) { progress_ = &word; }
    /// Databases that there are.
    unsigned databases() const { return databases_; }
    void set_databases(unsigned count) { databases_ = count; }
    /// Keys in the selected database, as this plan leaves it.
    uint64_t key_count();
    /// From here on several commands make up the plan, each in a database of its own.
    void begin_transaction() { in_transaction_ = true; }
    void select(unsigned database) { database_ = database; }
    void set_touches(bool touches) { touches_ = touches; }
    bool in_transaction() const { return in_transaction_; }
    /// What a watched key has, before any change of this plan.
    uint64_t token_of(unsigned database, std::string_view key) const { return store_.token_of(database, key, store_.place_of(key), now_ms_); }
    /// As Store::walk_keys(), in the selected database; keys that this plan puts come last.
    uint64_t walk_keys(uint64_t position, uint64_t wanted, const Store::KeyVisitor& visit);
    uint64_t random_position() { return store_.random_position(dice_.next()); }
    uint64_t random(uint64_t below) { return dice_.next() % below; }
    /// What expiries are held against.
    int64_t now_ms() const { return now_ms_; }
    /// What times from now on are counted from: the same, but when the plan is what a master has done.
    int64_t clock_ms() const { return clock_ms_; }
    /// Whether what is written down of a value is compressed (rdbcompression), as Redis does it with DUMP too.
    bool compresses() const { return store_.live_number(OptionId::rdbcompression) != 0; }
    /// Values never grow beyond this (proto-max-bulk-len), bytes.
    uint64_t value_bytes_max() const {
        const int64_t live = store_.live_number(OptionId::proto_max_bulk_len);
        return live == 0 ? kValueBytesMax : static_cast<uint64_t>(live);
    }
    static constexpr uint64_t kValueBytesMax = 512ull * 1024 * 1024;

    // --- changes; keys and bytes have to stay valid until the commit, as the arguments do ---
    /// The key has these bytes and this expiry (kNoExpiry: none).
    void set(std::string_view key, std::string_view bytes, int64_t expire_at_ms) { set_in(database_, key, bytes, expire_at_ms); }
    void set_in(unsigned database, std::string_view key, std::string_view bytes, int64_t expire_at_ms);
    /// The key has the bytes that find() or read() gave, and this expiry.
    void set_expiry(std::string_view key, const Value& value, int64_t expire_at_ms);
    /// The key has the bytes of `value` and these behind them; its expiry stays.
    void append(std::string_view key, const Value& value, std::string_view bytes);
    /// Whether patch() may replace these bytes of a value that find() gave: it is a large one, and they are few and inside of it. Not in a
    /// transaction, of which an earlier reply may refer to them.
    bool can_patch(const Value& value, uint64_t offset, uint64_t count) const {
        return !in_transaction_ && value.large != 0 && value.rest.empty() && value.patch.empty() && count <= Items::kPatchBytesMax && offset + count <= value.stored_length;
    }
    /// The key has the bytes of `value` but for these at `offset`; its expiry stays. REQUIRES: can_patch().
    void patch(std::string_view key, const Value& value, uint64_t offset, std::string_view bytes);
    /// The key that the last change puts gets this mark instead of that of a fresh one.
    void set_mark(uint32_t mark) { changes_.back().mark = mark; }
    /// The same bytes, kept until the commit.
    std::string_view keep(std::string_view bytes) {
        copied_bytes_ += bytes.size();
        return copied_.emplace_front(bytes);
    }
    /// Whether a transaction has made so many copies of values that it is not built: many changes of the same large value make one each.
    bool exhausted() const { return in_transaction_ && copied_bytes_ > kCopiedBytesMax; }
    static constexpr uint64_t kCopiedBytesMax = 1ull << 30;
    void erase(std::string_view key);
    /// The changes may be left out if there is no memory for them: the reply is right without them. Of no effect in a transaction.
    void allow_leaving_out() { may_leave_out_ = !in_transaction_; }
    /// The selected database is empty, or all are. False in a transaction, which states it key by key, for more than kKeysClearedMax keys.
    bool clear();
    bool clear_all();
    static constexpr uint64_t kKeysClearedMax = 100'000;
    /// Each of two databases has what the other had. Not together with changes of keys.
    void swap_databases(unsigned one, unsigned other);
    /// A live option has this value, or this text. Not together with changes of keys.
    void set_option(OptionId id, int64_t value) { options_.push_back({id, value, {}}); }
    void set_option(OptionId id, std::string_view text) { options_.push_back({id, 0, std::string(text)}); }
    /// All processes forget their statistics. Not together with changes of keys.
    void reset_statistics() { resets_statistics_ = true; }
    /// Commands wait, as CLIENT PAUSE says. Not together with changes of keys.
    void set_pause(st::PauseWord pause) { pause_ = pause; }
    st::PauseWord pause() const { return pause_.value_or(st::PauseWord::from(store_.memory().root().pause)); }

    // --- replication ---
    bool is_following() const { return follows_; }
    uint64_t stream_number() const { return store_.stream_number(); }
    uint64_t stream_database() const { return store_.stream_database(); }
    /// The plan's changes are what the master has done up to this stream number. No key's time is over then: the master says when it is.
    void set_stream_number(uint64_t number) {
        stream_number_ = number;
        stream_database_ = store_.stream_database();
        now_ms_ = 0;
    }
    void set_stream_database(uint64_t database) { stream_database_ = database; }
    /// The server follows this one ("host port") from now on, or nobody: then its data goes its own way, by this name. Not together with changes of keys.
    void follow(std::string_view master) { set_option(OptionId::replicaof, master); }
    void begin_history(std::string history) { history_ = std::move(history); }
    /// The data has this name already, and had the second one up to `second_end`.
    void adopt_history(std::string history, std::string second, uint64_t second_end) { adopted_ = {std::move(history), std::move(second), second_end}; }
    std::string master() const { return store_.live_text(OptionId::replicaof); }
    /// The checksum of all data as it is before this operation; empty if none is kept.
    std::optional<uint64_t> checksum() const { return store_.keeps_checksums() ? std::optional(store_.checksum()) : std::nullopt; }
    /// What the master says of the checksum of its data at this place of its records.
    struct MasterChecksum {
        uint64_t checksum;
        bool anew;          ///< it is to be taken anew from the data, here too
        bool same = false;  ///< it was compared with this server's
    };
    /// The record of the operation says it to those who follow this server. Not together with changes.
    void log_checksum(const MasterChecksum& said) { logged_checksum_ = said; }
    const std::optional<MasterChecksum>& logged_checksum() const { return logged_checksum_; }
    /// The command does nothing after all.
    void give_up() { begin(database_, now_ms_, touches_); }
    bool is_read_only() const { return store_.live_number(OptionId::replica_read_only) != 0; }
    /// After the commit md lets go of all data and loads what lies ready on disk (loader.h).
    void reload() { reloads_ = true; }
    bool reloads() const { return reloads_; }

    /// Whether this server is half of a strict pair.
    bool is_strict() const { return store_.pair().role != PairRole::none; }
    bool pair_is_fresh() const { return store_.pair_is_fresh(); }
    bool takes_window(uint64_t link) const { return store_.pair().takes_windows(link); }
    /// The step of the pair's state machine that the event makes becomes part of the plan. Not together with changes of keys.
    PairStep step_pair(const PairEvent& event);
    const std::optional<PairStep>& pair_step() const { return pair_; }
    const PairRecord& pair_before() const { return pair_before_; }
    /// Whether something was read that is not confirmed, and may never be: the reply is not to be given (R12).
    bool read_unconfirmed() const { return read_unconfirmed_; }

    /// Whether keys whose time is over are looked for. Not together with changes of keys.
    void set_expiry_on(bool on) { expiry_on_ = on; }

    ReplyWriter& reply() { return reply_; }

    /// Is told of each command of a transaction when it has been executed.
    using Observer = std::function<void(const CommandRow&, Arguments, bool failed)>;
    void set_observer(Observer observer) { observer_ = std::move(observer); }
    void observe(const CommandRow& row, Arguments arguments, bool failed) const {
        if (observer_) observer_(row, arguments, failed);
    }

    /// Turns the changes into the store's write set; the caller commits or abandons it. False: there was no memory, and
    /// the store is as before.
    bool build();
    /// Whether the operation changes nothing.
    bool changes_nothing() const { return changes_.empty() && options_.empty() && !pause_ && !resets_statistics_ && !expiry_on_ && stream_number_ == 0 && !adopted_ && !logged_checksum_ && !pair_; }

  private:
    enum class ChangeKind : uint8_t { put, erase, clear, swap };
    enum class Use : bool { no, yes };
    struct Change {
        ChangeKind kind;
        unsigned database;
        std::string_view key;
        st::KeyPlace place;
        Value value;
        std::optional<uint32_t> mark = {};
        unsigned other = 0;  ///< of a swap, the second database
    };
    struct KeyName {
        unsigned database;
        std::string_view key;
        bool operator==(const KeyName&) const = default;
    };
    struct KeyNameHash {
        size_t operator()(const KeyName& name) const { return std::hash<std::string_view>()(name.key) + name.database; }
    };
    /// Plans with more changes than this are searched by hash.
    static constexpr size_t kLinearSearchMax = 16;
    /// Plans with more changes than this make room for all keys before they are built.
    static constexpr size_t kRoomAheadMin = 16;
    /// Splits that one operation may cause while it is built, beyond those made for it before.
    static constexpr unsigned kSplitsMax = 1000;

    void add(Change change);
    const Change* latest_change(unsigned database, std::string_view key);
    std::optional<Value> look_up(unsigned database, std::string_view key, Use use);
    bool is_superseded(const Change& change);
    bool erase_all(unsigned database);
    bool make_room();
    bool build_changes();
    Store::Put build_once(const Change*& full);
    Store::Put build_change(const Change& change);

    Store& store_;
    ReplyWriter& reply_;
    PlanStatistics& statistics_;
    unsigned database_ = 0;
    int64_t now_ms_ = 0, clock_ms_ = 0;
    MarkDice dice_;
    std::atomic<uint64_t>* progress_ = nullptr;
    unsigned databases_ = kDatabases;
    bool touches_ = true;
    bool resets_statistics_ = false;
    bool follows_ = false;       ///< it follows another server, or takes no writes: P4 then only says that the key reads as absent
    bool reloads_ = false;
    uint64_t stream_number_ = 0;  ///< 0: what the plan does is this server's own doing
    uint64_t stream_database_ = 0;
    std::string history_;
    struct AdoptedHistory {
        std::string history, second;
        uint64_t second_end;
    };
    std::optional<AdoptedHistory> adopted_;
    std::optional<MasterChecksum> logged_checksum_;
    Observer observer_;
    bool in_transaction_ = false;
    bool may_leave_out_ = false;
    uint32_t erased_ = 0;        ///< databases of which a transaction has stated that no key is left, a bit for each
    uint64_t copied_bytes_ = 0;
    uint32_t cleared_ = 0;  ///< databases that the first changes clear, a bit for each
    std::vector<Change> changes_;
    std::optional<st::PauseWord> pause_;
    struct OptionChange {
        OptionId id;
        int64_t number;
        std::string text;
    };
    std::vector<OptionChange> options_;
    std::optional<bool> expiry_on_;
    std::optional<PairStep> pair_;
    PairRecord pair_before_;
    std::optional<Window::MissingSlot> pair_missing_;  ///< what the last try of its undo lacked
    bool read_unconfirmed_ = false;
    bool unresolved_ = false;  ///< what is open may be undone, and nobody knows when that is decided
    std::vector<st::KeyPlace> places_;
    std::unordered_map<KeyName, size_t, KeyNameHash> by_key_;  ///< latest change of a key, once there are many
    std::forward_list<std::string> copied_;                ///< bytes that the handler does not keep
};

}  // namespace millrace::md
