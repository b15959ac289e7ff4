// The oplog: what operations did, as effects with absolute values, in a ring in the store segment. Runs in md.
//
// A record is one operation: u32 length of the whole record (a multiple of 8), u32 effects, u64 number of the commit, then the
// effects: u8 kind, u8 database, u16 0, u32 key length, u64 value length, i64 expiry, key, value, padded to 8 bytes.
// A value that would make the record longer than an eighth of the ring is not in it: kind set_by_reference says so, and the
// value is found under its key in the store while the bucket has the record's number.
// The record is written beyond `oplog_tail`, where no reader looks, and the tail moves in the operation's commit (T1).
// There is no consumer yet that the ring would have to wait for: old records are written over.
#pragma once

#include <string_view>

#include "md/value.h"
#include "md/write_set.h"

namespace millrace::md {

enum class EffectKind : uint8_t { set = 1, erase = 2, clear_database = 3, set_by_reference = 4, swap_databases = 5 };

struct EffectHeader {
    EffectKind kind;
    uint8_t database;
    uint16_t other;  ///< of swap_databases, the second one
    uint32_t key_length;
    uint64_t value_length;
    int64_t expire_at_ms;
};
static_assert(sizeof(EffectHeader) == 24);

struct OplogRecord {
    uint32_t bytes;
    uint32_t effects;
    uint64_t number;
};
static_assert(sizeof(OplogRecord) == 16);

class Oplog {
  public:
    Oplog(const StoreMemory& memory, WriteSet& set) : memory_(memory), set_(set) {}

    /// Starts the record of an operation.
    void begin();
    void add_set(unsigned database, std::string_view key, const Value& value);
    void add_erase(unsigned database, std::string_view key) { add(EffectKind::erase, database, key, {}); }
    void add_clear(unsigned database) { add(EffectKind::clear_database, database, {}, {}); }
    void add_swap(unsigned database, unsigned other) { add(EffectKind::swap_databases, database, {}, {}, other); }
    /// Ends the record; the tail moves with the commit that has this number. Nothing if there were no effects.
    void end(uint64_t number);

    uint64_t capacity() const { return memory_.root().oplog_bytes; }

  private:
    void add(EffectKind kind, unsigned database, std::string_view key, const Value& value, unsigned other = 0);
    void put(const void* bytes, uint64_t count);

    const StoreMemory& memory_;
    WriteSet& set_;
    uint64_t start_ = 0, at_ = 0;
    uint32_t effects_ = 0;
};

}  // namespace millrace::md
