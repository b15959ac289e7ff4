// See histogram.h. Bucket layout: values below 64 have a bucket each; above, a value with its top bit at
// position e is shifted right by e - 6, which leaves a number in 64..127, and octaves follow each other
// without a gap.
#include "tools/bench/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace millrace::bench {

int Histogram::bucket_of(int64_t value_ns) {
    const auto value = static_cast<uint64_t>(std::max<int64_t>(value_ns, 0));
    if (value < kSubBuckets) return static_cast<int>(value);
    const int top_bit = 63 - std::countl_zero(value);
    if (top_bit > kTopBit) return kBuckets - 1;
    const int shift = top_bit - kSubBucketBits;
    return shift * kSubBuckets + static_cast<int>(value >> shift);
}

int64_t Histogram::bucket_end(int bucket) {
    if (bucket < 2 * kSubBuckets) return bucket;
    const int shift = bucket / kSubBuckets - 1;
    const int64_t mantissa = kSubBuckets + bucket % kSubBuckets;
    return ((mantissa + 1) << shift) - 1;
}

void Histogram::record(int64_t value_ns) {
    value_ns = std::max<int64_t>(value_ns, 0);
    ++buckets_[bucket_of(value_ns)];
    ++count_;
    sum_ += static_cast<double>(value_ns);
    min_ = std::min(min_, value_ns);
    max_ = std::max(max_, value_ns);
}

void Histogram::merge(const Histogram& other) {
    for (int i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    min_ = std::min(min_, other.min_);
    max_ = std::max(max_, other.max_);
}

double Histogram::mean() const {
    return count_ ? sum_ / static_cast<double>(count_) : 0.0;
}

int64_t Histogram::percentile(double percent) const {
    if (count_ == 0) return 0;
    const double share = std::clamp(percent, 0.0, 100.0) / 100.0;
    const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count_)));
    uint64_t seen = 0;
    for (int i = 0; i < kBuckets; ++i) {
        seen += buckets_[i];
        if (seen > 0 && seen >= wanted) return std::min(i == kBuckets - 1 ? max_ : bucket_end(i), max_);
    }
    return max_;
}

}  // namespace millrace::bench
