// See store.h. Runs in md.
#include "md/store.h"

#include <xxhash.h>

namespace millrace::md {

size_t Store::Hash::operator()(std::string_view key) const { return XXH3_64bits_withSeed(key.data(), key.size(), seed); }

Store::Store(uint64_t hash_seed) : hash_{hash_seed} {
    for (Database& database : databases_) database.entries = Entries(0, hash_);
}

uint64_t Store::entry_bytes(const std::string& key, const Entry& entry) {
    constexpr uint64_t kNodeBytes = sizeof(std::pair<const std::string, Entry>) + 2 * sizeof(void*);
    constexpr uint64_t kExpiryBytes = sizeof(std::pair<const int64_t, const std::string*>) + 4 * sizeof(void*);
    constexpr size_t kInsideString = 15;
    return kNodeBytes + (key.capacity() > kInsideString ? key.capacity() + 1 : 0) + entry.value.blob.heap_bytes() +
           (entry.value.expire_at_ms == kNoExpiry ? 0 : kExpiryBytes);
}

const Value* Store::find(unsigned database, std::string_view key) const {
    const Entries& entries = databases_[database].entries;
    const auto at = entries.find(key);
    return at == entries.end() ? nullptr : &at->second.value;
}

void Store::put(unsigned database, std::string_view key, Value value) {
    Database& target = databases_[database];
    auto at = target.entries.find(key);
    if (at == target.entries.end()) {
        at = target.entries.try_emplace(std::string(key)).first;
    } else {
        memory_bytes_ -= entry_bytes(at->first, at->second);
        if (at->second.value.expire_at_ms != kNoExpiry) target.by_expiry.erase(at->second.expiry);
    }
    at->second.value = std::move(value);
    if (at->second.value.expire_at_ms != kNoExpiry)
        at->second.expiry = target.by_expiry.emplace(at->second.value.expire_at_ms, &at->first);
    memory_bytes_ += entry_bytes(at->first, at->second);
}

void Store::unlink(Database& database, Entries::iterator at) {
    memory_bytes_ -= entry_bytes(at->first, at->second);
    if (at->second.value.expire_at_ms != kNoExpiry) database.by_expiry.erase(at->second.expiry);
    database.entries.erase(at);
}

bool Store::erase(unsigned database, std::string_view key) {
    Database& target = databases_[database];
    const auto at = target.entries.find(key);
    if (at == target.entries.end()) return false;
    unlink(target, at);
    return true;
}

void Store::clear(unsigned database) {
    Database& target = databases_[database];
    if (target.entries.empty()) return;
    target.by_expiry.clear();
    garbage_.push_back(std::move(target.entries));
    target.entries = Entries(0, hash_);
}

unsigned Store::expire_some(int64_t now_ms, unsigned limit) {
    unsigned removed = 0;
    for (Database& database : databases_) {
        while (removed < limit && !database.by_expiry.empty() && database.by_expiry.begin()->first <= now_ms) {
            unlink(database, database.entries.find(std::string_view(*database.by_expiry.begin()->second)));
            ++removed;
        }
    }
    return removed;
}

int64_t Store::next_expiry_ms() const {
    int64_t next = kNoExpiry;
    for (const Database& database : databases_)
        if (!database.by_expiry.empty() && (next == kNoExpiry || database.by_expiry.begin()->first < next))
            next = database.by_expiry.begin()->first;
    return next;
}

bool Store::free_some(unsigned limit) {
    for (; limit > 0 && !garbage_.empty(); --limit) {
        Entries& entries = garbage_.front();
        if (entries.empty()) {
            garbage_.pop_front();
            continue;
        }
        memory_bytes_ -= entry_bytes(entries.begin()->first, entries.begin()->second);
        entries.erase(entries.begin());
    }
    return !garbage_.empty();
}

}  // namespace millrace::md
