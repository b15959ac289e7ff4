// The key distributions of millrace-bench: in range, evenly spread, as skewed as asked, repeatable from the
// seed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "tools/bench/key_dist.h"
#include "tools/bench/workload.h"

using namespace millrace::bench;

namespace {

DistSpec dist(std::string_view text) {
    DistSpec spec;
    std::string error;
    REQUIRE(parse_dist(text, spec, error));
    return spec;
}

}  // namespace

TEST_CASE("bench key distribution: words on the command line") {
    DistSpec spec;
    std::string error;
    for (const char* bad :
         {"", "zipf", "zipf:", "zipf:0", "zipf:-1", "zipf:99", "zipf:1x", "gauss", "uniform "}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_dist(bad, spec, error));
        CHECK(error.find("uniform, sequential or zipf") != std::string::npos);
    }
    CHECK(dist("zipf:0.99").theta == doctest::Approx(0.99));
}

TEST_CASE("bench key distribution: uniform takes every key about equally often") {
    constexpr uint64_t kKeys = 100;
    constexpr int kDraws = 200'000;
    Random random(1);
    KeyChooser chooser(dist("uniform"), kKeys, 0, 1);
    std::vector<int> hits(kKeys);
    for (int i = 0; i < kDraws; ++i) ++hits.at(chooser.next(random));
    double chi_square = 0;
    const double expected = double{kDraws} / kKeys;
    for (const int count : hits) chi_square += (count - expected) * (count - expected) / expected;
    CHECK(chi_square < 149);  // 99 degrees of freedom: 0.1 % of right generators exceed it
}

TEST_CASE("bench key distribution: zipf ranks have their theoretical shares") {
    constexpr uint64_t kKeys = 1000;
    constexpr int kDraws = 400'000;
    for (const double theta : {0.5, 0.99, 1.0, 1.3, 3.0}) {
        CAPTURE(theta);
        Random random(2);
        const ZipfRank zipf(kKeys, theta);
        std::vector<int> hits(kKeys);
        for (int i = 0; i < kDraws; ++i) ++hits.at(zipf.draw(random));
        double weight_sum = 0;
        for (uint64_t rank = 1; rank <= kKeys; ++rank)
            weight_sum += std::pow(static_cast<double>(rank), -theta);
        for (const uint64_t rank : {1, 2, 3, 10, 100}) {
            const double expected = kDraws * std::pow(static_cast<double>(rank), -theta) / weight_sum;
            CHECK(std::abs(hits[rank - 1] - expected) < 5 * std::sqrt(expected) + 1);
        }
    }
}

TEST_CASE("bench key distribution: zipf over one key and over very many") {
    Random random(3);
    KeyChooser one(dist("zipf:0.99"), 1, 0, 1);
    for (int i = 0; i < 100; ++i) CHECK(one.next(random) == 0);
    KeyChooser many(dist("zipf:1.1"), kKeysMax, 0, 1);
    for (int i = 0; i < 1000; ++i) CHECK(many.next(random) < kKeysMax);
}

TEST_CASE("bench key distribution: scattering hits every key once") {
    for (const uint64_t keys : {1, 2, 7, 10, 4096, 99'991}) {
        KeyChooser chooser(dist("zipf:1"), keys, 0, 1);
        std::vector<bool> hit(keys);
        for (uint64_t rank = 0; rank < keys; ++rank) hit.at(chooser.scatter(rank)) = true;
        CHECK(std::count(hit.begin(), hit.end(), true) == static_cast<std::ptrdiff_t>(keys));
    }
}

TEST_CASE("bench key distribution: sequential workers cover every key once") {
    constexpr uint64_t kKeys = 10, kWorkers = 3;
    Random random(4);
    std::multiset<uint64_t> seen;
    for (uint64_t worker = 0; worker < kWorkers; ++worker) {
        KeyChooser chooser(dist("sequential"), kKeys, worker, kWorkers);
        for (uint64_t key = worker; key < kKeys; key += kWorkers) seen.insert(chooser.next(random));
    }
    CHECK(seen == std::multiset<uint64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("bench workload: the same seed writes the same bytes") {
    WorkloadSpec spec;
    spec.keys = 1000;
    spec.dist = dist("zipf:0.9");
    spec.values.seed = 99;
    spec.values.size_max = 200;
    std::string error;
    REQUIRE(parse_mix("get=3,set=2,mget,mset,incr,append,ping,del", spec.mix, error));
    Workload first(spec, 0, 1), second(spec, 0, 1);
    OutBuffer one, two;
    for (int i = 0; i < 500; ++i) {
        first.write_next(one);
        second.write_next(two);
    }
    CHECK(std::string_view(one.data(), one.size()) == std::string_view(two.data(), two.size()));
}

TEST_CASE("bench workload: requests are what a Redis server reads") {
    WorkloadSpec spec;
    spec.keys = 1;
    spec.keys_per_request = 2;
    spec.values.size_min = spec.values.size_max = 3;
    std::string value(3, ' '), error;
    spec.values.fill(0, value.data(), 3);
    const auto written = [&](const char* mix) {
        REQUIRE(parse_mix(mix, spec.mix, error));
        Workload workload(spec, 0, 1);
        OutBuffer out;
        workload.write_next(out);
        return std::string(out.data(), out.size());
    };
    CHECK(written("ping") == "*1\r\n$4\r\nPING\r\n");
    CHECK(written("get") == "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n");
    CHECK(written("incr") == "*2\r\n$4\r\nINCR\r\n$16\r\nctr:000000000000\r\n");
    CHECK(written("set") == "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$3\r\n" + value + "\r\n");
    CHECK(written("mset") == "*5\r\n$4\r\nMSET\r\n$16\r\nkey:000000000000\r\n$3\r\n" + value +
                                 "\r\n$16\r\nkey:000000000000\r\n$3\r\n" + value + "\r\n");
    spec.protocol = Protocol::kMemcached;
    CHECK(written("get") == "get key:000000000000\r\n");
    CHECK(written("set") == "set key:000000000000 0 0 3\r\n" + value + "\r\n");
}

TEST_CASE("bench workload: a value is recognised in pieces, a changed byte is not") {
    ValueModel values;
    values.seed = 5;
    values.size_min = 0;
    values.size_max = 100;
    for (uint64_t key = 0; key < 200; ++key) {
        const uint32_t size = values.size_of(key);
        REQUIRE(size <= 100);
        std::string text(size, ' ');
        values.fill(key, text.data(), size);
        for (size_t split = 0; split <= size; ++split) {
            const std::string_view whole = text;
            REQUIRE(values.matches(key, size, 0, whole.substr(0, split)));
            REQUIRE(values.matches(key, size, static_cast<int64_t>(split), whole.substr(split)));
        }
        CHECK_FALSE(values.matches(key, size + 1, 0, {}));
        if (size == 0) continue;
        text[size / 2] ^= 1;
        CHECK_FALSE(values.matches(key, size, 0, text));
    }
}

TEST_CASE("bench workload: mixes on the command line") {
    Mix mix;
    std::string error;
    for (const char* bad : {"", "get=", "get=-1", "get=1,", "fly=1", "get=0", "get=1x", "get=99999999"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_mix(bad, mix, error));
        CHECK_FALSE(error.empty());
    }
    REQUIRE(parse_mix("set=20,get=80", mix, error));
    CHECK(mix.text() == "get=80,set=20");
    CHECK(mix.total() == 100);
}
