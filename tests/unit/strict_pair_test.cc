// The strict pair's state machine (md/strict_pair.h): the table of tests/model/README.md, and two machines and what is between them (pair_world.h): the promises
// P1..P5 after every event, and that they get in sync when nothing happens any more. Random, the seed is printed; SEED=n repeats a run. The same with a mistake made
// on purpose in what is done with the steps, for each of several mistakes: the promises have to be seen broken.
#include "md/strict_pair.h"

#include <cstdlib>
#include <random>
#include <string>

#include "tests/unit/pair_world.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

uint64_t first_seed() {
    const char* const given = std::getenv("SEED");
    return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
}

struct Outcome {
    std::string fault;
    uint64_t seed = 0, acknowledged = 0, failed = 0, syncs = 0, unsettled = 0;
};
Outcome run_worlds(uint64_t seed, unsigned worlds, Mistake mistake) {
    Outcome sum;
    for (unsigned w = 0; w < worlds; ++w) {
        World world(seed + w, mistake);
        for (unsigned turn = 0; turn < 1000 && world.fault().empty(); ++turn) world.turn();
        if (mistake == Mistake::none && world.fault().empty()) sum.unsettled += !world.settles();
        sum.syncs += world.syncs();
        sum.acknowledged += static_cast<uint64_t>(std::popcount(world.acknowledged()));
        sum.failed += static_cast<uint64_t>(std::popcount(world.failed()));
        if (world.fault().empty()) continue;
        sum.fault = world.fault();
        sum.seed = seed + w;
        return sum;
    }
    return sum;
}

}  // namespace

TEST_CASE("strict pair R7: what a secondary gets, by what it has") {
    const auto answer = [](const PairRecord& primary, const PairEvent& hello) { return step(primary, hello, {}, 100); };
    PairRecord primary = record_of(PairRole::primary, PairState::warm, kSecond, 20);
    primary.before_epoch = kFirst;
    primary.before_number = 12;
    primary.base = 12;
    PairStep made = answer(primary, hello_of(kSecond, 15));
    CHECK(made.answer == PairAnswer::partial);
    CHECK(made.from == 15);
    CHECK(made.cut == kNoCut);
    CHECK(made.next.link == 6);
    CHECK(made.next.state == PairState::warm);
    made = answer(primary, hello_of(kFirst, 12));
    CHECK(made.answer == PairAnswer::partial);
    CHECK(made.cut == 12);
    CHECK(made.from == 12);
    CHECK(answer(primary, hello_of(kFirst, 11)).answer == PairAnswer::full);
    CHECK(answer(primary, hello_of(kFirst, 14)).answer == PairAnswer::full);  // what it undoes would stand behind what follows
    CHECK(answer(primary, hello_of(kSecond, 15, false)).answer == PairAnswer::full);
    primary.number = primary.base = 12;
    made = answer(primary, hello_of(kFirst, 14));
    CHECK(made.answer == PairAnswer::partial);
    CHECK(made.cut == 12);
    CHECK(made.from > 14);
    CHECK(made.next.number == made.from);
}

TEST_CASE("strict pair R9: a higher epoch fences the primary, and it gives nothing") {
    const PairStep made = step(record_of(PairRole::primary, PairState::in_sync), hello_of(kSecond, 3), {}, 100);
    CHECK(made.answer == PairAnswer::fenced);
    CHECK(made.next.role == PairRole::fenced);
    CHECK(made.next.link == 0);
    CHECK(made.file);
    CHECK_FALSE(made.next.takes_writes());
    CHECK(step(made.next, event_of(Kind::promote), {}, 100).next.epoch > kSecond);
}

TEST_CASE("strict pair R4: a timeout undoes what is open of this epoch, and nothing that was inherited") {
    PairRecord primary = record_of(PairRole::primary, PairState::in_sync);
    primary.mark = 8;
    const PairStep made = step(primary, event_of(Kind::timeout), {true, true, 0}, 11);
    CHECK(made.undo);
    CHECK(made.undo_above == 8);
    CHECK(made.fails_owed);
    CHECK(made.file);
    CHECK(made.next.epoch > primary.epoch);
    CHECK(made.next.voided == VoidRecord{kFirst, 8});
    CHECK(made.next.before_number == 8);
    CHECK(made.next.state == PairState::warm);
    CHECK(made.next.link == 0);
    CHECK(made.number == 11);
    CHECK_FALSE(step(primary, event_of(Kind::timeout), {true, false, 0}, 11).undo);
    CHECK_FALSE(step(record_of(PairRole::secondary, PairState::in_sync), event_of(Kind::timeout), {true, true, 0}, 11).undo);
}

