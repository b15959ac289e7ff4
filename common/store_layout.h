// The store segment: everything that md must not lose, laid out so that io_conn can read it and the next md go on with it.
// Written by md only (md/store*.h); read by io_conn (replies by reference) and by `millrace check`.
//
// Memory is pages of 64 KiB, numbered from the segment's start; a region is 256 of them. The first page of a region
// holds the region's page descriptors (one 4 KiB page of it is ever backed); page 0 also holds the segment's header
// and the root; page 1 holds the commit list; a few pages after it are the oplog ring. All other pages are handed out:
//
//   slab page    chunks of one size class: items, index segments, directories, reply records
//   whole page   an extent of a large value, or a chunk of more than 32 KiB
//   free page    backed by memory, in the list of free pages
//   hole         given back to the system, in the list of holes
//
// A reference is an offset from the segment's start; in a slot it is counted in units of 8 bytes. 0 is no reference.
//
// Index: a database's route word names its directory; the directory's entry for the first `depth` bits of a key's hash
// names an index segment of 64 buckets (a directory of more than 2^14 entries is a table of pages that are split one at a time, so
// that it grows without a pause); a key lives in one of two buckets of it: bucket h1, or h1 ^ offset(tag). A bucket is one
// cache line: a version, nine slots of six bytes (tag, reference, a bit for "expires"), two spare bytes, of which the
// first of bucket 0 holds the segment's depth.
//
// Invariants that every image of the segment satisfies, at every instruction of md (tests/crash checks them):
//   T1  One store of `committed` commits an operation: request consumed, store changed, reply written, effects logged.
//       Before it nothing reachable has changed; after it the list in the journal holds every word that is to change,
//       with its absolute new value, and applying it any number of times gives the same result.
//   T2  A word that can be reached (from the root, the index, an item, the descriptors, the channels' cursors) changes
//       only through a list. Memory that cannot be reached is written freely: a chunk before it is linked, bytes behind
//       an item's visible length, ring bytes behind the committed tail.
//   T3  A bucket's version is 2 x the number of the commit that changed it last, + 1 while it changes. All buckets of an
//       operation are made odd before the first word is stored and even after the last. Versions are never in a list:
//       recovery writes them again from the list's number. They never repeat an even value with other contents.
//       The live options in the root have such a version too: for the list they are a bucket.
//   T4  A chunk that an operation frees is not handed out again in the same operation, so that its contents stay whole
//       until the commit. A word of a free chunk is its link to the next one (link_offset): when the chunk is freed, and
//       when it is filled, that word goes through the list.
//   T5  The channels' cursors in the root are the truth; the indices that the peers see lag behind and are written
//       again after recovery.
//   T6  A list's number is in the list and in `committed`: an older list is never taken for it.
//   T7  Each chunk in use is reached exactly once: from a slot, a directory, a route, a garbage list, a channel's records, the oplog's or the
//       open window of a strict pair (pair_layout.h).
//   T8  Readers (io_conn/direct_reader.h) may read any of this at any time. A bucket whose version is even, and is of a commit that
//       the reader knew to be finished before it looked for the bucket, has not changed since and is nobody's to build on. A route
//       word changes whenever its directory does, and never repeats soon: it counts its changes. Both are stored whole, as is
//       every byte that a slot can lead to (racing_copy.h).
//   T9  A reader says in the roster since which commit it reads. Memory that was reachable then is not given back to the system,
//       and a page of index segments stays one, until it has ended: first the commit that makes it unreachable, then a fence,
//       then the look at the roster; the reader publishes, then a fence, then it looks for what is reachable.
//   T10 While `checksums_kept` is 1, `checksum` of a database is that of its keys (data_checksum.h): a commit that changes one changes the other. Else 0.
#pragma once

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "common/layout.h"
#include "common/pair_layout.h"
#include "common/roster.h"
#include "common/segment.h"

