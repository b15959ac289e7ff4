// Large requests from fragments: in order, within the budget, and whatever a faulty io_conn sends.
#include "md/assembly.h"

#include "tests/unit/ring_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::Assembly;
using Outcome = Assembly::Outcome;

namespace {

constexpr ConnectionId kOne{1, 10}, kTwo{2, 20};

std::string fragment(uint64_t total, uint64_t offset, std::string_view bytes) {
    const FragmentHeader header{total, offset};
    return std::string(reinterpret_cast<const char*>(&header), sizeof header) + std::string(bytes);
}

struct Fixture {
    explicit Fixture(uint64_t limit = 1'000'000) : budget{limit, 0} {}

    Outcome add(ConnectionId connection, uint64_t total, uint64_t offset, std::string_view bytes) {
        return assembly.add(connection, bytes_of(fragment(total, offset, bytes)));
    }
    /// Sends `request` in fragments of `piece` bytes; what the last one gave.
    Outcome send(ConnectionId connection, const std::string& request, size_t piece) {
        Outcome outcome = Outcome::waiting;
        for (size_t offset = 0; offset < request.size(); offset += piece) {
            REQUIRE(outcome == Outcome::waiting);
            outcome = add(connection, request.size(), offset, std::string_view(request).substr(offset, piece));
        }
        return outcome;
    }
    std::string request() const { return text_of(assembly.request()); }

    md::AssemblyBudget budget;
    Assembly assembly{budget};
};

}  // namespace

TEST_CASE("assembly: fragments of any length make the request") {
    const std::string request = Random{}.bytes(5000);
    for (const size_t piece : {1, 7, 999, 2500, 4999, 5000}) {
        Fixture fixture;
        CAPTURE(piece);
        CHECK(fixture.send(kOne, request, piece) == Outcome::complete);
        CHECK((fixture.request() == request));
    }
}

TEST_CASE("assembly: connections do not disturb each other") {
    Fixture fixture;
    CHECK(fixture.add(kOne, 6, 0, "abc") == Outcome::waiting);
    CHECK(fixture.add(kTwo, 4, 0, "12") == Outcome::waiting);
    CHECK(fixture.add(kOne, 6, 3, "def") == Outcome::complete);
    CHECK(fixture.request() == "abcdef");
    CHECK(fixture.add(kTwo, 4, 2, "34") == Outcome::complete);
    CHECK(fixture.request() == "1234");
}

TEST_CASE("assembly: offset 0 starts over") {
    Fixture fixture;
    fixture.add(kOne, 10, 0, "old");
    CHECK(fixture.send(kOne, "new one", 4) == Outcome::complete);
    CHECK(fixture.request() == "new one");
}

TEST_CASE("assembly: a fragment that does not continue what is there is dropped") {
    Fixture fixture;
    fixture.add(kOne, 6, 0, "abc");
    CHECK(fixture.add(kOne, 6, 2, "xdef") == Outcome::waiting);
    CHECK(fixture.add(kOne, 6, 4, "ef") == Outcome::waiting);
    CHECK(fixture.add(kOne, 7, 3, "def") == Outcome::waiting);
    CHECK(fixture.add(kOne, 6, 3, "defg") == Outcome::waiting);
    CHECK(fixture.add({1, 11}, 6, 3, "def") == Outcome::waiting);
    CHECK(fixture.add({3, 10}, 6, 3, "def") == Outcome::waiting);
    CHECK(fixture.add(kOne, 6, 3, "def") == Outcome::complete);
    CHECK(fixture.request() == "abcdef");
}

TEST_CASE("assembly: a newer connection in the slot starts over, the older one's rest is dropped") {
    Fixture fixture;
    fixture.add(kOne, 6, 0, "abc");
    fixture.add({1, 11}, 4, 0, "12");
    CHECK(fixture.add(kOne, 6, 3, "def") == Outcome::waiting);
    CHECK(fixture.add({1, 11}, 4, 2, "34") == Outcome::complete);
    CHECK(fixture.request() == "1234");
}