TEST_CASE("strict pair: a message of another connection, epoch, role or state changes nothing") {
    const PairRecord primary = record_of(PairRole::primary, PairState::in_sync), secondary = record_of(PairRole::secondary, PairState::in_sync);
    for (const PairEvent& event : {event_of(Kind::confirm, 4), event_of(Kind::confirm, 5, kSecond), event_of(Kind::mark), event_of(Kind::partial), event_of(Kind::synced)})
        CHECK(step(primary, event, {}, 100).next == primary);
    for (const PairEvent& event : {event_of(Kind::mark, 4), event_of(Kind::mark, 5, kSecond), event_of(Kind::mark, 5, kFirst, 11), event_of(Kind::confirm), hello_of(kSecond, 3)})
        CHECK(step(secondary, event, {}, 100).next == secondary);
    CHECK_FALSE(step(record_of(PairRole::primary, PairState::warm), event_of(Kind::confirm), {}, 100).confirm);
}

TEST_CASE("strict pair R10, R13: orders, and why they are refused") {
    CHECK_FALSE(step(record_of(PairRole::secondary, PairState::cold), event_of(Kind::promote), {}, 100).refusal.empty());
    CHECK_FALSE(step(record_of(PairRole::fenced, PairState::warm), event_of(Kind::promote), {true, true, 0}, 100).refusal.empty());
    CHECK_FALSE(step(record_of(PairRole::primary, PairState::in_sync), event_of(Kind::follow), {true, true, 0}, 100).refusal.empty());
    CHECK_FALSE(step(record_of(PairRole::primary, PairState::in_sync), event_of(Kind::alone), {}, 100).refusal.empty());
    CHECK_FALSE(step(record_of(PairRole::secondary, PairState::warm), event_of(Kind::alone), {}, 100).refusal.empty());
    PairRecord primary = record_of(PairRole::primary, PairState::warm);
    primary.link = 0;
    const PairStep made = step(primary, event_of(Kind::alone), {true, true, 0}, 100);
    CHECK(made.confirm);
    CHECK(made.next.takes_writes());
    CHECK(made.next.writes_alone());
    CHECK(made.next.mark == made.next.number);
    PairRecord never{};
    never.role = PairRole::primary;
    CHECK(step(never, event_of(Kind::alone), {}, 100).next.state == PairState::warm);
    never.heard = 1;
    CHECK_FALSE(step(never, event_of(Kind::alone), {}, 100).refusal.empty());
}

TEST_CASE("strict pair R7: other data with the same position means a full sync") {
    PairEvent synced = event_of(Kind::synced);
    synced.checksum = 1;
    const PairStep made = step(record_of(PairRole::primary, PairState::warm), synced, {}, 100);
    CHECK(made.answer == PairAnswer::full);
    CHECK(made.next.state == PairState::warm);
    CHECK_FALSE(made.confirm);
}

TEST_CASE("strict pair M3: a copy counts when all that follows it is there, and one of what is open not before the sync point") {
    PairRecord secondary = record_of(PairRole::secondary, PairState::bootstrapping, {});
    secondary.link = 0;
    const PairRecord loaded = step(secondary, event_of(Kind::loaded), {}, 100).next;
    CHECK_FALSE(loaded.is_complete());
    PairEvent reached = event_of(Kind::reached);
    CHECK(step(loaded, reached, {}, 100).next.state == PairState::warm);
    reached.open = true;
    CHECK_FALSE(step(loaded, reached, {}, 100).next.is_complete());
    CHECK(step(loaded, event_of(Kind::mark), {}, 100).next.state == PairState::in_sync);
}

TEST_CASE("strict pair P1 to P5: two machines, whatever happens to them and between them") {
    const uint64_t seed = first_seed();
    const Outcome outcome = run_worlds(seed, 6'000, Mistake::none);
    CHECK_MESSAGE(outcome.fault.empty(), "SEED=", outcome.seed, ": ", outcome.fault);
    MESSAGE("SEED=", seed, ": ", outcome.syncs, " sync points, ", outcome.acknowledged, " writes acknowledged, ", outcome.failed, " answered with an error");
    CHECK(outcome.syncs > 1000);
    CHECK(outcome.acknowledged > 1000);
    CHECK(outcome.failed > 1000);
    CHECK(outcome.unsettled == 0);
}

TEST_CASE("strict pair: each mistake on purpose is seen") {
    for (const Mistake mistake : {Mistake::answered_unconfirmed, Mistake::nothing_undone, Mistake::void_record_forgotten, Mistake::epoch_not_raised,
                                  Mistake::unconfirmed_shown, Mistake::old_value_shown, Mistake::file_not_written})
        CHECK_MESSAGE(!run_worlds(first_seed(), 20'000, mistake).fault.empty(), "mistake ", static_cast<int>(mistake), " is not seen");
}
