// A log-linear histogram of durations, after HdrHistogram by Gil Tene: each power of two is cut into 64 equal
// buckets, so a recorded value is known to within 1/64 (1.6 %) whatever its size, and recording is one shift
// and one increment. Values are nanoseconds; anything above about 73 minutes lands in the last bucket (the
// exact maximum is kept apart). Used by millrace-bench only; not thread-safe: each worker has its own and
// they are merged.
#pragma once

#include <array>
#include <cstdint>

namespace millrace::bench {

class Histogram {
  public:
    static constexpr int kSubBucketBits = 6;
    static constexpr int kSubBuckets = 1 << kSubBucketBits;
    static constexpr int kTopBit = 41;  // 2^42 ns: about 73 minutes
    static constexpr int kBuckets = kSubBuckets * (kTopBit - kSubBucketBits + 2);
    static constexpr double kRelativeError = 1.0 / kSubBuckets;

    void record(int64_t value_ns);
    void merge(const Histogram& other);

    uint64_t count() const { return count_; }
    int64_t min() const { return count_ ? min_ : 0; }
    int64_t max() const { return max_; }
    double mean() const;

    // The smallest recorded value that `percent` (0..100) of all values do not exceed, rounded up to the end
    // of its bucket but never above the exact maximum. 0 when nothing was recorded.
    int64_t percentile(double percent) const;

    // Exposed for the tests: the bucket of a value, and the largest value that shares a bucket.
    static int bucket_of(int64_t value_ns);
    static int64_t bucket_end(int bucket);

  private:
    std::array<uint64_t, kBuckets> buckets_{};
    uint64_t count_ = 0;
    double sum_ = 0;
    int64_t min_ = INT64_MAX;
    int64_t max_ = 0;
};

}  // namespace millrace::bench
