// The oplog: writes what operations did into the ring (common/oplog_ring.h: layout and invariants). Runs in md.
//
// The effects of an operation are written behind the tail as they come. Once they are more than a record may have, or one has a value that lies
// in extents, what is there moves into parts, which end() leaves to the store to make a record by reference of.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/effects.h"
#include "common/oplog_ring.h"
#include "md/value.h"
#include "md/write_set.h"

namespace millrace::md {

/// A piece of a reply, or of an operation's effects, that does not go through a ring: bytes, then those of a value in extents.
struct ReplyPart {
    std::string fields;
    uint64_t item = 0;  ///< reference of a large item; 0 = none
    uint64_t item_length = 0;
};

class Oplog {
  public:
    Oplog(const StoreMemory& memory, WriteSet& set) : memory_(memory), set_(set) {}

    /// Whether anybody follows; else everything here does nothing.
    bool is_on() const { return memory_.root().oplog_on != 0; }
    /// Starts the record of an operation.
    void begin();
    /// `item`: where the value lies now; its extents are referred to if it is a large one.
    void add_set(unsigned database, std::string_view key, const Value& value, uint64_t item);
    void add_range(unsigned database, std::string_view key, uint64_t offset, std::string_view bytes);
    void add_expiry(unsigned database, std::string_view key, int64_t expire_at_ms);
    void add_erase(unsigned database, std::string_view key) { add({EffectKind::erase, narrow(database), 0, 0, 0, kNoExpiry}, key, {}); }
    /// The record has this stream number (common/repl_words.h), and not its own one.
    void add_origin(uint64_t number, uint64_t database) {
        origin_ = number;
        add({EffectKind::origin, narrow(static_cast<unsigned>(database)), 0, 0, 0, static_cast<int64_t>(number)}, {}, {});
    }
    /// What follows the record before has this checksum (Store::log_checksum).
    void add_checksum(uint64_t checksum, bool walks) { add({EffectKind::checksum, 0, walks, 0, 0, static_cast<int64_t>(checksum)}, {}, {}); }
    void add_clear(unsigned database) { add({EffectKind::clear_database, narrow(database), 0, 0, 0, kNoExpiry}, {}, {}); }
    void add_swap(unsigned database, unsigned other) { add({EffectKind::swap_databases, narrow(database), static_cast<uint16_t>(other), 0, 0, kNoExpiry}, {}, {}); }

    /// The effects as parts, if they do not go into the ring themselves; else empty.
    std::span<const ReplyPart> parts() const { return parts_; }
    uint64_t part_bytes() const { return part_bytes_; }
    /// Ends the record; the tail moves with the commit that has this number. Nothing if there were no effects. `record`: what the parts
    /// have become. False: the ring has no room.
    bool end(uint64_t number, uint64_t record = 0);

    uint64_t capacity() const { return memory_.root().oplog_bytes; }
    /// Copies bytes of the ring from a position on.
    void copy_out(uint64_t position, void* out, uint64_t count) const;
    /// Bytes that may be written now.
    uint64_t room() const { return capacity() - (set_.read(&memory_.root().oplog_tail) - set_.read(&memory_.root().oplog_released)); }

  private:
    /// A part's bytes fit a chunk.
    static constexpr size_t kPartBytes = 16 * 1024;

    static uint8_t narrow(unsigned database) { return static_cast<uint8_t>(database); }
    void add(EffectHeader header, std::string_view key, std::string_view value) { add(header, key, value, {}); }
    void add(EffectHeader header, std::string_view key, std::string_view value, std::string_view more);
    void begin_effect(EffectHeader& header, std::string_view key, uint64_t value_bytes);
    void end_effect();
    void spill();
    void put(const void* bytes, uint64_t count);

    const StoreMemory& memory_;
    WriteSet& set_;
    uint64_t start_ = 0, at_ = 0, limit_ = 0;  ///< positions; what is longer goes into parts
    uint64_t origin_ = 0;
    bool on_ = false, any_ = false, spilled_ = false;
    bool full_ = false;  ///< there is no room for any record: end() will say so
    std::vector<ReplyPart> parts_;
    uint64_t part_bytes_ = 0;
};

}  // namespace millrace::md
