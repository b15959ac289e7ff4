// Simulation of the index geometry: how full segments of the multi-hash index become before they have to split, and what
// the index costs a key while it grows from one to two million keys. Nothing here is shared memory; only keys' hashes are
// placed. It answers: how many buckets a segment, how far to search for a free slot, and does the memory budget hold.
//
// Modelled: an extendible directory of segments of `buckets` cache-line buckets; a bucket has 8 bytes of version and
// kSlots slots of 6 bytes (a 40-bit reference in units of 8 bytes, an 8-bit tag). A key may live in its home bucket or in
// the alternate that follows from home and tag, both in its segment (after MemC3, NSDI'13). An insert takes the emptier of
// the two; when both are full it looks breadth-first for a chain of moves of at most `moves` to a free slot; when there is
// none, the segment splits by the next bit of the hash.
//     index_geometry [--keys N] [--seed N]
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr unsigned kSlots = 9;
constexpr double kBucketBytes = 64;
constexpr uint64_t kEmpty = 0;

/// A segment: its keys' hashes in buckets of kSlots.
struct Segment {
    unsigned depth = 0;
    uint64_t keys = 0;
    std::vector<uint64_t> slots;
};

struct Geometry {
    unsigned buckets;  ///< in a segment, a power of two
    unsigned moves;    ///< longest chain of moves
};

struct Outcome {
    double fill_sum = 0;  ///< load factors at splits, summed
    double fill_min = 1;
    uint64_t splits = 0, moved = 0, longest_search = 0, inserts_with_moves = 0;
};

class Index {
  public:
    explicit Index(Geometry geometry) : geometry_(geometry) {
        auto segment = std::make_shared<Segment>();
        segment->slots.assign(uint64_t{geometry.buckets} * kSlots, kEmpty);
        directory_.push_back(segment);
    }

    void insert(uint64_t hash) {
        hash |= 1;  // 0 means empty
        while (!place(*directory_[directory_index(hash)], hash)) split(directory_index(hash));
        ++keys_;
    }
    /// Bytes of buckets and directory a key.
    double bytes_per_key() const {
        const double segments = static_cast<double>(segments_) * geometry_.buckets * kBucketBytes;
        return (segments + static_cast<double>(directory_.size()) * 8) / static_cast<double>(keys_);
    }
    double load() const { return static_cast<double>(keys_) / (static_cast<double>(segments_) * geometry_.buckets * kSlots); }
    const Outcome& outcome() const { return outcome_; }
    uint64_t keys() const { return keys_; }

  private:
    size_t directory_index(uint64_t hash) const { return depth_ == 0 ? 0 : hash >> (64 - depth_); }
    static uint64_t tag(uint64_t hash) { return hash >> 8 & 0xff; }
    unsigned home(uint64_t hash) const { return static_cast<unsigned>(hash >> 16) & (geometry_.buckets - 1); }
    /// The other bucket of a key in `bucket`: its own inverse.
    unsigned other(unsigned bucket, uint64_t hash) const {
        return (bucket ^ static_cast<unsigned>((tag(hash) + 1) * 0x9E3779B1u >> 7)) & (geometry_.buckets - 1);
    }
    static uint64_t* free_slot(Segment& segment, unsigned bucket) {
        uint64_t* first = &segment.slots[uint64_t{bucket} * kSlots];
        for (unsigned i = 0; i < kSlots; ++i)
            if (first[i] == kEmpty) return first + i;
        return nullptr;
    }
    static unsigned used(const Segment& segment, unsigned bucket) {
        unsigned count = 0;
        for (unsigned i = 0; i < kSlots; ++i) count += segment.slots[uint64_t{bucket} * kSlots + i] != kEmpty;
        return count;
    }

    bool place(Segment& segment, uint64_t hash) {
        const unsigned first = home(hash), second = other(first, hash);
        const unsigned emptier = used(segment, first) <= used(segment, second) ? first : second;
        uint64_t* slot = free_slot(segment, emptier);
        if (slot == nullptr) slot = make_room(segment, first, second);
        if (slot == nullptr) return false;
        *slot = hash;
        ++segment.keys;
        return true;
    }

