// What a store holds, as users of it could tell: keys with values and expiries, the channels' cursors and their replies.
// Read from the memory by code that shares nothing with md's own, and computed a second time from the oplog's records.
// Used by tests/crash.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "md/store_memory.h"

namespace millrace::crash {

/// A value, its bytes as a hash.
struct Val {
    uint64_t length = 0, hash = 0;
    int64_t expire_at_ms = -1;
    bool operator==(const Val&) const = default;
};

struct ChannelContents {
    uint64_t generation = 0, request_head = 0, reply_tail = 0;
    std::vector<uint64_t> records;  ///< hash of each reply, values in extents included
    bool operator==(const ChannelContents&) const = default;
};

struct Contents {
    using Key = std::pair<unsigned, std::string>;  ///< database, key
    std::map<Key, Val> keys;
    std::map<unsigned, ChannelContents> channels;  ///< those that are not all zero
    bool operator==(const Contents&) const = default;
};

uint64_t hash_of(std::string_view bytes);

/// An item as it lies in the memory.
struct RawItem {
    std::string key;
    Val value;
    bool large = false;
};
/// Any word of the memory may be wrong; nothing if the item does not lie within chunks in use.
/// `large_too`: false leaves key and value of large items empty.
std::optional<RawItem> read_item(const md::StoreMemory& memory, uint64_t reference, bool large_too = true);

/// The segment that an entry of a directory names; 0 if it lies outside the memory.
uint64_t segment_at(const md::StoreMemory& memory, md::st::Route route, uint64_t entry);
/// The index segments that can be reached, each once.
std::vector<uint64_t> reachable_segments(const md::StoreMemory& memory);

/// REQUIRES: check_store() has found nothing.
Contents read_contents(const md::StoreMemory& memory);

/// A value with its bytes, as replaying needs it.
struct Replayed {
    std::shared_ptr<const std::string> bytes;
    Val value;
    Replayed() = default;
    Replayed(std::string of, int64_t expire_at_ms);
};
using ReplayedKeys = std::map<Contents::Key, Replayed>;

/// What replaying starts from. REQUIRES: check_store() has found nothing.
ReplayedKeys read_values(const md::StoreMemory& memory);

/// Applies the oplog's records from byte `tail` on to `keys`. Empty, or what is wrong with the records.
std::string replay(const md::StoreMemory& memory, uint64_t tail, ReplayedKeys& keys);

/// The same without the bytes.
std::map<Contents::Key, Val> without_bytes(const ReplayedKeys& keys);

/// The first difference as a sentence.
std::string difference(const Contents& expected, const Contents& found);

}  // namespace millrace::crash
