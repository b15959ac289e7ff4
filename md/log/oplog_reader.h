// Reads the oplog's ring (common/oplog_ring.h). Runs in md_log.
//
// What is between `oplog_released` and `oplog_tail` does not change, and neither does what it refers to (O1, O3), so records are read where they
// lie. The tail is taken first, with acquire.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/store_reader.h"

namespace millrace::md_log {

/// A record of an operation: its effects in pieces, which lie in the store until md has heard that the record was read.
struct OplogEntry {
    uint64_t number = 0;
    uint64_t bytes = 0;  ///< of the record in the ring
    uint64_t effect_bytes = 0;
    std::vector<std::string_view> pieces;
};

class OplogReader {
  public:
    explicit OplogReader(const StoreReader& store) : store_(store) {}

    uint64_t tail() const { return store_.root(offsetof(st::Root, oplog_tail)); }
    /// The record at a position before the tail. Throws Error when it is none: the store is damaged.
    void read(uint64_t position, uint64_t tail, OplogEntry& entry) const;

  private:
    void copy(uint64_t position, void* to, uint64_t count) const;
    void add_ring_pieces(uint64_t position, uint64_t count, OplogEntry& entry) const;
    void add_chain(uint64_t record, OplogEntry& entry) const;
    void add_value(uint64_t item, uint64_t length, OplogEntry& entry) const;
    void add(uint64_t reference, uint64_t bytes, OplogEntry& entry) const;

    const StoreReader& store_;
};

}  // namespace millrace::md_log
