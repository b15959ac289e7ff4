// The oplog ring: records of operations for those who follow md (md_log, later replicas), in the store segment from kOplogAt on.
// Written by md in the operation's commit (md/oplog.h), read by md/log/oplog_reader.h.
//
// A position counts bytes ever written; its place is the position modulo the ring's capacity. A record is an OplogRecord and its
// effects (effects.h), together a multiple of 8 bytes, and may go round the ring's end. What is longer than a quarter of the ring, or has a
// value that lies in extents, is a record by reference: the body is an OplogReference, and the effects are the bytes of that record's chain
// (ReplyRecord in store_layout.h), with the values of large items, which are pinned.
// Invariants:
//   O1  `oplog_tail` moves in the operation's commit, behind whole records (T1). Bytes between `oplog_released` and it are not written over.
//   O2  While `oplog_on` is 0 nothing is written, and the first change of data sets `unlogged`, as records do that nobody has read by then. When `oplog_on` becomes 1, `oplog_released` and `oplog_started`
//       are the tail, and if anything is unlogged, `oplog_gap` is the number of that commit: what ends before it does not go on here.
//   O3  What a record refers to stays as it is until md has released the record, which it does when all followers are behind it.
#pragma once

#include <cstdint>

namespace millrace {

struct OplogRecord {
    uint32_t bytes;         ///< of the whole record
    uint32_t by_reference;  ///< 1: an OplogReference follows
    uint64_t number;        ///< of the commit
};
static_assert(sizeof(OplogRecord) == 16);

struct OplogReference {
    uint64_t record;  ///< reference of the ReplyRecord
    uint64_t bytes;   ///< of all effects
};
static_assert(sizeof(OplogReference) == 16);

/// A record by itself takes at most this share of the ring.
inline constexpr uint64_t kOplogRecordShare = 4;

}  // namespace millrace
