// See plan.h. Runs in md.
#include "md/plan.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace millrace::md {

void Plan::begin(unsigned database, int64_t now_ms, bool touches) {
    database_ = database;
    touches_ = touches;
    now_ms_ = clock_ms_ = now_ms;
    changes_.clear();
    options_.clear();
    pause_.reset();
    resets_statistics_ = false;
    expiry_on_.reset();
    follows_ = store_.is_passive();
    unresolved_ = store_.window().is_unresolved();
    read_unconfirmed_ = false;
    pair_.reset();
    reloads_ = false;
    stream_number_ = 0;
    history_.clear();
    adopted_.reset();
    logged_checksum_.reset();
    if (!by_key_.empty()) by_key_.clear();
    if (!copied_.empty()) copied_.clear();
    cleared_ = 0;
    in_transaction_ = false;
    may_leave_out_ = false;
    erased_ = 0;
    copied_bytes_ = 0;
}

void Plan::add(Change change) {
    changes_.push_back(change);
    if (changes_.size() <= kLinearSearchMax) return;
    if (by_key_.empty()) {
        for (size_t i = 0; i < changes_.size(); ++i)
            if (changes_[i].kind == ChangeKind::put || changes_[i].kind == ChangeKind::erase) by_key_[{changes_[i].database, changes_[i].key}] = i;
    } else {
        by_key_[{change.database, change.key}] = changes_.size() - 1;
    }
}

const Plan::Change* Plan::latest_change(unsigned database, std::string_view key) {
    if (!by_key_.empty()) {
        const auto at = by_key_.find({database, key});
        return at == by_key_.end() ? nullptr : &changes_[at->second];
    }
    for (size_t i = changes_.size(); i-- > 0;)
        if ((changes_[i].kind == ChangeKind::put || changes_[i].kind == ChangeKind::erase) && changes_[i].database == database && changes_[i].key == key) return &changes_[i];
    return nullptr;
}

PairStep Plan::step_pair(const PairEvent& event) {
    pair_before_ = store_.pair();
    const PairStep made = store_.pair_step(event);
    if (made.next != pair_before_ || made.confirm || made.undo) pair_ = made;
    return made;
}

std::optional<Value> Plan::look_up(unsigned database, std::string_view key, Use use) {
    if (unresolved_ && store_.window().has_open(database, key, store_.place_of(key).hash)) read_unconfirmed_ = true;
    if (const Change* change = latest_change(database, key); change != nullptr) {  // P3
        if (change->kind != ChangeKind::put) return std::nullopt;
        if (const Value value = change->value; value.expire_at_ms == kNoExpiry || value.expire_at_ms > now_ms_) return value;
        if (!follows_) add({ChangeKind::erase, database, key, change->place, {}});  // P4: one that a command before it has set into the past
        return std::nullopt;
    }
    if ((cleared_ >> database & 1) != 0) return std::nullopt;
    const st::KeyPlace place = store_.place_of(key);
    std::optional<Value> value = use == Use::yes ? store_.find_and_use(database, key, place) : store_.find(database, key, place);
    if (value && value->expire_at_ms != kNoExpiry && value->expire_at_ms <= now_ms_) {  // P4
        if (follows_) return std::nullopt;
        ++statistics_.expired;
        add({ChangeKind::erase, database, key, place, {}});
        return std::nullopt;
    }
    return value;
}

std::optional<Value> Plan::read(std::string_view key) {
    std::optional<Value> value = look_up(database_, key, touches_ ? Use::yes : Use::no);
    ++(value ? statistics_.hits : statistics_.misses);
    return value;
}

std::optional<Value> Plan::inspect(std::string_view key) {
    std::optional<Value> value = look_up(database_, key, Use::no);
    ++(value ? statistics_.hits : statistics_.misses);
    return value;
}

// What is put counts as used when it is put.
std::optional<Value> Plan::find_in(unsigned database, std::string_view key) { return look_up(database, key, Use::no); }

uint64_t Plan::memory_of(std::string_view key, const Value& value) {
    const bool is_fresh = !changes_.empty() && latest_change(database_, key) != nullptr;
    const auto bytes = is_fresh ? std::nullopt : store_.memory_of(database_, key, store_.place_of(key));
    return bytes.value_or(sizeof(st::ItemHeader) + key.size() + value.length());
}