namespace millrace::store {

inline constexpr unsigned kPageShift = 16;
inline constexpr uint64_t kPageBytes = 1ull << kPageShift;
inline constexpr uint64_t kRegionPages = 256;
inline constexpr uint64_t kDescriptorsAt = kSegmentPayload;        ///< in the first page of a region, bytes
inline constexpr uint64_t kRootAt = kDescriptorsAt + kPageSize;    ///< in page 0, bytes
inline constexpr uint64_t kJournalAt = kPageBytes;                 ///< page 1
inline constexpr uint64_t kOplogAt = 2 * kPageBytes;               ///< page 2 and the following
inline constexpr uint64_t kReserveBytesDefault = 1ull << 40;       ///< of addresses; memory is taken as it is needed
inline constexpr unsigned kDatabases = 16;

// --- pages ------------------------------------------------------------------------------------------------------------

enum class PageKind : uint8_t { none = 0, free = 1, hole = 2, slab = 3, whole = 4, system = 5 };

/// What is known about a page. `state` packs kind, class, chunks in use, first free chunk + 1, chunks ever used.
struct PageDescriptor {
    uint64_t state;
    uint32_t next;  ///< page number in the list that the page is in, 0 = end
    uint32_t previous;
};
static_assert(sizeof(PageDescriptor) == 16 && kRegionPages * sizeof(PageDescriptor) <= kPageSize);

struct PageState {
    PageKind kind = PageKind::none;
    uint8_t size_class = 0;
    uint16_t used = 0;
    uint16_t free_head = 0;  ///< index of a free chunk + 1, 0 = none
    uint16_t bump = 0;       ///< chunks from this index on were never used

    static PageState from(uint64_t word) {
        return {static_cast<PageKind>(word & 0xff), static_cast<uint8_t>(word >> 8), static_cast<uint16_t>(word >> 16),
                static_cast<uint16_t>(word >> 32), static_cast<uint16_t>(word >> 48)};
    }
    uint64_t word() const {
        return static_cast<uint64_t>(kind) | uint64_t{size_class} << 8 | uint64_t{used} << 16 | uint64_t{free_head} << 32 |
               uint64_t{bump} << 48;
    }
};

constexpr uint64_t descriptor_at(uint64_t page) {
    return (page / kRegionPages << kPageShift) * kRegionPages + kDescriptorsAt + page % kRegionPages * sizeof(PageDescriptor);
}

/// Size classes: steps of 8 bytes up to 128, then eight steps for each doubling up to 32 KiB. The last class is that
/// of index segments, which share their pages with nothing else, so that a bucket stays a bucket (readers' rule).
inline constexpr uint32_t kChunkBytesMin = 16;
inline constexpr uint32_t kChunkBytesMax = 32 * 1024;
inline constexpr unsigned kFineClasses = 15;  ///< 16, 24, ... 128
inline constexpr unsigned kItemClasses = kFineClasses + 8 * 8;
inline constexpr unsigned kIndexClass = kItemClasses;
inline constexpr unsigned kClasses = kItemClasses + 1;

constexpr uint32_t class_bytes(unsigned size_class) {
    if (size_class == kIndexClass) return 4096;
    if (size_class < kFineClasses) return kChunkBytesMin + 8 * size_class;
    const unsigned step = size_class - kFineClasses;
    const uint32_t base = 128u << (step / 8);
    return base + base / 8 * (step % 8 + 1);
}
/// Where in a free chunk of the class its link is: not in the first word of an index segment, which is a version (T3).
constexpr uint64_t link_offset(unsigned size_class) { return size_class == kIndexClass ? 8 : 0; }
/// The smallest class for `bytes` <= kChunkBytesMax.
constexpr unsigned class_for(uint32_t bytes) {
    if (bytes <= 128) return bytes <= kChunkBytesMin ? 0 : (bytes - kChunkBytesMin + 7) / 8;
    const unsigned doubling = 31 - static_cast<unsigned>(__builtin_clz((bytes - 1) >> 7));
    const uint32_t base = 128u << doubling;
    return kFineClasses + doubling * 8 + (bytes - base + base / 8 - 1) / (base / 8) - 1;
}
static_assert(class_for(1) == 0 && class_for(17) == 1 && class_bytes(class_for(128)) == 128 && class_bytes(class_for(129)) == 144);
static_assert(class_bytes(class_for(256)) == 256 && class_bytes(class_for(257)) == 288 && class_bytes(class_for(32768)) == 32768);
static_assert(class_for(kChunkBytesMax) == kItemClasses - 1);

// --- items ------------------------------------------------------------------------------------------------------------

enum class ItemType : uint8_t { string = 0, reply_record = 0xf0, cleared_database = 0xf1 };

inline constexpr uint8_t kHasExpiry = 1;  ///< 8 bytes of expiry follow the header
inline constexpr uint8_t kLarge = 2;      ///< a LargeItem: key and value lie in extents

/// First 8 bytes of a chunk that an index slot or a garbage list refers to. Small items: [expiry] key value follow.
struct ItemHeader {
    uint32_t value_length;
    uint16_t key_length;
    ItemType type;
    uint8_t flags;

