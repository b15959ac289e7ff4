// HyperLogLog sketches: estimates, both encodings, corrupt ones. That the bytes are Redis's is shown by tests/process/c_random_test.py.
#include "md/hyperloglog.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

using millrace::md::HyperLogLog;
using Change = HyperLogLog::Change;

TEST_CASE("hyperloglog: an empty sketch is sparse, of no elements, and 18 bytes long") {
    const HyperLogLog sketch;
    CHECK(HyperLogLog::is_sketch(sketch.bytes()));
    CHECK(!sketch.is_dense());
    CHECK(sketch.bytes().size() == 18);
    CHECK(sketch.kept_estimate() == 0);
    CHECK(sketch.estimate() == 0);
    CHECK(sketch.runs_text() == "Z:16384");
}

TEST_CASE("hyperloglog: estimates stay within five standard errors, and both encodings agree") {
    HyperLogLog sketch;
    for (unsigned element = 1; element <= 200'000; ++element) {
        sketch.add("element " + std::to_string(element));
        if ((element & (element - 1)) != 0 && element % 50'000 != 0) continue;
        const auto count = static_cast<double>(sketch.estimate().value());
        CHECK(std::abs(count - element) <= std::ceil(5 * 1.04 / 128 * element));
        HyperLogLog dense = sketch;
        REQUIRE(dense.make_dense());
        CHECK(dense.bytes().size() == HyperLogLog::kDenseBytes);
        CHECK(dense.estimate() == sketch.estimate());
        HyperLogLog::Registers registers{};
        REQUIRE(sketch.merge_into(registers));
        CHECK(HyperLogLog::estimate_of(registers) == *sketch.estimate());
    }
    CHECK(sketch.is_dense());
}

TEST_CASE("hyperloglog: neighbours of the same value become one run, and the same element changes nothing") {
    HyperLogLog sketch;
    CHECK(sketch.raise(100, 3) == Change::made);
    CHECK(sketch.runs_text() == "Z:100 v:3,1 Z:16283");
    CHECK(sketch.raise(101, 3) == Change::made);
    CHECK(sketch.raise(102, 3) == Change::made);
    CHECK(sketch.runs_text() == "Z:100 v:3,3 Z:16281");
    CHECK(sketch.raise(101, 2) == Change::none);
    CHECK(sketch.raise(101, 5) == Change::made);
    CHECK(sketch.runs_text() == "Z:100 v:3,1 v:5,1 v:3,1 Z:16281");
    CHECK(sketch.raise(16383, 1) == Change::made);
    CHECK(sketch.runs_text() == "Z:100 v:3,1 v:5,1 v:3,1 Z:16280 v:1,1");
    CHECK(sketch.raise(0, 32) == Change::made);
    CHECK(!sketch.is_dense());
    CHECK(sketch.raise(0, 33) == Change::made);  // more than the sparse encoding can hold
    CHECK(sketch.is_dense());
    CHECK(sketch.raise(16383, 50) == Change::made);
    CHECK(sketch.raise(16383, 49) == Change::none);
}

TEST_CASE("hyperloglog: an estimate is kept until it is said to be out of date") {
    HyperLogLog sketch;
    sketch.add("a");
    CHECK(!sketch.kept_estimate());
    sketch.keep_estimate(0x123456789a);
    CHECK(sketch.kept_estimate() == 0x123456789a);
    sketch.forget_estimate();
    CHECK(!sketch.kept_estimate());
}

TEST_CASE("hyperloglog: what is no sketch, or a corrupt one, is told apart and read nowhere beyond its end") {
    const std::string good = HyperLogLog().bytes();
    CHECK(!HyperLogLog::is_sketch(good.substr(0, 15)));
    CHECK(!HyperLogLog::is_sketch("hyll" + good.substr(4)));
    std::string dense_of_another_length = good;
    dense_of_another_length[4] = 0;
    CHECK(!HyperLogLog::is_sketch(dense_of_another_length));
    for (const std::string& runs : {std::string(), std::string("\x7f"), std::string("\x3f"), std::string("\x7f\xff\x00", 3), std::string("\x7f\xfe", 2)}) {
        HyperLogLog sketch(good.substr(0, 16) + runs);
        HyperLogLog::Registers registers{};
        CHECK(!sketch.estimate());
        CHECK(!sketch.merge_into(registers));
        CHECK(sketch.raise(16383, 33) == Change::corrupt);
        CHECK(!sketch.make_dense());
        (void)sketch.runs_text();
    }
    CHECK(!HyperLogLog(good.substr(0, 16) + std::string(100'000, '\0')).runs_text());
    HyperLogLog cut(good.substr(0, 16) + "\x7f");
    CHECK(cut.raise(3, 1) == Change::corrupt);
}
