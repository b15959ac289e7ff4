// Effects: what operations did, with absolute values. One encoding for the oplog ring, the log on disk, and replicas.
//
// An operation's effects follow each other, each padded with zeros to 8 bytes: EffectHeader, key, value. Done again in their order on
// what was before, they give what was after; done again on anything between, they give the same, because
//   X1  `set`, `erase`, `clear_database` and `set_expiry` say what is then, not how it came about;
//   X2  `write_range` replaces bytes and lengthens, and follows in the log on what it was made on; a chunk that moves is logged whole;
//   X3  `swap_databases` is the one that must not be done twice: a snapshot during which one happens begins anew.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/layout.h"

namespace millrace {

enum class EffectKind : uint8_t {
    set = 1,
    erase = 2,
    clear_database = 3,
    swap_databases = 5,
    write_range = 6,  ///< of the value bytes from `offset` on become these; it grows if they end behind it; expiry stays
    set_expiry = 7,   ///< the value stays
};

struct EffectHeader {
    EffectKind kind;
    uint8_t database;
    uint16_t other;         ///< of swap_databases, the second one
    uint32_t key_length;    ///< bytes
    uint64_t value_length;  ///< bytes
    int64_t expire_at_ms;   ///< -1 = none; of write_range, the offset

    uint64_t offset() const { return static_cast<uint64_t>(expire_at_ms); }
};
static_assert(sizeof(EffectHeader) == 24);

/// One effect; views into the bytes that it was read from.
struct Effect {
    EffectHeader header;
    std::string_view key, value;
};

/// Reads an operation's effects. Lengths are input: what does not fit is a fault and ends it.
class EffectReader {
  public:
    explicit EffectReader(std::string_view bytes) : left_(bytes) {}
    /// False at the end, and at a fault.
    bool next(Effect& effect);
    bool faulty() const { return faulty_; }

  private:
    std::string_view left_;
    bool faulty_ = false;
};

}  // namespace millrace
