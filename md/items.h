// Items: a key with its value, as chunks and pages of the store (common/store_layout.h). Runs in md.
//
// New items are built out of reach; the one word that belongs to the allocator until the commit, a chunk's first, goes
// through the write set (T4).
#pragma once

#include <optional>
#include <string_view>

#include "common/data_checksum.h"
#include "md/allocator.h"
#include "md/seeded_bugs.h"
#include "md/value.h"

namespace millrace::md {

class Items {
  public:
    Items(const StoreMemory& memory, WriteSet& set, Allocator& allocator)
        : memory_(memory), set_(set), allocator_(allocator) {}

    /// Builds an item; 0 when there is no memory.
    uint64_t build(std::string_view key, const Value& value);
    /// Lengthens the item's value where it lies, if there is room behind it: only its length changes when committed.
    /// REQUIRES: `value` is that item's value with more behind it.
    bool append_in_place(uint64_t reference, const Value& value);
    /// Gives a small item another value of nearly the same length where it lies, through the write set. False: the value
    /// needs another chunk. `touched`: whether this operation may have written words of the item before.
    bool overwrite(uint64_t reference, const Value& value, bool touched);
    /// Replaces the bytes of a large item that `value` says, where they lie, through the write set. False: a reply that refers to the item is
    /// still read, so its bytes have to stay. REQUIRES: `value` is that item's value with a patch of at most kPatchBytesMax.
    bool patch_in_place(uint64_t reference, const Value& value);
    static constexpr uint64_t kPatchBytesMax = 4096;  ///< words of the list that one patch takes at most, x 8
    /// Whether a value is this item's, as value_of() gives it, with other expiry perhaps.
    bool is_value_of(uint64_t reference, const Value& value) const;
    /// Gives the item another expiry where it lies. False: it needs another chunk.
    bool set_expiry(uint64_t reference, int64_t expire_at_ms);
    /// Frees an item that no slot refers to any more: a small one now, a large one through the garbage list.
    void release(uint64_t reference);
    /// Frees up to `limit` extents of an item taken from the garbage list; true when it does not belong there any more.
    bool free_large(uint64_t reference, unsigned limit);

    bool is_large(uint64_t reference) const { return (header_of(reference).flags & st::kLarge) != 0; }
    bool key_equals(uint64_t reference, std::string_view key) const;
    /// The hash of an item's key.
    uint64_t hash_of(uint64_t reference, uint64_t seed) const;
    Value value_of(uint64_t reference) const;
    /// Bytes of all chunks and pages of an item.
    uint64_t memory_of(uint64_t reference) const;
    /// The time of its expiry; kNoExpiry if it has none.
    int64_t expiry_of(uint64_t reference) const;
    /// The key, copied if it lies in extents.
    std::string key_of(uint64_t reference) const;
    /// Copies bytes [from, from + length) of a large item's key and value.
    void read_large(uint64_t reference, uint64_t from, uint64_t length, char* out) const;

    /// Copies bytes [from, from + length) of a large item's value.
    void read_large_value(uint64_t reference, uint64_t from, uint64_t length, char* out) const {
        read_large(reference, word_of(reference, offsetof(st::LargeItem, key_length)) + from, length, out);
    }

    /// Copies bytes [from, from + count) of a value, wherever they lie.
    void copy_value(const Value& value, uint64_t from, uint64_t count, char* out) const;
    /// The same as the operation under way has left them, in `buffer` unless they lie together. `count`: at most the buffer's size.
    std::string_view piece_of(const Value& value, uint64_t from, uint64_t count, char* buffer) const;
    /// What blocks [first, end) of a value add to its database's checksum, and what all of it does (common/data_checksum.h), as piece_of() has it.
    uint64_t checksum_of_blocks(const KeyChecksum& checksum, const Value& value, uint64_t first, uint64_t end) const;
    uint64_t checksum_of(const KeyChecksum& checksum, const Value& value) const;
    /// The key of an item, copied into `storage` if it lies in extents.
    std::string_view key_view(uint64_t reference, std::string& storage) const;

    void pin(uint64_t reference) { set_.add(&memory_.as<st::LargeItem>(reference)->pins, 1); }
    /// Takes a pin back; the item goes to the garbage if that was what kept it.
    void unpin(uint64_t reference);
    /// Puts a chunk that starts like a LargeItem into the garbage list.
    void push_garbage(uint64_t reference);

  private:
    static constexpr uint64_t kPagesAt = sizeof(st::LargeItem);
    /// Bytes of a value that is overwritten where it lies: up to here its words in the list cost less than another chunk.
    static constexpr uint64_t kOverwriteBytesMax = 128;

    st::ItemHeader header_of(uint64_t reference) const {
        return st::ItemHeader::from(set_.read(reference));
    }
    void write_header(uint64_t reference, const st::ItemHeader& header) {
        if constexpr (kSeededBug == SeededBug::header_direct) memory_.store(reference, header.word());
        else set_.write(reference, header.word());
    }
    uint64_t word_of(uint64_t reference, size_t field) const { return set_.read(reference + field); }
    uint64_t page_of(uint64_t reference, uint64_t index) const;
    void discard_if_unused(uint64_t reference);
    bool free_extents(uint64_t reference, unsigned limit);
    uint64_t build_small(std::string_view key, const Value& value, uint32_t bytes);
    uint64_t build_large(std::string_view key, const Value& value);
    /// Gives the bytes of a value, piece by piece, to `take(std::string_view)`.
    template <class Take>
    void each_piece(const Value& value, const Take& take) const;

    const StoreMemory& memory_;
    WriteSet& set_;
    Allocator& allocator_;
};

}  // namespace millrace::md