    static ItemHeader from(uint64_t word) { return std::bit_cast<ItemHeader>(word); }
    uint64_t word() const { return std::bit_cast<uint64_t>(*this); }
};
static_assert(sizeof(ItemHeader) == 8);

/// A key with a value that together are too long for a chunk: their bytes, one after the other, fill `page_count`
/// whole pages and a tail.
struct LargeItem {
    ItemHeader header;         ///< lengths are 0 here
    uint64_t garbage_next;     ///< reference of the next in the garbage list
    int64_t expire_at_ms;      ///< only with kHasExpiry
    uint64_t key_length;
    uint64_t value_length;
    uint64_t pins;             ///< reply records that refer to it, + kUnlinked once no slot does, + kInGarbage while it is listed
    uint64_t page_count;
    uint64_t tail;             ///< reference of the tail's chunk or page; 0 = none
    // uint32_t pages[]; padded to 8 bytes
};
static_assert(sizeof(LargeItem) == 64);
inline constexpr uint64_t kUnlinked = 1ull << 32;
inline constexpr uint64_t kInGarbage = 1ull << 33;
constexpr uint64_t pin_count(uint64_t pins) { return pins & (kUnlinked - 1); }

/// Longest small item, header and all, bytes.
inline constexpr uint32_t kSmallItemMax = kChunkBytesMax;

/// What remains of a database that was cleared, freed in slices.
struct ClearedDatabase {
    ItemHeader header;
    uint64_t garbage_next;
    uint64_t route;
    uint64_t next_entry;   ///< of the directory
    uint64_t next_bucket;  ///< of that entry's segment
};
static_assert(sizeof(ClearedDatabase) == 40 && offsetof(ClearedDatabase, garbage_next) == offsetof(LargeItem, garbage_next));

/// A reply too long for the ring: a chain of chunks. io_conn reads it and then says `release`; a channel that ends
/// releases all of its records. Released records are freed in slices, like everything in the garbage list.
struct ReplyRecord {
    ItemHeader header;
    uint64_t garbage_next;
    uint64_t next_record;      ///< of the channel's list
    uint64_t previous_record;
    uint64_t first_chunk;      ///< ReplyChunk, 0 = none
    uint64_t owner;            ///< the channel's index + 1; kOplogOwner: the oplog refers to it
};
static_assert(sizeof(ReplyRecord) == 48 && offsetof(ReplyRecord, garbage_next) == offsetof(LargeItem, garbage_next));
inline constexpr uint64_t kOplogOwner = kMaxIoConns + 1;
/// `bytes` of the reply (reply_format.h), or of an operation's effects (oplog_ring.h), follow; then, if there is an `item`, come the first bytes of that item's value.
struct ReplyChunk {
    uint64_t next_chunk;
    uint64_t bytes;
    uint64_t item;         ///< reference of a LargeItem, which is pinned; 0 = none
    uint64_t item_length;  ///< bytes of its value
};

// --- index ------------------------------------------------------------------------------------------------------------

inline constexpr unsigned kBuckets = 64;  ///< of an index segment
inline constexpr unsigned kSlots = 9;     ///< of a bucket
inline constexpr uint64_t kBucketBytes = 64;
inline constexpr uint64_t kIndexSegmentBytes = kBuckets * kBucketBytes;
inline constexpr unsigned kDepthAt = 62;  ///< byte of bucket 0 that holds the segment's depth
inline constexpr unsigned kDirectoryChunkDepthMax = 14;  ///< deeper directories are tables of pages (DirectoryPage)

/// One slot, unpacked.
struct Slot {
    uint8_t tag = 0;
    bool expires = false;
    uint64_t reference = 0;  ///< bytes from the segment's start; 0 = empty

