// Eviction: which keys go when maxmemory is reached, and when. Runs in md.
//
// No list of keys is kept in any order. Keys are sampled, and the best of what was seen lately stay in a small pool, from which the
// victims are taken (as Redis does it since 3.0). A sample is a whole bucket: its keys and their marks (common/marks.h) lie in three
// cache lines, which are asked for one eviction ahead.
//   lru     the longest unused, but a key that was never used again counts as kOnceFactor times as long unused: what a scan brings in goes
//           before what is in use (the thought of 2Q and S3-FIFO; it also helps where nobody scans)
//   lfu     the least often used by the counter; of equals the longest unused
//   random  any
//   ttl     the one that expires next
// Each eviction is a commit of its own, with the key's removal in the oplog. Nothing is remembered beyond md.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "md/store.h"

namespace millrace::md {

class Evictor {
  public:
    /// How much more a key weighs that was never used again. 4 is where the sum of scans, Zipf 0.9 and Zipf 1.1 gains most before new keys
    /// have too short a time to be used again (tests/bench/hit_ratio.py).
    static constexpr uint64_t kOnceFactor = 4;

    explicit Evictor(Store& store);

    /// Whether the store has more than maxmemory.
    bool over_limit() const {
        const int64_t limit = store_.live_number(OptionId::maxmemory);
        return limit != 0 && store_.counted_bytes() > static_cast<uint64_t>(limit);
    }
    /// Whether it has so much more that a command that needs memory has to wait for longer.
    bool far_over_limit() const {
        const auto limit = static_cast<uint64_t>(store_.live_number(OptionId::maxmemory));
        return store_.counted_bytes() > limit + limit / kFarShare;
    }
    /// `enough`: the limit is kept; `time_over`: not yet, but keys are left that may go; `nothing_left`: none may go.
    enum class Outcome { enough, time_over, nothing_left };
    /// Evicts until the limit is kept or so much time has gone. REQUIRES: no operation.
    Outcome make_room(uint64_t microseconds);

    /// Keys evicted since the last call.
    uint64_t take_evicted() { return std::exchange(evicted_, 0); }

  private:
    static constexpr int64_t kSamplesMax = 64;
    static constexpr unsigned kPool = 16;
    static constexpr unsigned kLookAtClockEvery = 16;  ///< evictions
    static constexpr unsigned kFreeSlice = 64;         ///< entries of garbage at once
    static constexpr uint64_t kFarShare = 16;          ///< 1/16 of the limit beyond it is far
    /// Buckets that are sampled at random before one after the other is looked at: where few keys may go, luck takes too long.
    static constexpr unsigned kRandomBuckets = 16;
    static constexpr unsigned kWalkBuckets = 1024;     ///< of which so many at a time

    /// A bucket, and a hash whose way through the directory leads to its segment: as long as it does, the bucket is in use.
    struct Place {
        unsigned database;
        st::KeyPlace via;
        uint64_t bucket_at;
    };
    struct Candidate {
        Place place;
        unsigned slot;
        uint64_t bits;   ///< of the slot
        uint64_t score;  ///< the highest goes first
    };

    bool evict_one();
    bool may_any_go() const;
    bool is_by_chance() const;
    uint64_t eligible(unsigned database) const;
    std::optional<Place> random_place();
    void choose_next();
    unsigned take_sample(const Place& place);
    bool walk();
    void enter(const Candidate& candidate);
    bool is_in_use(const Place& place) const;
    bool still_stands(const Candidate& candidate);
    uint64_t score(const Place& place, unsigned slot, st::Slot content);

    Store& store_;
    MarkDice dice_;
    EvictionPolicy policy_ = EvictionPolicy::noeviction;
    std::vector<Candidate> pool_;  ///< by score, the highest last
    std::optional<Place> next_;    ///< the next sample, whose lines have been asked for
    uint64_t evicted_ = 0;
    // Where walk() goes on.
    unsigned walk_database_ = 0;
    uint64_t walk_entry_ = 0;
    unsigned walk_bucket_ = 0;
};

}  // namespace millrace::md
