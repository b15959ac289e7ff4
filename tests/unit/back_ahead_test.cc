// Taking memory before it is asked for (md/back_ahead.h).
#include "md/back_ahead.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <utility>
#include <vector>

using millrace::md::BackAhead;

namespace {

constexpr uint64_t kPage = 4096, kFrom = 40 * kPage;

/// What a helper has taken, in order.
struct Taken {
    std::mutex mutex;
    std::vector<std::pair<uint64_t, uint64_t>> stretches;
    uint64_t limit = ~0ull;

    bool take(uint64_t offset, uint64_t length) {
        const std::lock_guard lock(mutex);
        if (offset + length > limit) return false;
        stretches.emplace_back(offset, length);
        return true;
    }
};

template <class Condition>
bool comes_true(Condition condition) {
    for (int i = 0; i < 5000; ++i) {
        if (condition()) return true;
        usleep(1000);
    }
    return false;
}

}  // namespace

TEST_CASE("back ahead: it runs ahead of what is asked for, by so much and no more, without a hole") {
    Taken taken;
    const auto ahead = BackAhead::start();
    REQUIRE(ahead != nullptr);
    ahead->begin([&](uint64_t offset, uint64_t length) { return taken.take(offset, length); }, kFrom, 1ull << 30);
    REQUIRE(comes_true([&] { return ahead->taken_to() > kFrom + (4 << 20); }));
    CHECK(ahead->has(kFrom, kPage));
    CHECK_FALSE(ahead->has(kFrom - kPage, kPage));
    REQUIRE(comes_true([&] { return ahead->taken_to() + (1 << 20) > ahead->asked_to() + (8 << 20); }));
    usleep(20000);
    CHECK(ahead->taken_to() <= ahead->asked_to() + (8 << 20));
    const uint64_t far = kFrom + (200 << 20);
    CHECK_FALSE(ahead->has(far, kPage));
    REQUIRE(comes_true([&] { return ahead->has(far, kPage); }));
    ahead->stop();
    uint64_t reached = kFrom;
    for (const auto& [offset, length] : taken.stretches) {
        REQUIRE(offset == reached);
        reached += length;
    }
    CHECK(reached == ahead->taken_to());
    CHECK(ahead->asked_to() == far + kPage);
}

TEST_CASE("back ahead: where there is no more memory it ends, and does not say that there is") {
    Taken taken;
    taken.limit = kFrom + (2 << 20);
    const auto ahead = BackAhead::start();
    REQUIRE(ahead != nullptr);
    ahead->begin([&](uint64_t offset, uint64_t length) { return taken.take(offset, length); }, kFrom, 1ull << 30);
    REQUIRE(comes_true([&] { return ahead->taken_to() == taken.limit; }));
    usleep(20000);
    CHECK(ahead->has(taken.limit - kPage, kPage));
    CHECK_FALSE(ahead->has(taken.limit, kPage));
}

TEST_CASE("back ahead: one that was never told to begin ends when it is let go of") {
    CHECK(BackAhead::start() != nullptr);
}