std::string_view Plan::part(const Value& value, ByteRange range) {
    if (range.from >= value.stored_length) return value.rest.substr(range.from - value.stored_length, range.count);
    copied_bytes_ += range.count;
    std::string& bytes = copied_.emplace_front(range.count, '\0');
    copy(value, range, bytes.data());
    return bytes;
}

void Plan::copy(const Value& value, ByteRange range, char* out) const { store_.copy_value(value, range.from, range.count, out); }

void Plan::set_in(unsigned database, std::string_view key, std::string_view bytes, int64_t expire_at_ms) {
    add({ChangeKind::put, database, key, store_.place_of(key), Value::of(bytes, expire_at_ms)});
}

void Plan::set_expiry(std::string_view key, const Value& value, int64_t expire_at_ms) {
    Value same = value;
    same.expire_at_ms = expire_at_ms;
    add({ChangeKind::put, database_, key, store_.place_of(key), same});
}

void Plan::append(std::string_view key, const Value& value, std::string_view bytes) {
    Value longer = value;
    if (longer.rest.empty() && longer.patch.empty()) {
        longer.rest = bytes;
    } else {  // a value of this very plan: its bytes are put together
        copied_bytes_ += value.rest.size() + bytes.size();
        std::string& together = copied_.emplace_front(value.rest);
        longer.rest = together.append(bytes);
    }
    add({ChangeKind::put, database_, key, store_.place_of(key), longer});
}

void Plan::patch(std::string_view key, const Value& value, uint64_t offset, std::string_view bytes) {
    Value patched = value;
    patched.patch = bytes;
    patched.patch_at = offset;
    add({ChangeKind::put, database_, key, store_.place_of(key), patched});
}

void Plan::erase(std::string_view key) { add({ChangeKind::erase, database_, key, store_.place_of(key), {}}); }

bool Plan::clear() {
    if (in_transaction_) return erase_all(database_);
    // What was stated before of this database would be cleared as well.
    std::erase_if(changes_, [this](const Change& change) { return change.database == database_; });
    by_key_.clear();
    cleared_ |= 1u << database_;
    add({ChangeKind::clear, database_, {}, {}, {}});
    return true;
}

bool Plan::clear_all() {
    if (in_transaction_) {
        for (unsigned database = 0; database < kDatabases; ++database)
            if (!erase_all(database)) return false;
        return true;
    }
    changes_.clear();
    by_key_.clear();
    cleared_ = ~0u;
    for (unsigned database = 0; database < kDatabases; ++database) add({ChangeKind::clear, database, {}, {}, {}});
    return true;
}

/// States for each key of a database that it is no more: what other commands of the transaction put comes after it.
bool Plan::erase_all(unsigned database) {
    if (store_.keys(database) > kKeysClearedMax) return false;
    if ((erased_ >> database & 1) != 0) {  // what the store has is stated already
        for (size_t i = 0, count = changes_.size(); i < count; ++i)
            if (changes_[i].kind == ChangeKind::put && changes_[i].database == database && !is_superseded(changes_[i]))
                add({ChangeKind::erase, database, changes_[i].key, changes_[i].place, {}});
        return true;
    }
    erased_ |= 1u << database;
    const unsigned selected = std::exchange(database_, database);
    std::vector<std::string> keys;
    for (uint64_t position = 0;;) {
        position = walk_keys(position, ~uint64_t{0}, [&](std::string key, const Value&) { keys.push_back(std::move(key)); });
        if (position == 0) break;
    }
    for (std::string& key : keys) erase(copied_.emplace_front(std::move(key)));
    database_ = selected;
    return true;
}

uint64_t Plan::key_count() {
    read_unconfirmed_ |= unresolved_;
    uint64_t count = (cleared_ >> database_ & 1) != 0 ? 0 : store_.keys(database_);
    for (const Change& change : changes_) {
        if (change.database != database_ || (change.kind != ChangeKind::put && change.kind != ChangeKind::erase) || is_superseded(change)) continue;
        const bool before = (cleared_ >> database_ & 1) == 0 && store_.find(database_, change.key, change.place).has_value();
        count += uint64_t{change.kind == ChangeKind::put} - uint64_t{before};
    }
    return count;
}

