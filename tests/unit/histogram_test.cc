// The log-linear histogram: buckets without gaps, bounds that fit them, percentiles within a bucket's width.
#include "common/histogram.h"

#include <algorithm>
#include <vector>

#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

struct Recorded {
    std::vector<uint64_t> counts = std::vector<uint64_t>(histogram::kBuckets);
    std::vector<uint64_t> values;

    void record(uint64_t value) {
        ++counts[histogram::bucket_of(value)];
        values.push_back(value);
    }
    uint64_t percentile(double share) const {
        return histogram::percentile([this](unsigned bucket) { return counts[bucket]; }, values.size(), share);
    }
};

}  // namespace

TEST_CASE("histogram: buckets follow each other without a gap") {
    for (unsigned bucket = 0; bucket + 1 < histogram::kBuckets; ++bucket) {
        CAPTURE(bucket);
        REQUIRE(histogram::bucket_of(histogram::upper_bound(bucket)) == bucket);
        REQUIRE(histogram::bucket_of(histogram::upper_bound(bucket) + 1) == bucket + 1);
    }
}

TEST_CASE("histogram: a bucket is no wider than an eighth of its value") {
    for (unsigned bucket = 1; bucket < histogram::kBuckets; ++bucket) {
        const uint64_t width = histogram::upper_bound(bucket) - histogram::upper_bound(bucket - 1);
        REQUIRE(width * histogram::kSubBuckets <= std::max<uint64_t>(histogram::upper_bound(bucket), histogram::kSubBuckets));
    }
}

TEST_CASE("histogram: what is too large falls into the last bucket") {
    CHECK(histogram::bucket_of(uint64_t{1} << histogram::kMaxBits) == histogram::kBuckets - 1);
    CHECK(histogram::bucket_of(~uint64_t{0}) == histogram::kBuckets - 1);
    CHECK(histogram::upper_bound(histogram::kBuckets - 1) == (uint64_t{1} << histogram::kMaxBits) - 1);
}

TEST_CASE("histogram: percentiles of nothing and of one value") {
    Recorded recorded;
    CHECK(recorded.percentile(0.5) == 0);
    recorded.record(5);
    for (const double share : {0.0, 0.5, 1.0}) CHECK(recorded.percentile(share) == 5);
}

TEST_CASE("histogram: small values are exact") {
    Recorded recorded;
    for (uint64_t value = 0; value < 8; ++value) recorded.record(value);
    CHECK(recorded.percentile(0) == 0);
    CHECK(recorded.percentile(0.5) == 4);
    CHECK(recorded.percentile(1) == 7);
}

TEST_CASE("histogram: percentiles of random values are true within a bucket") {
    Random random;
    INFO("SEED=" << random.seed);
    Recorded recorded;
    for (int i = 0; i < 20'000; ++i) recorded.record(random.below(uint64_t{1} << (1 + random.below(30))));
    std::sort(recorded.values.begin(), recorded.values.end());
    for (const double share : {0.1, 0.5, 0.9, 0.99, 0.999}) {
        const uint64_t exact = recorded.values[static_cast<size_t>(share * static_cast<double>(recorded.values.size()))];
        CAPTURE(share);
        CHECK(recorded.percentile(share) >= exact);
        CHECK(recorded.percentile(share) <= exact + exact / histogram::kSubBuckets + 1);
    }
}
