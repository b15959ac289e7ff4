// A log-linear histogram of durations or sizes: bucket numbers and bounds, pure arithmetic. Used by counter segments
// (counters.h) and whoever reads them. The scheme is HdrHistogram's (Gil Tene): kSubBuckets linear buckets in each
// power of two, so a bucket's width is at most 1 / kSubBuckets of its value.
#pragma once

#include <bit>
#include <cstdint>

namespace millrace::histogram {

inline constexpr unsigned kSubBucketBits = 3;
inline constexpr unsigned kSubBuckets = 1u << kSubBucketBits;
/// Values of 2^kMaxBits and more fall into the last bucket.
inline constexpr unsigned kMaxBits = 36;
inline constexpr unsigned kBuckets = (kMaxBits - kSubBucketBits + 1) * kSubBuckets;

/// The bucket of a value, 0 .. kBuckets - 1.
constexpr unsigned bucket_of(uint64_t value) {
    if (value < kSubBuckets) return static_cast<unsigned>(value);
    const unsigned width = std::bit_width(value);  // > kSubBucketBits
    if (width > kMaxBits) return kBuckets - 1;
    const unsigned shift = width - kSubBucketBits - 1;
    return (shift + 1) * kSubBuckets + static_cast<unsigned>((value >> shift) - kSubBuckets);
}

/// The largest value of a bucket.
constexpr uint64_t upper_bound(unsigned bucket) {
    if (bucket < kSubBuckets) return bucket;
    const unsigned shift = bucket / kSubBuckets - 1;
    return ((static_cast<uint64_t>(bucket % kSubBuckets) + kSubBuckets + 1) << shift) - 1;
}

/// The value at or below which `share` (0..1) of all recorded values lie; 0 when there are none. `count_of(bucket)`
/// gives a bucket's count.
template <class CountOf>
uint64_t percentile(CountOf&& count_of, uint64_t total, double share) {
    if (total == 0) return 0;
    uint64_t rank = static_cast<uint64_t>(share * static_cast<double>(total));
    if (rank >= total) rank = total - 1;
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < kBuckets; ++bucket)
        if ((seen += count_of(bucket)) > rank) return upper_bound(bucket);
    return upper_bound(kBuckets - 1);
}

}  // namespace millrace::histogram