TEST_CASE("assembly: hostile numbers do no harm and take no memory") {
    Fixture fixture;
    for (const uint64_t number : {uint64_t{0}, uint64_t{1} << 63, ~uint64_t{0}})
        for (const uint64_t offset : {uint64_t{1}, uint64_t{1} << 63, ~uint64_t{0}}) fixture.add(kOne, number, offset, "abc");
    CHECK(fixture.add(kOne, ~uint64_t{0}, 0, "abc") == Outcome::waiting);
    CHECK(fixture.add(kOne, 2, 0, "abc") == Outcome::waiting);
    CHECK(fixture.assembly.add(kOne, bytes_of("too short")) == Outcome::waiting);
    CHECK(fixture.assembly.add(kOne, {}) == Outcome::waiting);
    CHECK(fixture.send(kOne, "still works", 4) == Outcome::complete);
}

TEST_CASE("assembly: memory is taken as bytes arrive, not as announced") {
    Fixture fixture;
    fixture.add(kOne, ~uint64_t{0}, 0, std::string(1000, 'x'));
    CHECK(fixture.budget.used <= 4000);
}

TEST_CASE("assembly: what is used comes back to zero") {
    Fixture fixture;
    fixture.send(kOne, std::string(5000, 'x'), 1000);
    CHECK(fixture.budget.used == 0);
    fixture.add(kOne, 5000, 0, std::string(1000, 'x'));
    fixture.assembly.forget(kOne);
    CHECK(fixture.budget.used == 0);
    fixture.add(kOne, 5000, 0, std::string(1000, 'x'));
    fixture.add(kOne, 5000, 0, std::string(1000, 'x'));
    fixture.assembly.forget(kOne);
    CHECK(fixture.budget.used == 0);
}

TEST_CASE("assembly: what is used comes back to zero with its channel") {
    md::AssemblyBudget budget{1'000'000, 0};
    {
        Assembly assembly(budget);
        assembly.add(kOne, bytes_of(fragment(5000, 0, "abc")));
        assembly.add(kTwo, bytes_of(fragment(5000, 0, std::string(1000, 'x'))));
    }
    CHECK(budget.used == 0);
}

TEST_CASE("assembly: the ten thousandth large request is taken like the first") {
    Fixture fixture;
    unsigned completed = 0;
    for (int i = 0; i < 10'000; ++i) completed += fixture.send(kOne, std::string(20'000, 'x'), 8000) == Outcome::complete;
    CHECK(completed == 10'000);
}

TEST_CASE("assembly: beyond the budget a request is read to its end and refused, others go on") {
    Fixture fixture(10'000);
    CHECK(fixture.send(kOne, std::string(20'000, 'x'), 3000) == Outcome::refused);
    CHECK(fixture.send(kTwo, std::string(5'000, 'y'), 3000) == Outcome::complete);
    CHECK((fixture.request() == std::string(5'000, 'y')));
    CHECK(fixture.send(kOne, std::string(6'000, 'z'), 3000) == Outcome::complete);
}

TEST_CASE("assembly: the budget is shared, and what is forgotten comes back") {
    Fixture fixture(10'000);
    fixture.add(kOne, 9000, 0, std::string(8000, 'x'));
    CHECK(fixture.send(kTwo, std::string(5'000, 'y'), 3000) == Outcome::refused);
    fixture.assembly.forget({kOne.slot, kOne.generation + 1});
    CHECK(fixture.send(kTwo, std::string(5'000, 'y'), 3000) == Outcome::refused);
    fixture.assembly.forget(kOne);
    CHECK(fixture.send(kTwo, std::string(5'000, 'y'), 3000) == Outcome::complete);
}

TEST_CASE("assembly: random fragments do no harm") {
    Random random;
    INFO("SEED=" << random.seed);
    Fixture fixture(50'000);
    const auto number = [&] { return random.below(8) == 0 ? random.engine() * uint64_t{0x100000001} : random.below(300); };
    for (int i = 0; i < 20'000; ++i) {
        const ConnectionId connection{static_cast<uint32_t>(random.below(3)), static_cast<uint32_t>(random.below(2))};
        if (random.below(20) == 0) fixture.assembly.forget(connection);
        const uint64_t total = number();
        if (fixture.add(connection, total, random.below(2) * number(), std::string(random.below(100), 'x')) == Outcome::complete)
            REQUIRE(fixture.request().size() == total);
    }
}