    struct Step {
        unsigned bucket;
        int from;         ///< step whose key would move here; -1 for the start
        unsigned slot;    ///< that key's slot in its bucket
        unsigned length;
    };
    /// Breadth-first search for a chain of moves; carries it out backwards, so no key is ever absent.
    uint64_t* make_room(Segment& segment, unsigned first, unsigned second) {
        std::vector<Step> steps{{first, -1, 0, 0}, {second, -1, 0, 0}};
        for (size_t at = 0; at < steps.size(); ++at) {
            const Step step = steps[at];
            if (uint64_t* free = free_slot(segment, step.bucket); free != nullptr) {
                outcome_.longest_search = std::max<uint64_t>(outcome_.longest_search, at);
                ++outcome_.inserts_with_moves;
                return move_back(segment, steps, static_cast<int>(at), free);
            }
            if (step.length == geometry_.moves) continue;
            for (unsigned i = 0; i < kSlots; ++i) {
                const uint64_t key = segment.slots[uint64_t{step.bucket} * kSlots + i];
                steps.push_back({other(step.bucket, key), static_cast<int>(at), i, step.length + 1});
            }
        }
        return nullptr;
    }
    uint64_t* move_back(Segment& segment, const std::vector<Step>& steps, int at, uint64_t* free) {
        while (steps[static_cast<size_t>(at)].from >= 0) {
            const Step& step = steps[static_cast<size_t>(at)];
            uint64_t* source = &segment.slots[uint64_t{steps[static_cast<size_t>(step.from)].bucket} * kSlots + step.slot];
            *free = *source;
            *source = kEmpty;
            free = source;
            ++outcome_.moved;
            at = step.from;
        }
        return free;
    }

    void split(size_t index) {
        const std::shared_ptr<Segment> old = directory_[index];
        const double fill = static_cast<double>(old->keys) / static_cast<double>(old->slots.size());
        outcome_.fill_sum += fill;
        outcome_.fill_min = std::min(outcome_.fill_min, fill);
        ++outcome_.splits;
        if (old->depth == depth_) {
            std::vector<std::shared_ptr<Segment>> doubled;
            for (const auto& segment : directory_) doubled.insert(doubled.end(), 2, segment);
            directory_ = std::move(doubled);
            ++depth_;
            index *= 2;
        }
        std::shared_ptr<Segment> halves[2];
        for (auto& half : halves) {
            half = std::make_shared<Segment>();
            half->depth = old->depth + 1;
            half->slots.assign(old->slots.size(), kEmpty);
        }
        const unsigned span = 1u << (depth_ - old->depth);
        const size_t start = index / span * span;
        for (size_t i = 0; i < span; ++i) directory_[start + i] = halves[i >= span / 2];
        ++segments_;
        // Without any moves even a half-full segment meets a key whose two buckets are full.
        const unsigned moves = std::exchange(geometry_.moves, std::max(geometry_.moves, 4u));
        for (const uint64_t hash : old->slots)
            if (hash != kEmpty && !place(*directory_[directory_index(hash)], hash)) std::abort();
        geometry_.moves = moves;
    }

    Geometry geometry_;
    std::vector<std::shared_ptr<Segment>> directory_;
    unsigned depth_ = 0;
    uint64_t segments_ = 1, keys_ = 0;
    Outcome outcome_;
};

void simulate(Geometry geometry, uint64_t keys, uint64_t seed) {
    Index index(geometry);
    std::mt19937_64 random(seed);
    double sum = 0, worst = 0, load_min = 1;
    unsigned sizes = 0;
    constexpr unsigned kSizes = 16;
    while (index.keys() < 2 * keys) {
        index.insert(random());
        if (index.keys() < keys || (index.keys() - keys) % (keys / (kSizes - 1)) != 0) continue;
        ++sizes;
        sum += index.bytes_per_key();
        worst = std::max(worst, index.bytes_per_key());
        load_min = std::min(load_min, index.load());
    }
    const Outcome& outcome = index.outcome();
    std::printf("%8u %6u   %5.1f %% %5.1f %%   %6.2f %6.2f   %5.1f %%   %8.4f %8" PRIu64 "\n", geometry.buckets, geometry.moves,
                100 * outcome.fill_sum / static_cast<double>(outcome.splits), 100 * outcome.fill_min, sum / sizes, worst,
                100 * load_min, static_cast<double>(outcome.moved) / static_cast<double>(index.keys()), outcome.longest_search);
    std::fflush(stdout);
}

uint64_t option(int argc, char** argv, const char* name, uint64_t otherwise) {
    for (int i = 1; i + 1 < argc; ++i)
        if (std::strcmp(argv[i], name) == 0) return std::strtoull(argv[i + 1], nullptr, 10);
    return otherwise;
}

}  // namespace

int main(int argc, char** argv) {
    const uint64_t keys = option(argc, argv, "--keys", 1'000'000), seed = option(argc, argv, "--seed", 1);
    std::printf("from %" PRIu64 " to %" PRIu64 " keys, seed %" PRIu64 "\n", keys, 2 * keys, seed);
    std::printf(" buckets  moves   fill at split   bytes a key     lowest   moves an    longest\n");
    std::printf("a segment   max    mean   lowest    mean  worst     load     insert     search\n");
    for (const unsigned buckets : {16u, 64u, 256u, 1024u})
        for (const unsigned moves : {0u, 1u, 2u, 4u}) simulate({buckets, moves}, keys, seed);
    return 0;
}