    static Slot from(uint64_t bits) {
        return {static_cast<uint8_t>(bits >> 40), (bits >> 39 & 1) != 0, (bits & ((1ull << 39) - 1)) << 3};
    }
    uint64_t bits() const { return uint64_t{tag} << 40 | uint64_t{expires} << 39 | reference >> 3; }
};

/// A bucket as eight words; copied before it is looked at, and so not zero unless asked for.
struct Bucket {
    std::array<uint64_t, 8> words;

    uint64_t version() const { return words[0]; }
    uint64_t slot_bits(unsigned slot) const {
        const unsigned bit = 48 * slot, word = 1 + bit / 64, shift = bit % 64;
        uint64_t bits = words[word] >> shift;
        if (shift > 16) bits |= words[word + 1] << (64 - shift);
        return bits & kSlotMask;
    }
    void set_slot_bits(unsigned slot, uint64_t bits) {
        const unsigned bit = 48 * slot, word = 1 + bit / 64, shift = bit % 64;
        words[word] = (words[word] & ~(kSlotMask << shift)) | bits << shift;
        if (shift > 16) words[word + 1] = (words[word + 1] & ~(kSlotMask >> (64 - shift))) | bits >> (64 - shift);
    }
    /// The slots that have this tag, free ones too if it is 0: a bit for each at the number of the byte where its tag is, which
    /// slot_of() makes a slot's number.
    uint64_t tags_equal(uint8_t tag) const {
        uint64_t equal = 0;
#ifdef __SSE2__
        const __m128i wanted = _mm_set1_epi8(static_cast<char>(tag));
#pragma GCC unroll 4
        for (unsigned part = 0; part < 4; ++part) {
            const __m128i bytes = _mm_set_epi64x(static_cast<long long>(words[2 * part + 1]), static_cast<long long>(words[2 * part]));
            equal |= static_cast<uint64_t>(static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, wanted)))) << 16 * part;
        }
        return equal & kTagBytes;
#else
#pragma GCC unroll 9
        for (unsigned slot = 0; slot < 9; ++slot) {
            const unsigned byte = kFirstTag + 6 * slot;
            equal |= uint64_t{static_cast<uint8_t>(words[byte / 8] >> byte % 8 * 8) == tag} << byte;
        }
        return equal;
#endif
    }
    /// The slot that the lowest bit of tags_equal() means.
    static unsigned slot_of(uint64_t equal) { return (static_cast<unsigned>(__builtin_ctzll(equal)) - kFirstTag) / 6; }
    /// The slots in use whose key has an expiry, a bit for each. (A free slot is zero.)
    unsigned slots_with_expiry() const {
        unsigned found = 0;
#pragma GCC unroll 9
        for (unsigned slot = 0; slot < 9; ++slot) {
            const unsigned bit = 48 * slot + 39;
            found |= static_cast<unsigned>(words[1 + bit / 64] >> bit % 64 & 1) << slot;
        }
        return found;
    }
    /// The free slots, a bit for each.
    unsigned free_slots() const {
        unsigned found = 0;
#pragma GCC unroll 9
        for (unsigned slot = 0; slot < 9; ++slot) found |= static_cast<unsigned>(slot_bits(slot) == 0) << slot;
        return found;
    }
    static constexpr uint64_t kSlotMask = (1ull << 48) - 1;
    static constexpr unsigned kFirstTag = 8 + 5;  ///< byte of the first slot's tag; the others follow every six bytes
    static constexpr uint64_t kTagBytes = [] {
        uint64_t bytes = 0;
        for (unsigned slot = 0; slot < kSlots; ++slot) bytes |= 1ull << (kFirstTag + 6 * slot);
        return bytes;
    }();
};
static_assert(kSlots == 9);
static_assert(sizeof(Bucket) == kBucketBytes && 8 + kSlots * 6 <= kDepthAt);

