// See contents.h. Used by tests/crash.
#include "tests/crash/contents.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "common/effects.h"
#include "common/oplog_ring.h"

namespace millrace::crash {

using md::StoreMemory;
namespace st = md::st;

Replayed::Replayed(std::string of, int64_t expire_at_ms)
    : bytes(std::make_shared<const std::string>(std::move(of))), value{bytes->size(), hash_of(*bytes), expire_at_ms} {}

uint64_t hash_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

namespace {

st::PageState page_state(const StoreMemory& memory, uint64_t reference) {
    const uint64_t page = reference >> st::kPageShift;
    if (page < 2 || page >= memory.pages()) return {};
    return st::PageState::from(memory.load(st::descriptor_at(page)));
}

/// Bytes from the reference to the end of its chunk or page; 0 if it lies in none.
uint64_t room_at(const StoreMemory& memory, uint64_t reference) {
    const st::PageState state = page_state(memory, reference);
    const uint64_t within = reference % st::kPageBytes;
    if (reference % 8 != 0) return 0;
    if (state.kind == st::PageKind::whole) return st::kPageBytes - within;
    if (state.kind != st::PageKind::slab || state.size_class >= st::kClasses) return 0;
    const uint64_t bytes = st::class_bytes(state.size_class), start = within / bytes * bytes;
    return start + bytes > st::kPageBytes ? 0 : start + bytes - within;
}

/// The bytes of a large item, key and value.
std::optional<std::string> large_bytes(const StoreMemory& memory, uint64_t reference, uint64_t length) {
    const auto& item = *memory.as<st::LargeItem>(reference);
    const uint64_t pages = item.page_count;
    if (length > memory.bytes() || pages > memory.pages() || room_at(memory, reference) < sizeof item + pages * 4) return std::nullopt;
    if (length / st::kPageBytes != pages) return std::nullopt;
    std::string bytes;
    bytes.reserve(length);
    for (uint64_t i = 0; i < pages; ++i) {
        const uint64_t page = uint64_t{memory.as<uint32_t>(reference + sizeof item)[i]} << st::kPageShift;
        if (page_state(memory, page).kind != st::PageKind::whole) return std::nullopt;
        bytes.append(memory.as<char>(page), st::kPageBytes);
    }
    const uint64_t rest = length - bytes.size();
    if (rest == 0) return bytes;
    if (item.tail >= memory.bytes() || room_at(memory, item.tail) < rest) return std::nullopt;
    return bytes.append(memory.as<char>(item.tail), rest);
}

std::optional<RawItem> read_large(const StoreMemory& memory, uint64_t reference, bool expires) {
    if (room_at(memory, reference) < sizeof(st::LargeItem)) return std::nullopt;
    const auto& item = *memory.as<st::LargeItem>(reference);
    if (item.key_length > memory.bytes() || item.value_length > memory.bytes()) return std::nullopt;
    const auto bytes = large_bytes(memory, reference, item.key_length + item.value_length);
    if (!bytes) return std::nullopt;
    const std::string_view value = std::string_view(*bytes).substr(item.key_length);
    return RawItem{bytes->substr(0, item.key_length), {value.size(), hash_of(value), expires ? item.expire_at_ms : -1}, true};
}

}  // namespace

std::optional<RawItem> read_item(const StoreMemory& memory, uint64_t reference, bool large_too) {
    const uint64_t room = room_at(memory, reference);
    if (room < sizeof(st::ItemHeader)) return std::nullopt;
    const auto header = st::ItemHeader::from(memory.load(reference));
    const bool expires = (header.flags & st::kHasExpiry) != 0;
    if ((header.flags & st::kLarge) != 0) return large_too ? read_large(memory, reference, expires) : RawItem{{}, {}, true};
    const uint64_t start = sizeof header + (expires ? 8 : 0);
    if (start + header.key_length + header.value_length > room) return std::nullopt;
    RawItem item;
    if (expires) std::memcpy(&item.value.expire_at_ms, memory.at(reference + sizeof header), 8);
    item.key.assign(memory.as<char>(reference + start), header.key_length);
    const std::string_view value(memory.as<char>(reference + start + header.key_length), header.value_length);
    item.value.length = value.size();
    item.value.hash = hash_of(value);
    return item;
}

uint64_t segment_at(const StoreMemory& memory, st::Route route, uint64_t entry) {
    const auto load = [&](uint64_t at) {
        return at + sizeof(uint32_t) > memory.bytes() ? 0 : __atomic_load_n(memory.as<uint32_t>(at), __ATOMIC_RELAXED);
    };
    uint64_t at = route.directory + entry * sizeof(uint32_t);
    if (route.depth > st::kDirectoryChunkDepthMax) {
        const unsigned table_depth = route.depth - st::kDirectoryChunkDepthMax;
        const auto page = st::DirectoryPage::from(load(route.directory + (entry >> st::kDirectoryChunkDepthMax) * sizeof(uint32_t)));
        if (page.page == 0 || page.prefix > table_depth) return 0;
        const uint64_t within = (entry >> (table_depth - page.prefix)) % (1u << st::kDirectoryChunkDepthMax);
        at = (page.page << st::kPageShift) + within * sizeof(uint32_t);
    }
    const uint64_t segment = uint64_t{load(at)} * st::kIndexSegmentBytes;
    return segment + st::kIndexSegmentBytes > memory.bytes() ? 0 : segment;
}

std::vector<uint64_t> reachable_segments(const StoreMemory& memory) {
    std::vector<uint64_t> segments;
    for (const st::DatabaseWords& words : memory.root().databases) {
        const st::Route route = st::Route::from(words.route);
        if (route.directory == 0) continue;
        for (uint64_t entry = 0; entry < 1ull << route.depth; ++entry) {
            const uint64_t segment = segment_at(memory, route, entry);
            if (segment != 0 && (segments.empty() || segments.back() != segment)) segments.push_back(segment);
        }
    }
    return segments;
}

namespace {

/// Visits (database, reference) of every item.
template <class Visit>
void for_each_item(const StoreMemory& memory, const Visit& visit) {
    for (unsigned database = 0; database < st::kDatabases; ++database) {
        const st::Route route = st::Route::from(memory.root().databases[database].route);
        if (route.directory == 0) continue;
        uint64_t last = 0;
        for (uint64_t entry = 0; entry < 1ull << route.depth; ++entry) {
            const uint64_t segment = segment_at(memory, route, entry);
            if (std::exchange(last, segment) == segment) continue;
            for (unsigned bucket = 0; bucket < st::kBuckets; ++bucket)
                for (unsigned slot = 0; slot < st::kSlots; ++slot) {
                    const auto found = st::Slot::from(memory.as<st::Bucket>(segment + bucket * st::kBucketBytes)->slot_bits(slot));
                    if (found.reference != 0) visit(database, found.reference);
                }
        }
    }
}

/// Hash of a reply's bytes, in order.
uint64_t read_record(const StoreMemory& memory, uint64_t record) {
    std::string bytes;
    for (uint64_t chunk = memory.as<st::ReplyRecord>(record)->first_chunk; chunk != 0;) {
        const auto& body = *memory.as<st::ReplyChunk>(chunk);
        bytes.append(memory.as<char>(chunk + sizeof body), std::min(body.bytes, room_at(memory, chunk)));
        if (body.item != 0) {
            const auto item = read_item(memory, body.item);
            bytes += item ? fmt::format("{} {} {}", item->value.length, item->value.hash, body.item_length) : "(unreadable)";
        }
        chunk = body.next_chunk;
    }
    return hash_of(bytes);
}

}  // namespace

Contents read_contents(const StoreMemory& memory) {
    Contents contents;
    for_each_item(memory, [&](unsigned database, uint64_t reference) {
        auto item = read_item(memory, reference);
        if (!item) item = RawItem{fmt::format("(unreadable item at {})", reference), {}, false};
        contents.keys[{database, item->key}] = item->value;
    });
    for (unsigned channel = 0; channel < kMaxIoConns; ++channel) {
        const st::ChannelWords& words = memory.root().channels[channel];
        ChannelContents found{words.generation, words.request_head, words.reply_tail, {}};
        for (uint64_t at = words.records; at != 0; at = memory.as<st::ReplyRecord>(at)->next_record)
            found.records.push_back(read_record(memory, at));
        if (found != ChannelContents{}) contents.channels[channel] = found;
    }
    return contents;
}

// --- the oplog --------------------------------------------------------------------------------------------------------

namespace {

/// Bytes [at, at + length) of the ring.
std::string ring_bytes(const StoreMemory& memory, uint64_t at, uint64_t length) {
    const uint64_t capacity = memory.root().oplog_bytes;
    std::string bytes(length, '\0');
    const uint64_t within = at & (capacity - 1), piece = std::min(length, capacity - within);
    std::memcpy(bytes.data(), memory.at(st::kOplogAt + within), piece);
    std::memcpy(bytes.data() + piece, memory.at(st::kOplogAt), length - piece);
    return bytes;
}

template <class T>
T take(std::string_view& bytes) {
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    bytes.remove_prefix(sizeof value);
    return value;
}

/// The effects of a record by reference: the chain's bytes with the values that it refers to. Nothing if it does not lie in chunks in use.
std::optional<std::string> referred_bytes(const StoreMemory& memory, const OplogReference& reference) {
    if (room_at(memory, reference.record) < sizeof(st::ReplyRecord)) return std::nullopt;
    std::string bytes;
    for (uint64_t chunk = memory.as<st::ReplyRecord>(reference.record)->first_chunk; chunk != 0;) {
        if (room_at(memory, chunk) < sizeof(st::ReplyChunk)) return std::nullopt;
        const auto& body = *memory.as<st::ReplyChunk>(chunk);
        if (body.bytes > room_at(memory, chunk) - sizeof body) return std::nullopt;
        bytes.append(memory.as<char>(chunk + sizeof body), body.bytes);
        if (body.item != 0) {
            const auto& item = *memory.as<st::LargeItem>(body.item);
            const auto content = large_bytes(memory, body.item, item.key_length + item.value_length);
            if (!content || item.value_length < body.item_length) return std::nullopt;
            bytes += content->substr(item.key_length, body.item_length);
        }
        chunk = body.next_chunk;
    }
    return bytes.size() == reference.bytes ? std::optional(bytes) : std::nullopt;
}

std::string apply_effect(const Effect& effect, ReplayedKeys& keys) {
    const EffectHeader& header = effect.header;
    const Contents::Key key{header.database, std::string(effect.key)};
    switch (header.kind) {
        case EffectKind::set: keys[key] = Replayed(std::string(effect.value), header.expire_at_ms); break;
        case EffectKind::erase:
            if (keys.erase(key) == 0) return "a key is erased that is not there: " + key.second;
            break;
        case EffectKind::origin:
        case EffectKind::checksum: break;
        case EffectKind::clear_database: std::erase_if(keys, [&](const auto& each) { return each.first.first == header.database; }); break;
        case EffectKind::swap_databases: {
            ReplayedKeys swapped;
            for (const auto& [name, each] : keys) {
                const unsigned to = name.first == header.database ? header.other : name.first == header.other ? header.database : name.first;
                swapped[{to, name.second}] = each;
            }
            keys = std::move(swapped);
            break;
        }
        case EffectKind::write_range: {
            const auto found = keys.find(key);
            if (found == keys.end() || header.offset() > found->second.bytes->size()) return "a part of a value is written that is not there: " + key.second;
            std::string bytes = *found->second.bytes;
            bytes.resize(std::max<uint64_t>(bytes.size(), header.offset() + effect.value.size()));
            bytes.replace(header.offset(), effect.value.size(), effect.value);
            found->second = Replayed(std::move(bytes), found->second.value.expire_at_ms);
            break;
        }
        case EffectKind::set_expiry: {
            const auto found = keys.find(key);
            if (found == keys.end()) return "a key gets an expiry that is not there: " + key.second;
            found->second.value.expire_at_ms = header.expire_at_ms;
            break;
        }
    }
    return "";
}

}  // namespace

std::string replay(const StoreMemory& memory, uint64_t tail, ReplayedKeys& keys) {
    const uint64_t end = memory.root().oplog_tail;
    if (end < tail || end - tail > memory.root().oplog_bytes) return fmt::format("the tail went from {} to {}", tail, end);
    for (uint64_t number = 0; tail < end;) {
        OplogRecord record;
        std::memcpy(&record, ring_bytes(memory, tail, sizeof record).data(), sizeof record);
        if (record.bytes < sizeof record || record.bytes > end - tail || record.bytes % 8 != 0) return fmt::format("a record of {} bytes", record.bytes);
        if (record.number <= number || record.number > memory.root().number) return fmt::format("a record has number {} after {}", record.number, number);
        number = record.number;
        std::string bytes = ring_bytes(memory, tail + sizeof record, record.bytes - sizeof record);
        if (record.by_reference != 0) {
            OplogReference reference;
            if (bytes.size() != sizeof reference) return "a record by reference has another length";
            std::memcpy(&reference, bytes.data(), sizeof reference);
            const auto referred = referred_bytes(memory, reference);
            if (!referred) return "what a record refers to is not there";
            bytes = *referred;
        }
        EffectReader reader(bytes);
        for (Effect effect; reader.next(effect);)
            if (const std::string wrong = apply_effect(effect, keys); !wrong.empty()) return wrong;
        if (reader.faulty()) return "a record's effects do not parse";
        tail += record.bytes;
    }
    return "";
}

ReplayedKeys read_values(const StoreMemory& memory) {
    ReplayedKeys values;
    for_each_item(memory, [&](unsigned database, uint64_t reference) {
        const auto item = read_item(memory, reference);
        if (!item) return;
        std::string bytes;
        if (item->large) {
            bytes = *large_bytes(memory, reference, item->key.size() + item->value.length);
        } else {
            const uint64_t start = sizeof(st::ItemHeader) + (item->value.expire_at_ms == -1 ? 0 : 8);
            bytes.assign(memory.as<char>(reference + start), item->key.size() + item->value.length);
        }
        values[{database, item->key}] = Replayed(bytes.substr(item->key.size()), item->value.expire_at_ms);
    });
    return values;
}

std::map<Contents::Key, Val> without_bytes(const ReplayedKeys& keys) {
    std::map<Contents::Key, Val> values;
    for (const auto& [key, each] : keys) values.emplace_hint(values.end(), key, each.value);
    return values;
}

namespace {

std::string text_of(const Val* value) {
    if (value == nullptr) return "is not there";
    return fmt::format("has {} bytes ({:x}), expiry {}", value->length, value->hash, value->expire_at_ms);
}

}  // namespace

std::string difference(const Contents& expected, const Contents& found) {
    const auto at = [](const Contents& contents, const Contents::Key& key) {
        const auto each = contents.keys.find(key);
        return each == contents.keys.end() ? nullptr : &each->second;
    };
    for (const Contents* all : {&expected, &found})
        for (const auto& [key, value] : all->keys) {
            const Val *before = at(expected, key), *now = at(found, key);
            if ((before == nullptr) != (now == nullptr) || (before != nullptr && *before != *now))
                return fmt::format("{} of database {} {}, expected: {}", key.second, key.first, text_of(now), text_of(before));
        }
    for (unsigned channel = 0; channel < kMaxIoConns; ++channel) {
        const auto a = expected.channels.find(channel), b = found.channels.find(channel);
        const ChannelContents x = a == expected.channels.end() ? ChannelContents{} : a->second;
        const ChannelContents y = b == found.channels.end() ? ChannelContents{} : b->second;
        if (x != y)
            return fmt::format("channel {}: generation {}, head {}, tail {}, {} replies; expected: {}, {}, {}, {}", channel, y.generation,
                               y.request_head, y.reply_tail, y.records.size(), x.generation, x.request_head, x.reply_tail, x.records.size());
    }
    return "none";
}

}  // namespace millrace::crash
