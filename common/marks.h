// Marks: when a key was last used and how often, which is what eviction under an LRU or LFU policy decides by. Written by io_conn (for
// reads that it answers itself) and by md (for everything else); read by md.
//
// A segment of its own, because io_conn may not write to the store. It has a word of 32 bits for each slot of the index: those of the
// bucket at offset b of the store lie at kSegmentPayload + b / 64 * 36. So a page of index segments has 36 KiB of marks, whole
// pages of the system; all else of the segment is a hole. While the policy needs no marks nothing of it is backed.
// A mark is
//   lru   31 bits of time in 1/64 s since the host started (a year), and the bit "used again since the key was put in"
//   lfu   24 bits of time in 1/4 s (48 days), and 8 bits of a counter that rises with its logarithm (Morris 1978) and falls with time, as
//         Redis has it (lfu-log-factor, lfu-decay-time)
// Invariants:
//   M1  A mark is a hint. Nothing depends on it but which key is evicted. So it may have several writers, which store it whole and
//       in relaxed order, and is in no commit; one that is lost, or is that of the key before, does no harm.
//   M2  While the root's word `marks_kept` names a kind, marks are of that kind, and those of every page of index segments that a reader
//       may find are backed. So writing a mark takes no memory from a full system.
//   M3  Order when a kind begins: marks of all pages of index segments backed and filled, those of pages that are taken meanwhile too
//       -> commit `marks_kept`. When it ends: commit `marks_kept` = none -> nobody reads who began before (T9 of store_layout.h) -> memory
//       given back. A page of index segments gets its marks before it is linked, and loses them when it becomes something
//       else, which is when nobody reads who can have found it (T9).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>

#include "common/layout.h"
#include "common/segment.h"
#include "common/store_layout.h"

namespace millrace {

/// What happens beyond maxmemory, in the order of the option's choices.
enum class EvictionPolicy : uint64_t {
    volatile_lru, volatile_lfu, volatile_random, volatile_ttl, allkeys_lru, allkeys_lfu, allkeys_random, noeviction
};

inline constexpr unsigned kEvictionPolicies = static_cast<unsigned>(EvictionPolicy::noeviction) + 1;

/// Whether only keys that have an expiry may go.
constexpr bool is_volatile(EvictionPolicy policy) {
    return policy <= EvictionPolicy::volatile_ttl;
}

enum class MarkKind : uint64_t { none, lru, lfu };

/// The marks that a policy needs.
constexpr MarkKind marks_of(EvictionPolicy policy) {
    switch (policy) {
        case EvictionPolicy::allkeys_lru:
        case EvictionPolicy::volatile_lru: return MarkKind::lru;
        case EvictionPolicy::allkeys_lfu:
        case EvictionPolicy::volatile_lfu: return MarkKind::lfu;
        default: return MarkKind::none;
    }
}

/// How marks of one kind are made and read.
struct MarkRules {
    MarkKind kind = MarkKind::none;
    uint32_t lfu_log_factor = 10;
    uint32_t lfu_decay_minutes = 1;  ///< 0: the counter never falls

    static constexpr uint32_t kTicksPerSecond = 64;
    static constexpr uint32_t kTicksPerLfuTick = 16;
    static constexpr uint32_t kLfuTicksPerMinute = 60 * kTicksPerSecond / kTicksPerLfuTick;
    static constexpr uint32_t kLfuFirst = 5;  ///< counter of a new key
    static constexpr uint32_t kLfuMax = 255;
    static constexpr uint32_t kLfuTimeMask = 0xffffff;

