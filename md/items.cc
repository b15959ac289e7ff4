// See items.h. Runs in md.
#include "md/items.h"

#include <xxhash.h>

#include <algorithm>
#include <array>

#include "common/check.h"
#include "common/racing_copy.h"

namespace millrace::md {

namespace {

constexpr uint16_t kKeyLengthMax = 0xffff;

/// Where in a small item the key begins, behind the expiry if there is one.
uint64_t key_offset(const st::ItemHeader& header) {
    return sizeof header + ((header.flags & st::kHasExpiry) != 0 ? sizeof(int64_t) : 0);
}

uint64_t large_item_bytes(uint64_t pages) { return round_up(sizeof(st::LargeItem) + pages * sizeof(uint32_t), 8); }

}  // namespace

uint64_t Items::page_of(uint64_t reference, uint64_t index) const {
    const uint64_t word = set_.read(reference + kPagesAt + index / 2 * 8);
    return index % 2 == 0 ? word & 0xffffffff : word >> 32;
}

template <class Take>
void Items::each_piece(const Value& value, const Take& take) const {
    if (value.large != 0) {
        const uint64_t skip = word_of(value.large, offsetof(st::LargeItem, key_length));
        char buffer[4096];
        for (uint64_t done = 0; done < value.stored_length;) {
            const uint64_t piece = std::min<uint64_t>(sizeof buffer, value.stored_length - done);
            read_large(value.large, skip + done, piece, buffer);
            value.apply_patch(done, piece, buffer);
            take(std::string_view(buffer, piece));
            done += piece;
        }
    } else if (value.stored_length != 0) {
        take(std::string_view(value.small, value.stored_length));
    }
    if (!value.rest.empty()) take(value.rest);
}

uint64_t Items::build(std::string_view key, const Value& value) {
    const uint64_t bytes = sizeof(st::ItemHeader) + (value.expire_at_ms == kNoExpiry ? 0 : 8) + key.size() + value.length();
    if (bytes <= st::kSmallItemMax && key.size() <= kKeyLengthMax) return build_small(key, value, static_cast<uint32_t>(bytes));
    return build_large(key, value);
}

uint64_t Items::build_small(std::string_view key, const Value& value, uint32_t bytes) {
    // A value that grows gets room to grow, so that a series of appends does not copy it each time.
    const bool grows = value.stored_length != 0;
    const uint64_t reference = allocator_.allocate(grows ? std::min(bytes + bytes / 4, st::kSmallItemMax) : bytes);
    if (reference == 0) return 0;
    const bool expires = value.expire_at_ms != kNoExpiry;
    write_header(reference, {static_cast<uint32_t>(value.length()), static_cast<uint16_t>(key.size()), st::ItemType::string,
                             expires ? st::kHasExpiry : uint8_t{0}});
    std::byte* at = memory_.at(reference + sizeof(st::ItemHeader));
    if (expires) {
        racing_copy_in(at, &value.expire_at_ms, 8);
        at += 8;
    }
    racing_copy_in(at, key.data(), key.size());
    at += key.size();
    each_piece(value, [&](std::string_view piece) {
        racing_copy_in(at, piece.data(), piece.size());
        at += piece.size();
    });
    return reference;
}

uint64_t Items::build_large(std::string_view key, const Value& value) {
    const uint64_t bytes = key.size() + value.length();
    const uint64_t pages = bytes / st::kPageBytes;
    const auto tail_bytes = static_cast<uint32_t>(bytes % st::kPageBytes);
    if (large_item_bytes(pages) > st::kPageBytes) return 0;
    const uint64_t reference = allocator_.allocate(static_cast<uint32_t>(large_item_bytes(pages)));
    if (reference == 0) return 0;
    const bool expires = value.expire_at_ms != kNoExpiry;
    write_header(reference, {0, 0, st::ItemType::string, static_cast<uint8_t>(st::kLarge | (expires ? st::kHasExpiry : 0))});
    uint64_t tail = 0;
    // A tail begins with bytes that a client has chosen. None lies in a chunk of the class of reply records, of which the
    // first word has to tell (Store::is_record).
    constexpr uint32_t kTailBytesMin = sizeof(st::ReplyRecord) + 1;
    if (tail_bytes != 0 && (tail = allocator_.allocate(std::max(tail_bytes, kTailBytesMin))) == 0) return 0;
    auto& item = *memory_.as<st::LargeItem>(reference);
    memory_.store(&item.garbage_next, 0);
    memory_.store(reference + offsetof(st::LargeItem, expire_at_ms), static_cast<uint64_t>(value.expire_at_ms));
    memory_.store(&item.key_length, key.size());
    memory_.store(&item.value_length, value.length());
    memory_.store(&item.pins, 0);
    memory_.store(&item.page_count, pages);
    memory_.store(&item.tail, tail);
    const auto name_of = [&](uint64_t index) { return memory_.load(reference + kPagesAt + index / 2 * 8) >> index % 2 * 32 & 0xffffffff; };
    for (uint64_t i = 0; i < pages; ++i) {
        const uint64_t page = allocator_.allocate(st::kPageBytes) >> st::kPageShift;
        if (page == 0) return 0;
        memory_.store(reference + kPagesAt + i / 2 * 8, i % 2 == 0 ? page : name_of(i - 1) | page << 32);
    }
    uint64_t filled = 0;
    const auto append = [&](std::string_view piece) {
        while (!piece.empty()) {
            const uint64_t within = filled % st::kPageBytes, index = filled / st::kPageBytes;
            const uint64_t start = index < pages ? name_of(index) << st::kPageShift : tail;
            const uint64_t room = index < pages ? st::kPageBytes - within : tail_bytes - within;
            const uint64_t count = std::min<uint64_t>(room, piece.size());
            const std::string_view part = piece.substr(0, count);
            if (index < pages) {
                racing_copy_in(memory_.at(start + within), part.data(), count);
            } else {
                // The tail's first word may be the link of a free chunk still (T4).
                uint64_t first = set_.read(tail);
                if (within < 8) std::memcpy(reinterpret_cast<char*>(&first) + within, part.data(), std::min<uint64_t>(count, 8 - within));
                if (within < 8) set_.write(tail, first);
                if (within + count > 8) {
                    const uint64_t skip = within < 8 ? 8 - within : 0;
                    racing_copy_in(memory_.at(start + within + skip), part.data() + skip, count - skip);
                }
            }
            filled += count;
            piece.remove_prefix(count);
        }
    };
    append(key);
    each_piece(value, append);
    return reference;
}

bool Items::append_in_place(uint64_t reference, const Value& value) {
    st::ItemHeader header = header_of(reference);
    if ((header.flags & st::kLarge) == 0) {
        const uint64_t start = key_offset(header) + header.key_length;
        if (header.value_length != value.stored_length) return false;  // changed in this very operation already
        if (start + value.length() > allocator_.capacity_of(reference)) return false;
        racing_copy_in(memory_.at(reference + start + value.stored_length), value.rest.data(), value.rest.size());
        header.value_length = static_cast<uint32_t>(value.length());
        write_header(reference, header);
        return true;
    }
    const uint64_t tail = word_of(reference, offsetof(st::LargeItem, tail));
    const uint64_t length = word_of(reference, offsetof(st::LargeItem, value_length));
    if (tail == 0 || length != value.stored_length) return false;
    const uint64_t used = (word_of(reference, offsetof(st::LargeItem, key_length)) + length) % st::kPageBytes;
    const uint64_t capacity = std::min<uint64_t>(allocator_.capacity_of(tail), st::kPageBytes - 1);  // a full one is an extent
    if (used < 8 || used + value.rest.size() > capacity) return false;
    racing_copy_in(memory_.at(tail + used), value.rest.data(), value.rest.size());
    set_.write(&memory_.as<st::LargeItem>(reference)->value_length, value.length());
    return true;
}

bool Items::patch_in_place(uint64_t reference, const Value& value) {
    if (value.large != reference || st::pin_count(word_of(reference, offsetof(st::LargeItem, pins))) != 0) return false;
    const uint64_t pages = word_of(reference, offsetof(st::LargeItem, page_count));
    const uint64_t tail = word_of(reference, offsetof(st::LargeItem, tail));
    uint64_t at = word_of(reference, offsetof(st::LargeItem, key_length)) + value.patch_at;
    for (std::string_view left = value.patch; !left.empty();) {
        const uint64_t index = at / st::kPageBytes, within = at % st::kPageBytes, skip = within % 8;
        const uint64_t start = index < pages ? page_of(reference, index) << st::kPageShift : tail;
        const uint64_t count = std::min<uint64_t>(8 - skip, left.size());
        uint64_t word = set_.read(start + within - skip);
        std::memcpy(reinterpret_cast<char*>(&word) + skip, left.data(), count);
        set_.write(start + within - skip, word);
        left.remove_prefix(count);
        at += count;
    }
    return true;
}

bool Items::is_value_of(uint64_t reference, const Value& value) const {
    if (!value.rest.empty() || !value.patch.empty()) return false;
    const Value own = value_of(reference);
    return own.large == value.large && own.small == value.small && own.stored_length == value.stored_length;
}

bool Items::set_expiry(uint64_t reference, int64_t expire_at_ms) {
    st::ItemHeader header = header_of(reference);
    const bool expires = expire_at_ms != kNoExpiry;
    const bool large = (header.flags & st::kLarge) != 0;
    if (!large && ((header.flags & st::kHasExpiry) != 0) != expires) return false;
    if (large || expires)
        set_.write(reference + (large ? offsetof(st::LargeItem, expire_at_ms) : sizeof header), static_cast<uint64_t>(expire_at_ms));
    if (!large) return true;
    header.flags = static_cast<uint8_t>(expires ? header.flags | st::kHasExpiry : header.flags & ~st::kHasExpiry);
    write_header(reference, header);
    return true;
}

bool Items::overwrite(uint64_t reference, const Value& value, bool touched) {
    if (value.stored_length != 0 || value.large != 0 || value.rest.size() > kOverwriteBytesMax) return false;
    st::ItemHeader header = header_of(reference);
    const bool expires = value.expire_at_ms != kNoExpiry;
    if ((header.flags & st::kLarge) != 0 || ((header.flags & st::kHasExpiry) != 0) != expires) return false;
    const uint64_t start = key_offset(header) + header.key_length;
    const auto old_bytes = static_cast<uint32_t>(start + header.value_length);
    const auto new_bytes = static_cast<uint32_t>(start + value.rest.size());
    if (new_bytes > st::kSmallItemMax || st::class_for(new_bytes) != st::class_for(old_bytes)) return false;
    if (expires) set_.write(reference + sizeof header, static_cast<uint64_t>(value.expire_at_ms));
    if (header.value_length != value.rest.size()) {
        header.value_length = static_cast<uint32_t>(value.rest.size());
        write_header(reference, header);
    }
    if (value.rest.empty()) return true;
    // The words that hold the value, with what else is in the first and the last of them.
    std::array<uint64_t, kOverwriteBytesMax / 8 + 1> words;
    const uint64_t begin = reference + start, first = begin / 8 * 8, last = (begin + value.rest.size() - 1) / 8 * 8;
    const size_t count = (last - first) / 8 + 1;
    words[0] = set_.read(first);
    words[count - 1] = set_.read(last);
    std::memcpy(reinterpret_cast<char*>(words.data()) + (begin - first), value.rest.data(), value.rest.size());
    if (!touched) {
        set_.write_first(first, std::span(words.data(), count));
    } else {
        for (size_t i = 0; i < count; ++i) set_.write(first + 8 * i, words[i]);
    }
    return true;
}

void Items::push_garbage(uint64_t reference) {
    const uint64_t& head = memory_.root().garbage;
    set_.write(reference + offsetof(st::LargeItem, garbage_next), set_.read(&head));
    set_.write(&head, reference);
}

void Items::release(uint64_t reference) {
    if (!is_large(reference)) return allocator_.free(reference);
    const uint64_t& pins = memory_.as<st::LargeItem>(reference)->pins;
    set_.add(&pins, st::kUnlinked);
    discard_if_unused(reference);
}

void Items::unpin(uint64_t reference) {
    set_.add(&memory_.as<st::LargeItem>(reference)->pins, 0 - uint64_t{1});
    discard_if_unused(reference);
}

/// Puts a large item into the garbage list once no slot and no reply refers to it.
void Items::discard_if_unused(uint64_t reference) {
    const uint64_t& pins = memory_.as<st::LargeItem>(reference)->pins;
    if (set_.read(&pins) != st::kUnlinked) return;
    set_.add(&pins, st::kInGarbage);
    push_garbage(reference);
}

bool Items::free_large(uint64_t reference, unsigned limit) {
    const uint64_t& pins = memory_.as<st::LargeItem>(reference)->pins;
    if (st::pin_count(set_.read(&pins)) != 0) {  // by the reply of the very operation that let go of it
        set_.add(&pins, 0 - st::kInGarbage);
        return true;
    }
    return free_extents(reference, limit);
}

bool Items::free_extents(uint64_t reference, unsigned limit) {
    const uint64_t& count = memory_.as<st::LargeItem>(reference)->page_count;
    uint64_t pages = set_.read(&count);
    for (; limit > 0 && pages > 0; --limit) allocator_.free(page_of(reference, --pages) << st::kPageShift);
    if (pages > 0) {
        set_.write(&count, pages);
        return false;
    }
    if (const uint64_t tail = word_of(reference, offsetof(st::LargeItem, tail)); tail != 0) allocator_.free(tail);
    allocator_.free(reference);
    return true;
}

bool Items::key_equals(uint64_t reference, std::string_view key) const {
    const st::ItemHeader header = header_of(reference);
    if ((header.flags & st::kLarge) == 0) {
        if (header.key_length != key.size()) return false;
        const uint64_t at = reference + key_offset(header);
        return std::memcmp(memory_.at(at), key.data(), key.size()) == 0;
    }
    return word_of(reference, offsetof(st::LargeItem, key_length)) == key.size() && key_of(reference) == key;
}

std::string Items::key_of(uint64_t reference) const {
    const st::ItemHeader header = header_of(reference);
    std::string key;
    if ((header.flags & st::kLarge) == 0) {
        const uint64_t at = reference + key_offset(header);
        key.assign(memory_.as<char>(at), header.key_length);
    } else {
        key.resize(word_of(reference, offsetof(st::LargeItem, key_length)));
        read_large(reference, 0, key.size(), key.data());
    }
    return key;
}

std::string_view Items::key_view(uint64_t reference, std::string& storage) const {
    const st::ItemHeader header = header_of(reference);
    if ((header.flags & st::kLarge) == 0) return {memory_.as<char>(reference + key_offset(header)), header.key_length};
    return storage = key_of(reference);
}

void Items::copy_value(const Value& value, uint64_t from, uint64_t count, char* out) const {
    const uint64_t stored = from >= value.stored_length ? 0 : std::min(count, value.stored_length - from);
    if (stored != 0 && value.large == 0) {
        std::memcpy(out, value.small + from, stored);
    } else if (stored != 0) {
        read_large_value(value.large, from, stored, out);
        value.apply_patch(from, stored, out);
    }
    const uint64_t behind = from + stored - value.stored_length;
    if (stored < count) value.rest.copy(out + stored, count - stored, behind);
}

std::string_view Items::piece_of(const Value& value, uint64_t from, uint64_t count, char* buffer) const {
    if (value.stored_length == 0) return value.rest.substr(from, count);
    const bool small = value.large == 0 && from + count <= value.stored_length;
    if (small && set_.empty()) return {value.small + from, count};
    if (!small) {
        copy_value(value, from, count, buffer);
        return {buffer, count};
    }
    const uint64_t begin = memory_.offset_of(value.small) + from;
    for (uint64_t done = 0; done < count;) {
        const uint64_t skip = (begin + done) % 8, piece = std::min<uint64_t>(8 - skip, count - done);
        const uint64_t word = set_.read(begin + done - skip);
        std::memcpy(buffer + done, reinterpret_cast<const char*>(&word) + skip, piece);
        done += piece;
    }
    return {buffer, count};
}

uint64_t Items::checksum_of_blocks(const KeyChecksum& checksum, const Value& value, uint64_t first, uint64_t end) const {
    constexpr uint64_t kBlock = KeyChecksum::kBlockBytes;
    uint64_t sum = 0;
    char buffer[kBlock];
    for (uint64_t index = first; index < end; ++index)
        sum += checksum.of_block(index, piece_of(value, index * kBlock, std::min(kBlock, value.length() - index * kBlock), buffer));
    return sum;
}

uint64_t Items::checksum_of(const KeyChecksum& checksum, const Value& value) const {
    return checksum.of_frame(value.length(), value.expire_at_ms) + checksum_of_blocks(checksum, value, 0, KeyChecksum::blocks_in(value.length()));
}

uint64_t Items::hash_of(uint64_t reference, uint64_t seed) const {
    const st::ItemHeader header = header_of(reference);
    if ((header.flags & st::kLarge) == 0) {
        const uint64_t at = reference + key_offset(header);
        return XXH3_64bits_withSeed(memory_.at(at), header.key_length, seed);
    }
    const std::string key = key_of(reference);
    return XXH3_64bits_withSeed(key.data(), key.size(), seed);
}

int64_t Items::expiry_of(uint64_t reference) const {
    const st::ItemHeader header = header_of(reference);
    if ((header.flags & st::kHasExpiry) == 0) return kNoExpiry;
    if ((header.flags & st::kLarge) != 0) return static_cast<int64_t>(word_of(reference, offsetof(st::LargeItem, expire_at_ms)));
    return static_cast<int64_t>(set_.read(reference + sizeof header));
}

Value Items::value_of(uint64_t reference) const {
    const st::ItemHeader header = header_of(reference);
    Value value;
    value.expire_at_ms = expiry_of(reference);
    if ((header.flags & st::kLarge) != 0) {
        value.large = reference;
        value.stored_length = word_of(reference, offsetof(st::LargeItem, value_length));
    } else {
        const uint64_t start = key_offset(header) + header.key_length;
        value.small = memory_.as<char>(reference + start);
        value.stored_length = header.value_length;
    }
    return value;
}

uint64_t Items::memory_of(uint64_t reference) const {
    uint64_t bytes = allocator_.capacity_of(reference);
    if (!is_large(reference)) return bytes;
    bytes += word_of(reference, offsetof(st::LargeItem, page_count)) * st::kPageBytes;
    if (const uint64_t tail = word_of(reference, offsetof(st::LargeItem, tail)); tail != 0) bytes += allocator_.capacity_of(tail);
    return bytes;
}

void Items::read_large(uint64_t reference, uint64_t from, uint64_t length, char* out) const {
    const uint64_t pages = word_of(reference, offsetof(st::LargeItem, page_count));
    const uint64_t tail = word_of(reference, offsetof(st::LargeItem, tail));
    while (length > 0) {
        const uint64_t within = from % st::kPageBytes, index = from / st::kPageBytes;
        const uint64_t count = std::min(st::kPageBytes - within, length);
        const uint64_t start = index < pages ? page_of(reference, index) << st::kPageShift : tail;
        std::memcpy(out, memory_.at(start + within), count);
        if (index >= pages && within < 8) {  // the tail's first word may be in the write set still (T4)
            const uint64_t first = set_.read(tail);
            std::memcpy(out, reinterpret_cast<const char*>(&first) + within, std::min<uint64_t>(count, 8 - within));
        }
        out += count;
        from += count;
        length -= count;
    }
}

}  // namespace millrace::md
