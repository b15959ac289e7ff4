// The checker of histories: what has an order and what has none.
#include "tests/linear/history.h"

#include <random>

#include "tests/unit/unit.h"

using namespace millrace::linear;
using millrace::unit::contains;

namespace {

Operation write(uint32_t client, uint64_t number, uint64_t from, uint64_t to) { return {Kind::write, client, number, from, to}; }
Operation read(uint32_t client, uint64_t number, uint64_t from, uint64_t to) { return {Kind::read, client, number, from, to}; }
Operation add(uint32_t client, uint64_t number, uint64_t from, uint64_t to) { return {Kind::add, client, number, from, to}; }

bool has_order(std::vector<Operation> history, uint64_t initial = 0) { return check(std::move(history), initial).empty(); }

}  // namespace

TEST_CASE("history: one after the other") {
    CHECK(has_order({}));
    CHECK(has_order({read(1, 0, 1, 2), write(1, 5, 3, 4), read(2, 5, 5, 6)}));
    CHECK(has_order({read(1, 9, 1, 2)}, 9));
    CHECK_FALSE(has_order({read(1, 9, 1, 2)}));
    CHECK_FALSE(has_order({write(1, 5, 3, 4), read(2, 0, 5, 6)}));  // stale
    CHECK_FALSE(has_order({read(2, 5, 1, 2), write(1, 5, 3, 4)}));  // from the future
}

TEST_CASE("history: at the same time either may be first, but not both") {
    CHECK(has_order({write(1, 5, 1, 10), read(2, 0, 2, 9)}));
    CHECK(has_order({write(1, 5, 1, 10), read(2, 5, 2, 9)}));
    CHECK(has_order({write(1, 5, 1, 10), read(2, 0, 2, 4), read(2, 5, 5, 9)}));
    CHECK_FALSE(has_order({write(1, 5, 1, 10), read(2, 5, 2, 4), read(3, 0, 5, 9)}));  // goes back
    CHECK_FALSE(has_order({write(1, 5, 1, 10), write(2, 6, 1, 10), read(3, 5, 11, 12), read(4, 6, 13, 14)}));
}

TEST_CASE("history: a client's own operations keep their order although they were sent together") {
    CHECK_FALSE(has_order({write(1, 5, 1, 10), read(1, 0, 1, 10)}));
    CHECK(has_order({read(1, 0, 1, 10), write(1, 5, 1, 10)}));
    CHECK(has_order({write(1, 5, 1, 10), read(2, 0, 1, 10)}));
}

TEST_CASE("history: counters count each once") {
    CHECK(has_order({add(1, 1, 1, 10), add(2, 2, 1, 10), read(3, 2, 11, 12)}));
    CHECK_FALSE(has_order({add(1, 1, 1, 10), add(2, 1, 1, 10)}));
    CHECK_FALSE(has_order({add(1, 1, 1, 10), add(2, 3, 1, 10)}));
    CHECK(contains(check({add(1, 3, 1, 2)}, 0), "count to 3 by client 1"));
}

TEST_CASE("history: random runs of a real register have an order, and one answer that is older has none") {
    std::mt19937_64 random(5);
    for (int run = 0; run < 50; ++run) {
        // Each operation happens at a moment of its own and is seen from a little before to a little after it.
        std::vector<Operation> history;
        std::vector<uint64_t> states{0};
        for (uint64_t moment = 1; moment <= 300; ++moment) {
            const uint64_t at = 100 * moment, from = at - random() % 90 - 1, to = at + random() % 90;
            const auto client = static_cast<uint32_t>(1000 + moment);
            if (random() % 3 == 0) states.push_back(moment), history.push_back(write(client, moment, from, to));
            else history.push_back(read(client, states.back(), from, to));
        }
        REQUIRE(has_order(history));
        if (states.size() < 4) continue;
        history.push_back(read(1, states[states.size() - 3], 100'000, 100'001));
        REQUIRE_FALSE(has_order(history));
    }
}
