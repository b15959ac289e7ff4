// See evictor.h. Runs in md.
#include "md/evictor.h"

#include <algorithm>
#include <limits>

#include "common/clock.h"

namespace millrace::md {

Evictor::Evictor(Store& store) : store_(store), dice_(store.memory().root().hash_seed ^ store.memory().root().number) { pool_.reserve(kPool + 1); }

/// Whether one key is as good as another: also as long as the marks are not ready.
bool Evictor::is_by_chance() const { return policy_ != EvictionPolicy::volatile_ttl && (marks_of(policy_) == MarkKind::none || store_.marks().kept() != marks_of(policy_)); }

/// Keys of a database that may go.
uint64_t Evictor::eligible(unsigned database) const {
    return is_volatile(policy_) ? store_.keys_with_expiry(database) : store_.keys(database);
}

bool Evictor::may_any_go() const {
    for (unsigned database = 0; database < kDatabases; ++database)
        if (eligible(database) != 0) return true;
    return false;
}

Evictor::Outcome Evictor::make_room(uint64_t microseconds) {
    if (!over_limit()) return Outcome::enough;
    if (const EvictionPolicy policy = store_.policy(); policy != policy_) {
        policy_ = policy;
        pool_.clear();
        next_.reset();
    }
    if (policy_ == EvictionPolicy::noeviction) return Outcome::nothing_left;
    store_.marks().look(store_.memory());
    const uint64_t until_us = monotonic_us() + microseconds;
    for (unsigned done = 1; over_limit(); ++done) {
        // What was evicted and is large is freed in slices: until then it counts.
        if (!store_.free_some(kFreeSlice) && over_limit()) {
            if (!may_any_go()) return Outcome::nothing_left;
            evict_one();
            store_.drop_empty_index();  // it counts as well
        }
        if (done % kLookAtClockEvery == 0 && monotonic_us() >= until_us) return over_limit() ? Outcome::time_over : Outcome::enough;
    }
    return Outcome::enough;
}

/// False: none was found this time.
bool Evictor::evict_one() {
    const auto samples = static_cast<unsigned>(std::min(store_.live_number(OptionId::maxmemory_samples), kSamplesMax));
    unsigned seen = 0;
    for (unsigned buckets = 0; seen < samples && buckets < kRandomBuckets; ++buckets) {
        if (!next_) choose_next();
        // Asked for some time ago: it may be something else by now.
        if (next_ && is_in_use(*next_)) seen += take_sample(*next_);
        choose_next();
    }
    if (pool_.empty() && !walk()) return false;
    while (!pool_.empty()) {
        const Candidate best = pool_.back();
        pool_.pop_back();
        if (!still_stands(best)) continue;
        if (!store_.evict(best.place.database, {best.place.bucket_at, best.slot, st::Slot::from(best.bits)})) return false;
        ++evicted_;
        return true;
    }
    return false;
}

/// A bucket of a database, of each database by the number of its keys that may go. Each part of the range of hashes is equally likely,
/// so each key is.
std::optional<Evictor::Place> Evictor::random_place() {
    uint64_t sum = 0;
    for (unsigned database = 0; database < kDatabases; ++database) sum += eligible(database);
    if (sum == 0) return std::nullopt;
    uint64_t chosen = dice_.next() % sum;
    unsigned database = 0;
    while (chosen >= eligible(database)) chosen -= eligible(database++);
    const st::KeyPlace place{dice_.next()};
    const uint64_t segment = store_.index().segment_of(database, place);
    if (segment == 0) return std::nullopt;
    return Place{database, place, segment + place.first() * st::kBucketBytes};
}

void Evictor::choose_next() {
    next_ = random_place();
    if (!next_) return;
    __builtin_prefetch(store_.memory().at(next_->bucket_at));
    store_.marks().prefetch(next_->bucket_at);
}

uint64_t Evictor::score(const Place& place, unsigned slot, st::Slot content) {
    if (policy_ == EvictionPolicy::volatile_ttl)
        return std::numeric_limits<uint64_t>::max() - static_cast<uint64_t>(std::max<int64_t>(store_.expiry_of(content.reference), 0));
    const Marks& marks = store_.marks();
    const MarkKind kind = marks_of(policy_);
    if (is_by_chance()) return dice_.next_half();
    const uint32_t mark = marks.read(place.bucket_at, slot);
    const uint64_t idle = marks.rules().idle(mark, marks.now());
    if (kind == MarkKind::lfu) return uint64_t{MarkRules::kLfuMax - marks.rules().frequency(mark, marks.now())} << 32 | idle;
    return (idle + 1) * (MarkRules::used_again(mark) ? 1 : kOnceFactor);
}

/// Enters the keys of a bucket that may go; returns how many there were.
unsigned Evictor::take_sample(const Place& place) {
    const st::Bucket bucket = store_.read_bucket(place.bucket_at);
    unsigned seen = 0;
    for (unsigned slot = 0; slot < st::kSlots; ++slot) {
        const uint64_t bits = bucket.slot_bits(slot);
        const st::Slot content = st::Slot::from(bits);
        if (content.reference == 0 || (is_volatile(policy_) && !content.expires)) continue;
        ++seen;
        enter({place, slot, bits, score(place, slot, content)});
    }
    return seen;
}

void Evictor::enter(const Candidate& candidate) {
    if (pool_.size() == kPool && candidate.score <= pool_.front().score) return;
    const auto same = [&](const Candidate& other) {
        return other.place.bucket_at == candidate.place.bucket_at && other.slot == candidate.slot;
    };
    if (const auto at = std::ranges::find_if(pool_, same); at != pool_.end()) pool_.erase(at);
    const auto at = std::ranges::upper_bound(pool_, candidate.score, {}, &Candidate::score);
    pool_.insert(at, candidate);
    if (pool_.size() > kPool) pool_.erase(pool_.begin());
}

/// Whether a bucket is one of the database still.
bool Evictor::is_in_use(const Place& place) const {
    return store_.index().segment_of(place.database, place.via) == place.bucket_at / st::kIndexSegmentBytes * st::kIndexSegmentBytes;
}

/// Whether the key, or another in its place, is still there and as good a choice: not used since it was seen.
bool Evictor::still_stands(const Candidate& candidate) {
    const Place& place = candidate.place;
    if (!is_in_use(place)) return false;
    if (store_.read_bucket(place.bucket_at).slot_bits(candidate.slot) != candidate.bits) return false;
    return is_by_chance() || score(place, candidate.slot, st::Slot::from(candidate.bits)) >= candidate.score;
}

/// Looks at buckets one after the other until some keys may go.
bool Evictor::walk() {
    for (unsigned looked_at = 0; looked_at < kWalkBuckets && pool_.empty(); ++looked_at) {
        const st::Route route = store_.index().route_of(walk_database_);
        if (eligible(walk_database_) == 0 || walk_entry_ >= 1ull << route.depth) {
            walk_database_ = (walk_database_ + 1) % kDatabases;
            walk_entry_ = walk_bucket_ = 0;
            continue;
        }
        const uint64_t segment = store_.index().segment_at(route, walk_entry_);
        const st::KeyPlace via{route.depth == 0 ? 0 : walk_entry_ << (64 - route.depth)};
        take_sample({walk_database_, via, segment + walk_bucket_ * st::kBucketBytes});
        if (++walk_bucket_ < st::kBuckets) continue;
        walk_bucket_ = 0;
        const uint64_t span = 1ull << (route.depth - store_.index().depth_of_segment(segment));
        walk_entry_ = (walk_entry_ & ~(span - 1)) + span;
    }
    return !pool_.empty();
}

}  // namespace millrace::md
