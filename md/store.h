// The store: 16 databases of string values with expiry, on md's own heap. Runs in md.
//
// This is the plain store: it ends with md. Handlers never see it; they state changes to a Plan (plan.h), and
// Plan::commit() is the only caller of put(), erase() and clear(), so the store can be replaced underneath.
// Nothing here takes long: an expired key is removed when it is met or in slices (expire_some), a cleared database is
// taken out of reach at once and freed in slices (free_some).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

#include "md/blob.h"

namespace millrace::md {

inline constexpr unsigned kDatabases = 16;
/// "No expiry", in place of milliseconds since the epoch.
inline constexpr int64_t kNoExpiry = -1;

/// A value as it was committed.
struct Value {
    Blob blob;
    uint32_t length = 0;
    int64_t expire_at_ms = kNoExpiry;

    std::string_view bytes() const { return {blob.data(), length}; }
};

class Store {
  public:
    /// `hash_seed` keys the hash, so that nobody can choose keys that collide.
    explicit Store(uint64_t hash_seed);

    /// The value of a key, expired or not; null if there is none. Valid until the next change.
    const Value* find(unsigned database, std::string_view key) const;
    void put(unsigned database, std::string_view key, Value value);
    /// False if there was no such key.
    bool erase(unsigned database, std::string_view key);
    void clear(unsigned database);

    uint64_t keys(unsigned database) const { return databases_[database].entries.size(); }
    uint64_t keys_with_expiry(unsigned database) const { return databases_[database].by_expiry.size(); }
    uint64_t memory_bytes() const { return memory_bytes_; }

    /// Removes keys whose time is over, at most `limit`; returns how many. Fewer than `limit`: none is left.
    unsigned expire_some(int64_t now_ms, unsigned limit);
    /// When the next key expires, or kNoExpiry.
    int64_t next_expiry_ms() const;
    /// Frees entries of cleared databases, at most `limit`; true when some are left.
    bool free_some(unsigned limit);

  private:
    struct Hash {
        using is_transparent = void;
        uint64_t seed;
        size_t operator()(std::string_view key) const;
    };
    struct Equal {
        using is_transparent = void;
        bool operator()(std::string_view a, std::string_view b) const { return a == b; }
    };
    using ByExpiry = std::multimap<int64_t, const std::string*>;
    struct Entry {
        Value value;
        ByExpiry::iterator expiry;  ///< only if value.expire_at_ms != kNoExpiry
    };
    using Entries = std::unordered_map<std::string, Entry, Hash, Equal>;
    struct Database {
        Entries entries;
        ByExpiry by_expiry;
    };

    static uint64_t entry_bytes(const std::string& key, const Entry& entry);
    void unlink(Database& database, Entries::iterator at);

    Hash hash_;
    std::array<Database, kDatabases> databases_;
    std::deque<Entries> garbage_;
    uint64_t memory_bytes_ = 0;
};

}  // namespace millrace::md