    /// The time that marks count in, 1/64 s.
    static uint32_t now() {
        timespec time;
        clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
        return static_cast<uint32_t>(time.tv_sec) * kTicksPerSecond + static_cast<uint32_t>(time.tv_nsec / (1'000'000'000 / kTicksPerSecond));
    }

    /// The mark of a key that was just put in.
    uint32_t fresh(uint32_t now) const {
        return kind == MarkKind::lfu ? (now / kTicksPerLfuTick) << 8 | kLfuFirst : now << 1;
    }
    /// The mark of a key that was just used. `random`: any 32 bits, of which the LFU counter makes use.
    uint32_t used(uint32_t mark, uint32_t now, uint32_t random) const {
        if (kind != MarkKind::lfu) return now << 1 | 1;
        uint32_t counter = frequency(mark, now);
        const uint64_t odds = uint64_t{counter > kLfuFirst ? counter - kLfuFirst : 0} * lfu_log_factor + 1;  // 1 : odds
        if (counter < kLfuMax && random < (1ull << 32) / odds) ++counter;
        return (now / kTicksPerLfuTick) << 8 | counter;
    }
    /// The LRU mark of a key that was last used so many seconds ago; the longest time that marks can tell if it is longer.
    uint32_t idle_since(uint32_t now, int64_t seconds) const {
        constexpr int64_t kSecondsMax = (uint32_t{1} << 31) / kTicksPerSecond - 1;
        return used(0, now - static_cast<uint32_t>(seconds < kSecondsMax ? seconds : kSecondsMax) * kTicksPerSecond, 0);
    }
    /// The LFU mark of a key with this counter.
    uint32_t with_frequency(uint32_t now, uint32_t counter) const { return (now / kTicksPerLfuTick) << 8 | counter; }
    /// Time since the last use, 1/64 s.
    uint32_t idle(uint32_t mark, uint32_t now) const {
        if (kind == MarkKind::lfu) return ((now / kTicksPerLfuTick - (mark >> 8)) & kLfuTimeMask) * kTicksPerLfuTick;
        return ((now << 1) - (mark & ~1u)) >> 1;
    }
    /// LRU: whether the key was used since it was put in.
    static bool used_again(uint32_t mark) { return (mark & 1) != 0; }
    /// LFU: the counter as it is now.
    uint32_t frequency(uint32_t mark, uint32_t now) const {
        const uint32_t counter = mark & 0xff;
        if (lfu_decay_minutes == 0) return counter;
        const uint64_t fallen = ((now / kTicksPerLfuTick - (mark >> 8)) & kLfuTimeMask) / (uint64_t{kLfuTicksPerMinute} * lfu_decay_minutes);
        return fallen >= counter ? 0 : counter - static_cast<uint32_t>(fallen);
    }
};

/// The mapped marks. Whoever calls has made sure of M2.
class MarkTable {
  public:
    static constexpr uint64_t kBytesPerBucket = store::kSlots * sizeof(uint32_t);
    static constexpr uint64_t kBytesPerPage = store::kPageBytes / store::kBucketBytes * kBytesPerBucket;
    static_assert(kBytesPerPage % kPageSize == 0);

    MarkTable() = default;
    /// `base`: the segment's first byte.
    explicit MarkTable(std::byte* base) : base_(base) {}

    /// Bytes of a segment for a store of so many bytes.
    static constexpr uint64_t segment_bytes(uint64_t store_bytes) { return offset_of(store_bytes); }
    /// Where the marks of a bucket begin, or with a page's offset those of the page; bytes from the segment's start.
    static constexpr uint64_t offset_of(uint64_t bucket_at) { return kSegmentPayload + bucket_at / store::kBucketBytes * kBytesPerBucket; }

    uint32_t read(uint64_t bucket_at, unsigned slot) const { return word(bucket_at, slot).load(std::memory_order_relaxed); }
    void write(uint64_t bucket_at, unsigned slot, uint32_t mark) const { word(bucket_at, slot).store(mark, std::memory_order_relaxed); }
    /// Notes that a key was used. A mark that would not change is not written: its line stays with those who read it.
    void use(const MarkRules& rules, uint64_t bucket_at, unsigned slot, uint32_t now, uint32_t random) const {
        const uint32_t old = read(bucket_at, slot), mark = rules.used(old, now, random);
        if (mark != old) write(bucket_at, slot, mark);
    }
    void prefetch(uint64_t bucket_at) const {
        __builtin_prefetch(base_ + offset_of(bucket_at));
        __builtin_prefetch(base_ + offset_of(bucket_at) + kBytesPerBucket - 1);
    }

  private:
    std::atomic_ref<uint32_t> word(uint64_t bucket_at, unsigned slot) const {
        return std::atomic_ref<uint32_t>(reinterpret_cast<uint32_t*>(base_ + offset_of(bucket_at))[slot]);
    }

    std::byte* base_ = nullptr;
};

/// Random numbers for the counters of one process (xorshift, Marsaglia 2003); of no use for anything that has to be unknown.
class MarkDice {
  public:
    explicit MarkDice(uint64_t seed) : state_(seed | 1) {}
    uint64_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_ * 0x2545f4914f6cdd1dull;
    }
    uint32_t next_half() { return static_cast<uint32_t>(next() >> 32); }

  private:
    uint64_t state_;
};

inline constexpr uint64_t kMarksLayout =
    layout_hash("marks-1", {MarkTable::kBytesPerBucket, MarkRules::kTicksPerSecond, MarkRules::kTicksPerLfuTick, store::kPageBytes});

}  // namespace millrace