/// Where a key may live, from its hash.
struct KeyPlace {
    uint64_t hash;
    unsigned first() const { return hash % kBuckets; }
    uint8_t tag() const { return static_cast<uint8_t>(hash >> 8); }
    unsigned second() const { return other_bucket(first(), tag()); }
    /// Entry of a directory of this depth.
    uint64_t entry(unsigned depth) const { return depth == 0 ? 0 : hash >> (64 - depth); }
    /// The bucket that a slot with this tag may move to.
    static unsigned other_bucket(unsigned bucket, uint8_t tag) {
        const unsigned offset = (tag * 157u >> 3) % kBuckets;
        return bucket ^ (offset == 0 ? kBuckets / 2 : offset);
    }
};

/// A database's route word: where its directory is and how deep. No directory: the database is empty.
struct Route {
    uint64_t directory = 0;  ///< reference
    unsigned depth = 0;
    uint32_t changes = 0;    ///< counts, modulo 2^20, what this word has been (T8)

    static constexpr unsigned kDirectoryBits = 38, kChangeBits = 20;  ///< a directory lies at a multiple of 8
    static Route from(uint64_t word) {
        return {(word & ((1ull << kDirectoryBits) - 1)) << 3, static_cast<unsigned>(word >> (kDirectoryBits + kChangeBits)),
                static_cast<uint32_t>(word >> kDirectoryBits & ((1u << kChangeBits) - 1))};
    }
    uint64_t word() const { return directory >> 3 | uint64_t{changes} << kDirectoryBits | uint64_t{depth} << (kDirectoryBits + kChangeBits); }
    /// What comes after this.
    Route next(uint64_t new_directory, unsigned new_depth) const {
        return {new_directory, new_depth, (changes + 1) & ((1u << kChangeBits) - 1)};
    }
};
static_assert(kReserveBytesDefault >> 3 < 1ull << Route::kDirectoryBits);

/// Entry of a deep directory's table, which the first `depth` - kDirectoryChunkDepthMax bits of a hash choose: a page with
/// 2^kDirectoryChunkDepthMax names of segments, chosen by the bits behind the first `prefix`. All entries whose first `prefix`
/// bits are the same name the same page; when it is split, its halves tell one bit more apart.
struct DirectoryPage {
    static constexpr unsigned kPageBits = 26;
    uint64_t page;
    unsigned prefix;

    static DirectoryPage from(uint32_t word) { return {word & ((1u << kPageBits) - 1), word >> kPageBits}; }
    uint32_t word() const { return static_cast<uint32_t>(page) | prefix << kPageBits; }
    /// Reference of the name that stands for an entry of a directory of this depth.
    uint64_t name_at(uint64_t entry, unsigned depth) const {
        const uint64_t within = entry >> (depth - kDirectoryChunkDepthMax - prefix) & ((1u << kDirectoryChunkDepthMax) - 1);
        return (page << kPageShift) + within * sizeof(uint32_t);
    }
};
static_assert(sizeof(uint32_t) << kDirectoryChunkDepthMax == kPageBytes);
static_assert(kReserveBytesDefault >> kPageShift <= 1ull << DirectoryPage::kPageBits);

// --- what a key costs -------------------------------------------------------------------------------------------------

/// Bytes over key and value, for a key of 16 bytes with a value of 64, item by item. tests/bench/memory.py measures it.
namespace budget {
inline constexpr double kKeys = 1e6;             ///< from here on; fixed parts weigh more in smaller stores
inline constexpr uint32_t kEntry = sizeof(ItemHeader) + 16 + 64;
inline constexpr double kHeader = sizeof(ItemHeader);
/// Classes are 8 bytes apart up to 128, so an entry of a multiple of 8 wastes nothing.
inline constexpr double kRounding = class_bytes(class_for(kEntry)) - kEntry;
/// What is left of a page behind its last chunk, and its descriptor.
inline constexpr double kPageShare =
    static_cast<double>(kPageBytes % class_bytes(class_for(kEntry)) + sizeof(PageDescriptor)) / (kPageBytes / class_bytes(class_for(kEntry)));
/// Six bytes a slot, a version of eight and two spare bytes for nine slots. A segment is 99.5 % full when it splits, and
/// its halves are half full then; segments fill alike, but do not all split at the same time, so the whole index is never
/// worse than 13.1 bytes a key (tests/model/README.md).
inline constexpr double kFillAtSplit = 0.995;
inline constexpr double kIndexBest = kIndexSegmentBytes / (kBuckets * kSlots * kFillAtSplit);
inline constexpr double kIndexWorst = 13.1;
/// Four bytes a segment, which hold for a directory that was doubled for the first of its splits: eight.
inline constexpr double kDirectory = 2 * sizeof(uint32_t) / (kBuckets * kSlots * kFillAtSplit / 2);
/// Page 0, the journal, the oplog ring; and beside the store two rings of the default size for each of two io_conn, counters
/// and client rows.
inline constexpr double kFixed = (2.0 * kPageBytes + 512 * 1024 + 2 * 2 * 1024 * 1024 + 256 * 1024) / kKeys;
/// Pages taken from the system ahead of need, at most 16, and the eight of the reserve.
inline constexpr double kAhead = 24.0 * kPageBytes / kKeys;
inline constexpr double kWorst = kHeader + kRounding + kPageShare + kIndexWorst + kDirectory + kFixed + kAhead;
static_assert(kWorst <= 28);
}  // namespace budget

