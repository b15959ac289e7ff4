// See plan.h. Runs in md.
#include "md/plan.h"

namespace millrace::md {

void Plan::begin(unsigned database, int64_t now_ms) {
    database_ = database;
    now_ms_ = now_ms;
    changes_.clear();
    if (!by_key_.empty()) by_key_.clear();
    cleared_ = false;
}

void Plan::add(Change change) {
    changes_.push_back(std::move(change));
    if (changes_.size() <= kLinearSearchMax) return;
    if (by_key_.empty())
        for (size_t i = cleared_; i < changes_.size(); ++i) by_key_[changes_[i].key] = i;
    else
        by_key_[changes_.back().key] = changes_.size() - 1;
}

const Plan::Change* Plan::latest_change(std::string_view key) {
    if (!by_key_.empty()) {
        const auto at = by_key_.find(key);
        return at == by_key_.end() ? nullptr : &changes_[at->second];
    }
    for (size_t i = changes_.size(); i-- > 0;)
        if (changes_[i].kind != ChangeKind::clear_all && changes_[i].key == key) return &changes_[i];
    return nullptr;
}

std::optional<Value> Plan::look_up(std::string_view key) {
    if (const Change* change = latest_change(key); change != nullptr) {  // P3
        if (change->kind != ChangeKind::put) return std::nullopt;
        return change->value;
    }
    const Value* value = cleared_ ? nullptr : store_.find(database_, key);
    if (value == nullptr) return std::nullopt;
    if (value->expire_at_ms != kNoExpiry && value->expire_at_ms <= now_ms_) {  // P4
        ++statistics_.expired;
        add({ChangeKind::erase, key, {}});
        return std::nullopt;
    }
    return *value;
}

std::optional<Value> Plan::read(std::string_view key) {
    std::optional<Value> value = look_up(key);
    ++(value ? statistics_.hits : statistics_.misses);
    return value;
}

std::optional<Value> Plan::find(std::string_view key) { return look_up(key); }

void Plan::set(std::string_view key, std::string_view bytes, int64_t expire_at_ms) {
    add({ChangeKind::put, key, {Blob::of(bytes), static_cast<uint32_t>(bytes.size()), expire_at_ms}});
}

void Plan::append(std::string_view key, const Value& value, std::string_view bytes) {
    const uint32_t length = value.length + static_cast<uint32_t>(bytes.size());
    Blob blob = value.blob;
    if (!blob.can_append(value.length, bytes.size())) {
        // Doubling keeps a series of appends linear in its total length.
        blob = Blob::with_capacity(static_cast<uint32_t>(std::min<uint64_t>(uint64_t{length} * 2, kValueBytesMax)));
        blob.append(0, value.bytes());
    }
    blob.append(value.length, bytes);
    add({ChangeKind::put, key, {std::move(blob), length, value.expire_at_ms}});
}

void Plan::erase(std::string_view key) { add({ChangeKind::erase, key, {}}); }

void Plan::clear_all() {
    changes_.clear();  // what was stated before would be cleared as well
    by_key_.clear();
    cleared_ = true;
    add({ChangeKind::clear_all, {}, {}});
}

void Plan::commit() {
    if (changes_.empty()) return;
    statistics_.databases_changed |= 1u << database_;
    for (Change& change : changes_) {
        switch (change.kind) {
            case ChangeKind::put: store_.put(database_, change.key, std::move(change.value)); break;
            case ChangeKind::erase: store_.erase(database_, change.key); break;
            case ChangeKind::clear_all:
                statistics_.databases_changed = ~0u;
                for (unsigned database = 0; database < kDatabases; ++database) store_.clear(database);
                break;
        }
    }
}

}  // namespace millrace::md
