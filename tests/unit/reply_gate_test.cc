// Which replies may be read while the disk is waited for: invariants G1 and G2 of io_conn/reply_gate.h, and what the ring holds back.
#include "io_conn/reply_gate.h"

#include "tests/unit/ring_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using io_conn::ReplyGate;

TEST_CASE("reply gate: what was there before may be read, what comes later waits for its own position") {
    ReplyGate gate;
    gate.begin(80);
    gate.note(80, 500);
    CHECK_FALSE(gate.holds());
    CHECK(gate.open_up_to(0) == 80);
    gate.note(96, 500);
    CHECK(gate.holds());
    CHECK(gate.open_up_to(499) == 80);
    CHECK(gate.open_up_to(500) == 96);
    CHECK_FALSE(gate.holds());
}

TEST_CASE("reply gate G2: an earlier batch does not wait for a later one") {
    ReplyGate gate;
    gate.begin(0);
    gate.note(8, 100);
    gate.note(16, 200);
    gate.note(16, 300);  // the position beside a tail that is known already
    gate.note(24, 300);
    CHECK(gate.open_up_to(150) == 8);
    CHECK(gate.open_up_to(250) == 16);
    gate.note(32, 300);  // reads only: nothing was written to the oplog
    CHECK(gate.open_up_to(299) == 16);
    CHECK(gate.open_up_to(300) == 32);
}

TEST_CASE("reply gate G2: when all places are taken, the first batches still go out by themselves") {
    ReplyGate gate;
    gate.begin(0);
    constexpr uint64_t kMore = 3 * ReplyGate::kBatchesMax;
    for (uint64_t i = 1; i <= kMore; ++i) gate.note(8 * i, 100 * i);
    for (uint64_t i = 1; i < ReplyGate::kBatchesMax; ++i) REQUIRE(gate.open_up_to(100 * i) == 8 * i);
    CHECK(gate.open_up_to(100 * ReplyGate::kBatchesMax) == 8 * (ReplyGate::kBatchesMax - 1));  // the last one has taken the others in
    gate.note(8 * (kMore + 1), 100 * (kMore + 1));
    CHECK(gate.open_up_to(100 * kMore) == 8 * kMore);
    CHECK(gate.open_up_to(100 * (kMore + 1)) == 8 * (kMore + 1));
}

TEST_CASE("reply gate: begins anew, whatever it held") {
    ReplyGate gate;
    gate.begin(0);
    gate.note(8, 100);
    gate.begin(16);
    CHECK_FALSE(gate.holds());
    gate.note(24, 200);
    CHECK(gate.open_up_to(150) == 16);
}

TEST_CASE("ring: frames that are held are not there for next() and has_more(), and count as published") {
    TestRing ring(kPageSize);
    ring.push("one");
    const uint64_t tail = ring.producer.position();
    ring.push("two");
    ring.producer.publish();
    ring.consumer.hold_from(0);
    CHECK_FALSE(ring.consumer.has_more());
    CHECK(ring.pop() == "<empty>");
    CHECK(ring.consumer.depth() == ring.producer.position());
    ring.consumer.hold_from(tail);
    CHECK(ring.consumer.has_more());
    CHECK(ring.pop() == "one");
    CHECK(ring.pop() == "<empty>");
    CHECK_FALSE(ring.consumer.has_more());
    ring.consumer.hold_from(RingConsumer::kNothingHeld);
    CHECK(ring.consumer.has_more());
    CHECK(ring.pop() == "two");
    CHECK(ring.pop() == "<empty>");
}
