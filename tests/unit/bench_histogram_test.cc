// The latency histogram of millrace-bench: every bucket keeps its promised width, percentiles come out right.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tools/bench/histogram.h"
#include "tools/bench/random.h"

using millrace::bench::Histogram;
using millrace::bench::Random;

TEST_CASE("bench histogram: buckets follow each other without a gap") {
    for (int bucket = 0; bucket + 1 < Histogram::kBuckets; ++bucket) {
        const int64_t end = Histogram::bucket_end(bucket);
        REQUIRE(Histogram::bucket_of(end) == bucket);
        REQUIRE(Histogram::bucket_of(end + 1) == bucket + 1);
    }
}

TEST_CASE("bench histogram: a bucket is at most 1/64 of its values wide") {
    for (int bucket = 1; bucket < Histogram::kBuckets; ++bucket) {
        const auto low = static_cast<double>(Histogram::bucket_end(bucket - 1) + 1);
        const auto high = static_cast<double>(Histogram::bucket_end(bucket));
        REQUIRE((high - low) / low <= Histogram::kRelativeError);
    }
}

TEST_CASE("bench histogram: percentiles are within 1.6 % of the sorted values") {
    Random random(7);
    Histogram histogram;
    std::vector<int64_t> values;
    for (int i = 0; i < 20'000; ++i) {
        values.push_back(static_cast<int64_t>(std::exp(random.unit() * 20)));
        histogram.record(values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double percent : {1.0, 50.0, 90.0, 99.0, 99.9, 99.99}) {
        const auto rank = static_cast<size_t>(std::ceil(percent / 100 * static_cast<double>(values.size())));
        const auto exact = static_cast<double>(values[rank - 1]);
        const auto shown = static_cast<double>(histogram.percentile(percent));
        CHECK(shown >= exact);
        CHECK(shown <= exact * 1.016 + 1);
    }
    CHECK(histogram.percentile(100) == values.back());
    CHECK(histogram.min() == values.front());
    CHECK(histogram.max() == values.back());
}

TEST_CASE("bench histogram: empty, negative and enormous values") {
    Histogram histogram;
    CHECK(histogram.percentile(99) == 0);
    CHECK(histogram.min() == 0);
    CHECK(histogram.mean() == 0);
    histogram.record(-5);
    CHECK(histogram.max() == 0);
    histogram.record(INT64_MAX);
    CHECK(histogram.percentile(100) == INT64_MAX);
    CHECK(histogram.percentile(50) == 0);
}

TEST_CASE("bench histogram: merging equals recording in one") {
    Histogram one, left, right;
    for (int64_t value = 1; value < 1'000'000; value = value * 5 / 4 + 1) {
        one.record(value);
        (value % 2 ? left : right).record(value);
    }
    left.merge(right);
    CHECK(left.count() == one.count());
    CHECK(left.mean() == doctest::Approx(one.mean()));
    for (int percent = 0; percent <= 100; ++percent)
        CHECK(left.percentile(percent) == one.percentile(percent));
}