uint64_t Plan::walk_keys(uint64_t position, uint64_t wanted, const Store::KeyVisitor& visit) {
    read_unconfirmed_ |= unresolved_;
    position = store_.walk_keys(database_, position, wanted, [&](std::string key, const Value& value) {
        if (changes_.empty() || latest_change(database_, key) == nullptr) visit(std::move(key), value);
    });
    if (position != 0) return position;
    for (size_t i = 0; i < changes_.size(); ++i)  // by index: the visitor may look something up
        if (changes_[i].kind == ChangeKind::put && changes_[i].database == database_ && !is_superseded(changes_[i]))
            visit(std::string(changes_[i].key), changes_[i].value);
    return 0;
}

/// Whether a later change says what the key has in the end.
bool Plan::is_superseded(const Change& change) {
    return (change.kind == ChangeKind::put || change.kind == ChangeKind::erase) && latest_change(change.database, change.key) != &change;
}

void Plan::swap_databases(unsigned one, unsigned other) { add({ChangeKind::swap, one, {}, {}, {}, {}, other}); }

bool Plan::make_room() {
    for (unsigned database = 0; database < kDatabases; ++database) {
        places_.clear();
        for (const Change& change : changes_)
            if (change.kind == ChangeKind::put && change.database == database) places_.push_back(change.place);
        if (!places_.empty() && !store_.make_room(database, places_)) return false;
    }
    return true;
}

Store::Put Plan::build_change(const Change& change) {
    statistics_.databases_changed |= 1u << change.database;
    switch (change.kind) {
        case ChangeKind::put: {
            const Store::Put outcome = store_.put(change.database, change.key, change.place, change.value);
            if (outcome == Store::Put::done && change.mark) store_.set_mark(change.database, change.key, change.place, *change.mark);
            return outcome;
        }
        case ChangeKind::erase: store_.erase(change.database, change.key, change.place); break;
        case ChangeKind::swap:
            statistics_.databases_changed |= 1u << change.other;
            store_.swap_databases(change.database, change.other);
            break;
        case ChangeKind::clear:
            if (!store_.clear(change.database)) return Store::Put::no_memory;
            break;
    }
    return Store::Put::done;
}

Store::Put Plan::build_once(const Change*& full) {
    for (const OptionChange& option : options_) {
        if (live_text_index(option.id)) store_.set_live(option.id, option.text);
        else store_.set_live(option.id, option.number);
    }
    if (pause_) store_.set_pause(*pause_);
    if (resets_statistics_) store_.count_statistics_reset();
    if (expiry_on_) store_.set_expiry_on(*expiry_on_);
    if (!history_.empty()) store_.begin_history(history_);
    if (adopted_) store_.adopt_history(adopted_->history, adopted_->second, adopted_->second_end, store_.stream_number(), store_.stream_database());
    if (stream_number_ != 0) store_.set_stream_number(stream_number_, stream_database_);
    if (pair_) {
        const Store::Put outcome = store_.change_pair(*pair_, pair_missing_);
        if (outcome != Store::Put::done) store_.abandon();
        return outcome;
    }
    store_.begin_record();
    if (logged_checksum_) store_.log_checksum(logged_checksum_->checksum, logged_checksum_->anew);
    for (const Change& change : changes_) {
        if (in_transaction_ && is_superseded(change)) continue;
        const Store::Put outcome = build_change(change);
        if (outcome == Store::Put::done) continue;
        full = &change;
        store_.abandon();
        return outcome;
    }
    if (!store_.end_record()) return store_.abandon(), Store::Put::no_memory;
    statistics_.changes += changes_.size();
    return Store::Put::done;
}

bool Plan::build() {
    if (exhausted()) return false;
    if (build_changes()) return true;
    if (!may_leave_out_) return false;
    changes_.clear();
    return build_changes();
}

bool Plan::build_changes() {
    if (changes_nothing()) return true;
    // Few keys get their room when one is found to be missing, and after a clear it is made while building.
    if (cleared_ == 0 && changes_.size() > kRoomAheadMin && !make_room()) return false;
    for (unsigned splits = 0; splits < kSplitsMax; ++splits) {
        const Change* full = nullptr;
        const Store::Put outcome = build_once(full);
        if (outcome == Store::Put::done) return true;
        if (outcome == Store::Put::no_memory) return false;
        const Window::MissingSlot slot = full != nullptr ? Window::MissingSlot{full->database, full->place} : *pair_missing_;
        if (!store_.split(slot.database, slot.place)) return false;
    }
    return false;
}

}  // namespace millrace::md
