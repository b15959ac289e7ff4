// A snapshot on disk: all keys at one time, from which a start or a replica goes on with the log. Written and read once, in order.
//
// A file snapshot-<start> is a SnapshotHeader and blocks, each a BlockHeader, stored bytes and zeros up to a multiple of 8; all little-endian.
// The raw bytes of all data blocks, one after the other, are items: ItemHeader, key, value, with nothing between; an item may begin
// in one block and end in another, so a value of any size takes no more memory than a block when it is written. Blocks are stored as they are, or by zstd.
// Invariants:
//   S1  A file has its name only when it is whole and durable; before it is NAME.partial. Its last 48 bytes are the end block: without it, it is no snapshot.
//   S2  An item has the effects of every commit up to its `stamp` and of none behind it. A snapshot is made while commits go on, so stamps differ,
//       and are between `start` and the end block's `end`. The data is that of one moment again when the log was applied to beyond `end`,
//       to each key what is behind its stamp.
//   S3  A key may occur more than once: the occurrence with the highest stamp counts.
//   S4  Checksums of blocks begin with that of the file's header, so blocks of another file do not pass for this one's. What a checksum does not
//       fit is damage, and so is all behind it: items given before are right.
//   S5  Every number in a file is input: a block is at most kBlockBytesMax and no longer than what is left of the file, and an item takes memory as its bytes
//       come, not as its header says.
//   S6  A file of a higher version is refused and never changed.
#pragma once

#include <cstdint>

#include "common/disk/crc.h"
#include "common/effects.h"
#include "common/layout.h"

namespace millrace::disk {

inline constexpr char kSnapshotMagic[9] = "mrSNAP\x1a\n";
inline constexpr uint32_t kSnapshotVersion = 1;
inline constexpr uint64_t kSnapshotZstd = 1;              ///< flag: blocks may be packed
inline constexpr uint64_t kBlockBytesMax = 1024 * 1024;   ///< raw bytes of a data block

struct SnapshotHeader {
    char magic[8];
    uint32_t version;
    uint32_t crc;  ///< of this header with 0 here
    uint64_t instance;
    uint64_t start;
    int64_t created_ms;  ///< ms since the Unix epoch
    uint64_t flags;
    uint64_t stream;  ///< stream number at `start` (common/repl_words.h); 0: the same as `start`, unless a stream database is there
    uint64_t stream_database;  ///< of a follower, and 1 more; 0: there is none
};
static_assert(sizeof(SnapshotHeader) == 64);

enum class BlockKind : uint32_t { raw = 1, zstd = 2, end = 3 };

struct BlockHeader {
    uint32_t crc;  ///< of the rest of this header and the stored bytes, see S4
    BlockKind kind;
    uint64_t stored_bytes;
    uint64_t raw_bytes;
};
static_assert(sizeof(BlockHeader) == 24);

/// What an end block stores.
struct SnapshotEnd {
    uint64_t items;
    uint64_t end;  ///< the log has to reach at least this number (S2)
    int64_t ended_ms;
};
static_assert(sizeof(SnapshotEnd) == 24);

struct ItemHeader {
    uint8_t database;
    uint8_t zero[3];
    uint32_t key_length;
    uint64_t value_length;
    uint64_t stamp;
    int64_t expire_at_ms;  ///< -1: none
};
static_assert(sizeof(ItemHeader) == 32);

inline constexpr uint64_t kEndBlockBytes = sizeof(BlockHeader) + sizeof(SnapshotEnd);
inline constexpr uint64_t kItemPartMax = kEffectBytesMax;  ///< of a key, and of a value

/// Bytes that a block takes in a file.
constexpr uint64_t block_bytes(uint64_t stored) { return sizeof(BlockHeader) + round_up(stored, 8); }

inline uint32_t crc_of(SnapshotHeader header) {
    header.crc = 0;
    return crc32c_of(header, 0, 0);
}

/// The checksum up to the stored bytes, which go on from it. `seed`: SnapshotHeader::crc.
inline uint32_t crc_of(const BlockHeader& block, uint32_t seed) { return crc32c_of(block, sizeof block.crc, seed); }

}  // namespace millrace::disk
