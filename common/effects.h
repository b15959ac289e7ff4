// Effects: what operations did to the data, as bytes. One codec for md's oplog, the log on disk and replicas.
//
// The effects of one operation stand one after the other: EffectHeader, key, value, and zeros up to a multiple of 8 bytes.
// Invariants:
//   E1  An effect is absolute: it says what is there afterwards and not what to do with what was there. So effects may be applied
//       twice, and from any point of the data that has all effects before them.
//   E2  The lengths in a header are input. EffectReader gives an effect only if all of it lies in the bytes, and nothing behind one that
//       does not.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

enum class EffectKind : uint8_t {
    set = 1,             ///< the key has this value and this expiry
    erase = 2,           ///< the key is not there
    clear_database = 3,  ///< the database has no keys
    swap_databases = 5,  ///< `database` and `other` have each other's keys
    set_expiry = 7,      ///< the key has this expiry; the value stays
    origin = 8,          ///< no change: the record has this stream number (repl_words.h), in place of an expiry, and this stream database
    checksum = 9,        ///< no change: that of all data before this record is this one, in place of an expiry. `other` is 1 if it is to be taken anew from the data
    write_range = 6,     ///< bytes [offset, offset + value_length) of the key's value are these; the value grows if they end behind it; the expiry stays
};

struct EffectHeader {
    EffectKind kind;
    uint8_t database;
    uint16_t other;  ///< of swap_databases, the second one; of checksum, whether it is to be taken anew; else 0
    uint32_t key_length;
    uint64_t value_length;
    int64_t expire_at_ms;  ///< ms since the Unix epoch, -1: none; of write_range the offset, which is at most the length that the value had; of origin the number, of checksum that

    uint64_t stream_number() const { return static_cast<uint64_t>(expire_at_ms); }
    uint64_t checksum() const { return static_cast<uint64_t>(expire_at_ms); }
    uint64_t offset() const { return static_cast<uint64_t>(expire_at_ms); }
};
static_assert(sizeof(EffectHeader) == 24);

struct Effect {
    EffectHeader header;
    std::string_view key, value;

    /// What a write_range makes of a value's bytes.
    void write_into(std::string& bytes) const;
};

inline constexpr unsigned kEffectDatabases = 16;
inline constexpr uint64_t kEffectBytesMax = 512ull * 1024 * 1024;  ///< of a key, of a value, and of what a write_range makes of a value

/// Bytes of an effect with its header and the zeros behind it.
constexpr uint64_t effect_bytes(uint64_t key_length, uint64_t value_length) {
    return (sizeof(EffectHeader) + key_length + value_length + 7) / 8 * 8;
}

/// Appends an effect; the lengths in `header` are put in here.
void append_effect(std::string& bytes, EffectHeader header, std::string_view key, std::string_view value);

/// Gives the effects of one operation in order. Keys and values point into the bytes that it was made with, which may have any alignment.
class EffectReader {
  public:
    explicit EffectReader(std::string_view bytes) : rest_(bytes) {}

    /// False at the end or at a fault (E2).
    bool next(Effect& effect);
    /// Whether the bytes are not only effects: one is cut short, of an unknown kind, or has impossible numbers.
    bool faulty() const { return faulty_; }

  private:
    std::string_view rest_;
    bool faulty_ = false;
};

}  // namespace millrace