// --- root -------------------------------------------------------------------------------------------------------------

struct DatabaseWords {
    uint64_t route;
    uint64_t keys;
    uint64_t expires;   ///< keys that have an expiry
    uint64_t checksum;  ///< data_checksum.h (T10)
};

/// What is committed of a channel (T5).
struct ChannelWords {
    uint64_t generation;    ///< of the io_conn process whose rings these are; 0 = none
    uint64_t request_head;
    uint64_t reply_tail;
    uint64_t records;       ///< reference of the first reply record
};

inline constexpr unsigned kLiveWords = 48;
inline constexpr unsigned kLiveTexts = 4;
inline constexpr uint64_t kLiveTextBytesMax = 512;

/// An option that can be changed while the group runs (live_options.h).
struct LiveWord {
    uint64_t value;
    uint64_t configured;  ///< what the configuration said when md looked last, + 1; 0 = it was never looked at
};

/// CLIENT PAUSE: until when commands wait, and which. A word of 0 is no pause.
struct PauseWord {
    int64_t until_ms;
    bool all;  ///< or only those that write

    static PauseWord from(uint64_t word) { return {static_cast<int64_t>(word >> 1), (word & 1) != 0}; }
    uint64_t word() const { return static_cast<uint64_t>(until_ms) << 1 | all; }
};

/// The same of an option that is a text; bytes behind `length` mean nothing.
struct LiveText {
    uint64_t length;      ///< bytes
    uint64_t configured;  ///< hash of what the configuration said when md looked last, not 0; 0 = it was never looked at
    std::array<uint64_t, kLiveTextBytesMax / 8> words;
};

