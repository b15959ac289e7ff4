// The open loop of millrace-bench: requests are due on time, turns are shared out fairly, and latency is
// charged from the scheduled moment however late the request leaves.
#include <doctest/doctest.h>

#include <vector>

#include "tools/bench/pacer.h"
#include "tools/bench/schedule.h"

using namespace millrace::bench;

TEST_CASE("bench schedule: what is due at a moment was due before it") {
    for (const double rate : {1.0, 3.0, 999.0, 123'456.7, 5e6}) {
        CAPTURE(rate);
        const Schedule schedule(1'000, rate, 10'000);
        for (uint64_t request = 0; request < 10'000; request += 7) {
            const int64_t due = schedule.due_time(request);
            REQUIRE(schedule.due_count(due) >= request + 1);
            if (request > 0) REQUIRE(schedule.due_time(schedule.due_count(due - 1) - 1) <= due - 1);
        }
    }
}

TEST_CASE("bench schedule: ends at its total, begins at its start") {
    const Schedule schedule(5'000, 1'000, 10);
    CHECK(schedule.due_count(4'999) == 0);
    CHECK(schedule.due_count(5'000) == 1);
    CHECK(schedule.due_count(INT64_MAX / 2) == 10);
}

TEST_CASE("bench schedule: the connections' shares add up") {
    for (const uint64_t connections : {1, 3, 50}) {
        for (uint64_t due = 0; due < 200; ++due) {
            uint64_t sum = 0;
            for (uint64_t i = 0; i < connections; ++i) sum += Schedule::share_of(due, i, connections);
            REQUIRE(sum == due);
        }
    }
}

TEST_CASE("bench pacer: an open loop charges a stall to every request that was due") {
    Connection connection(0, 0, Protocol::kRedis, 8);
    PhasePlan plan{.depth = 8, .requests = 0, .length_ns = kNanosPerSecond, .rate = 10};
    Pacer pacer(plan, 0, 0, 1);
    pacer.set_now(0);
    CHECK(pacer.take(connection) == 0);
    CHECK(pacer.take(connection) == -1);
    pacer.set_now(350'000'000);  // nothing was sent for 350 ms
    CHECK(pacer.backlog() == 3);
    CHECK(pacer.take(connection) == 100'000'000);
    CHECK(pacer.take(connection) == 200'000'000);
    CHECK(pacer.take(connection) == 300'000'000);
    CHECK(pacer.take(connection) == -1);
    CHECK(pacer.next_due_ns() == 400'000'000);
}

TEST_CASE("bench pacer: an open loop stops at its depth and counts what stays behind") {
    Connection connection(0, 0, Protocol::kRedis, 2);
    PhasePlan plan{.depth = 2, .requests = 5, .length_ns = 0, .rate = 1000};
    Pacer pacer(plan, 0, 0, 1);
    pacer.set_now(10'000'000);
    for (int i = 0; i < 2; ++i) {
        const int64_t start = pacer.take(connection);
        REQUIRE(start >= 0);
        connection.pending.push({start, 0, 0});
    }
    CHECK(pacer.take(connection) == -1);
    CHECK(pacer.backlog() == 3);
    CHECK_FALSE(pacer.is_over());
    pacer.set_now(5'000'000 + kBacklogGraceNs);
    CHECK(pacer.is_over());
}

TEST_CASE("bench pacer: a closed loop ends by number or by time") {
    Connection connection(0, 0, Protocol::kRedis, 4);
    Pacer by_number(PhasePlan{.depth = 4, .requests = 2, .length_ns = 0, .rate = 0}, 100, 0, 1);
    by_number.set_now(150);
    CHECK(by_number.take(connection) == 150);
    CHECK(by_number.take(connection) == 150);
    CHECK(by_number.take(connection) == -1);
    CHECK(by_number.is_over());
    Pacer by_time(PhasePlan{.depth = 4, .requests = 0, .length_ns = 50, .rate = 0}, 100, 0, 1);
    by_time.set_now(149);
    CHECK(by_time.take(connection) == 149);
    by_time.set_now(150);
    CHECK(by_time.take(connection) == -1);
    CHECK(by_time.is_over());
}

TEST_CASE("bench pending ring: first in, first out, over the wrap") {
    PendingRing ring(3);
    for (uint64_t i = 0; i < 100; ++i) {
        ring.push({0, i, 0});
        ring.push({0, i + 1000, 0});
        CHECK(ring.size() == 2);
        CHECK(ring.front().key == i);
        ring.pop();
        CHECK(ring.front().key == i + 1000);
        ring.pop();
        CHECK(ring.empty());
    }
}