struct Root {
    alignas(kCacheLineDistance) uint64_t hash_seed;
    uint64_t oplog_bytes;                                    ///< capacity of the oplog ring
    uint64_t executing;  ///< the request under way, these five: md/poison.h
    uint64_t faulted;
    uint64_t attempted;
    uint64_t attempts;
    uint64_t faults_between;
    alignas(kCacheLineDistance) std::atomic<uint64_t> committed;  ///< number of the list that is to be applied; 0 = none
    alignas(kCacheLineDistance) uint64_t number;             ///< of the last commit
    uint64_t frontier;                                       ///< pages from this number on were never used
    uint64_t free_pages;                                     ///< first page of the list | count << 32
    uint64_t holes;                                          ///< the same
    uint64_t used_bytes;                                     ///< chunks and whole pages in use
    uint64_t garbage;                                        ///< reference of the first in the garbage list
    uint64_t oplog_tail;                                     ///< bytes ever written to the oplog (oplog_ring.h), these eight
    uint64_t oplog_released;                                 ///< position before which nobody reads any more
    uint64_t oplog_on;                                       ///< 1: somebody follows
    uint64_t oplog_started;                                  ///< position at which it was switched on last
    uint64_t log_loaded;                                     ///< number of the last record that was loaded from the log on disk
    uint64_t unlogged;                                       ///< 1: data has changed since it was switched off
    uint64_t oplog_gap;                                      ///< number before which it has not everything: when it was switched on last after such changes; 0: never
    uint64_t oplog_from_empty;                               ///< 1: there were no keys when it was switched on last
    uint64_t loading;                                        ///< 1: data is loaded from disk, and what is here is not all of it
    uint64_t oplog_records;                                  ///< reference of the first record that the ring refers to
    std::array<DatabaseWords, kDatabases> databases;
    std::array<uint64_t, kClasses> partial;                  ///< first page of each class that has room
    std::array<ChannelWords, kMaxIoConns> channels;
    alignas(kCacheLineDistance) uint64_t live_version;       ///< of all live options together, like that of a bucket (T3); 0: there are none yet
    std::array<LiveWord, kLiveWords> live;
    std::array<LiveText, kLiveTexts> live_texts;
    alignas(kCacheLineDistance)
    uint64_t marks_kept;   ///< MarkKind (marks.h)
    uint64_t index_pages;  ///< pages of index segments
    uint64_t pause;        ///< PauseWord
    uint64_t statistics_resets;  ///< times that CONFIG RESETSTAT was called
    uint64_t routed_at;       ///< number of the last commit that emptied or swapped databases
    uint64_t swapped_at;      ///< number of the last commit that swapped databases
    uint64_t stream_number;      ///< of what a follower has from its master, these five: repl_words.h
    uint64_t stream_database;
    uint64_t second_history_end; ///< stream number up to which the second history is this one, too
    std::array<uint64_t, 5> history;         ///< 40 hexadecimal digits
    std::array<uint64_t, 5> second_history;  ///< the one before; zeros: there is none
    uint64_t checksums_kept;  ///< T10
    uint64_t expiry_is_off;  ///< 1: keys whose time is over lie until somebody meets them (DEBUG SET-ACTIVE-EXPIRE)
    alignas(kCacheLineDistance) PairWords pair;  ///< pair_layout.h
};
inline constexpr uint64_t kPauseAt = kRootAt + offsetof(Root, pause);
inline constexpr uint64_t kPairAt = kRootAt + offsetof(Root, pair);
inline constexpr uint64_t kShownAt = kPairAt + offsetof(PairWords, shown);
inline constexpr uint64_t kRefusedAt = kPairAt + offsetof(PairWords, refused_to);
inline constexpr uint64_t kStatisticsResetsAt = kRootAt + offsetof(Root, statistics_resets);
constexpr uint64_t live_word_at(unsigned index) {
    return kRootAt + offsetof(Root, live) + index * sizeof(LiveWord) + offsetof(LiveWord, value);
}
inline constexpr uint64_t kLiveVersionAt = kRootAt + offsetof(Root, live_version);
constexpr uint64_t live_text_at(unsigned index) { return kRootAt + offsetof(Root, live_texts) + index * sizeof(LiveText); }
static_assert(kRootAt + sizeof(Root) <= kPageBytes);

/// The commit list: touched buckets first, then words. What does not fit here goes on in pages from `overflow` on, which
/// are backed, never used, and left so.
struct JournalEntry {
    uint64_t offset;
    uint64_t value;
};
struct JournalHeader {
    uint64_t number;
    uint64_t buckets;   ///< entries of which only the offset counts
    uint64_t words;
    uint64_t overflow;  ///< page number, 0 = none, kOverflowInTable: the pages are free ones, because there is no other memory
    std::array<uint32_t, 32> overflow_pages;  ///< their numbers
};
inline constexpr uint64_t kOverflowInTable = ~uint64_t{0};
inline constexpr uint64_t kJournalEntries = (kPageBytes - sizeof(JournalHeader)) / sizeof(JournalEntry);
inline constexpr uint64_t kOverflowEntries = kPageBytes / sizeof(JournalEntry);

inline constexpr uint64_t kStoreLayout =
    layout_hash("store-10", {sizeof(Root), offsetof(Root, committed), offsetof(Root, number), offsetof(Root, databases),
                            offsetof(Root, partial), offsetof(Root, channels), offsetof(Root, live), offsetof(Root, live_texts), offsetof(Root, pair), sizeof(WindowEntry), sizeof(LargeItem), sizeof(ReplyRecord),
                            sizeof(ClearedDatabase), sizeof(JournalHeader), kClasses, kBuckets, kSlots, kPageBytes, kJournalAt, kOplogAt,
                            kDirectoryChunkDepthMax, DirectoryPage::kPageBits});

}  // namespace millrace::store
