// The ring between two processes, both ends in one: invariants R1 to R6 of common/ring.h.
#include "common/ring.h"

#include <deque>
#include <functional>
#include <vector>

#include "tests/unit/ring_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

constexpr uint64_t kCapacity = kPageSize;
constexpr uint64_t kFarPosition = 1ull << 40;

/// Either way of writing; what a consumer sees is the same.
RingWriting any_writing() {
    RingWriting writing = RingWriting::in_place;
    SUBCASE("in place") {}
    SUBCASE("staged") { writing = RingWriting::staged; }
    return writing;
}

/// Overwrites the frame header at the ring's start.
void forge(TestRing& ring, uint32_t length) {
    const FrameHeader header = FrameHeader::of(length, 1, 0);
    std::memcpy(ring.view.data, &header, sizeof header);
}

}  // namespace

TEST_CASE("ring R1: nothing is visible before publish, everything after it") {
    TestRing ring(kCapacity, 0, any_writing());
    CHECK(ring.push("one", 3, 77));
    CHECK(ring.push("two"));
    CHECK(ring.pop() == "<empty>");
    CHECK_FALSE(ring.consumer.has_more());
    CHECK(ring.producer.unpublished());
    CHECK(ring.producer.publish());
    CHECK_FALSE(ring.producer.publish());
    CHECK(ring.consumer.has_more());
    CHECK(ring.pop() == "one");
    CHECK(ring.frame.kind == 3);
    CHECK(ring.frame.id == 77);
    CHECK(ring.pop() == "two");
    CHECK(ring.pop() == "<empty>");
}

TEST_CASE("ring R2: space comes back with the consumer's publish and not before") {
    TestRing ring(kCapacity, 0, any_writing());
    const std::string body(ring.view.max_body(), 'x');
    while (ring.push(body)) {}
    ring.producer.publish();
    CHECK(ring.pop() == body);
    CHECK_FALSE(ring.push(body));
    CHECK(ring.consumer.publish());
    CHECK_FALSE(ring.consumer.publish());
    CHECK(ring.push(body));
}

TEST_CASE("ring R4: full is full at every offset, and the depth never exceeds the capacity") {
    TestRing ring(kCapacity, 0, any_writing());
    for (uint64_t offset = 0; offset < kCapacity; offset += kFrameAlignment) {
        ring.restart(kFarPosition + offset);
        while (ring.push("12345678")) {}
        REQUIRE(ring.producer.depth() <= kCapacity);
        REQUIRE(ring.producer.depth() + frame_bytes(8) > kCapacity);
        ring.producer.publish();
        unsigned taken = 0;
        while (ring.pop() == "12345678") ++taken;
        REQUIRE(taken == kCapacity / frame_bytes(8));
    }
}

TEST_CASE("ring: frames of random lengths wrap at every offset") {
    Random random;
    INFO("SEED=" << random.seed);
    TestRing ring(kCapacity, 0, any_writing());
    for (uint64_t offset = 0; offset < kCapacity; offset += kFrameAlignment) {
        ring.restart(kFarPosition - kCapacity + offset);
        std::deque<std::string> sent;
        for (int i = 0; i < 40; ++i) {
            const std::string body = random.bytes(random.below(ring.view.max_body() + 1));
            if (ring.push(body)) sent.push_back(body);
            if (random.below(2) == 0) ring.producer.publish();
            while (random.below(3) != 0 && ring.consumer.has_more()) {
                REQUIRE(ring.pop() == sent.front());
                sent.pop_front();
            }
            if (random.below(2) == 0) ring.consumer.publish();
        }
    }
}

TEST_CASE("ring: indices that run over 64 bits do no harm") {
    TestRing ring(kCapacity, 0ull - kCapacity / 2);
    for (int i = 0; i < 100; ++i) {
        REQUIRE(ring.push("over the edge"));
        ring.producer.publish();
        REQUIRE(ring.pop() == "over the edge");
        ring.consumer.publish();
    }
}

TEST_CASE("ring: a frame may be shorter than claimed") {
    TestRing ring(kCapacity, 0, any_writing());
    std::byte* room = ring.producer.try_claim(200);
    REQUIRE(room != nullptr);
    std::memcpy(room, "short", 5);
    ring.producer.commit(5, 1, 0);
    CHECK(ring.push("next"));
    ring.producer.publish();
    CHECK(ring.pop() == "short");
    CHECK(ring.pop() == "next");
}

TEST_CASE("ring: a second claim without a commit starts over") {
    TestRing ring(kCapacity);
    std::byte* first = ring.producer.try_claim(100);
    CHECK(ring.producer.try_claim(8) == first);
    CHECK_FALSE(ring.producer.unpublished());
}

TEST_CASE("ring: an empty body is a message") {
    TestRing ring(kCapacity, 0, any_writing());
    CHECK(ring.push("", 9));
    ring.producer.publish();
    CHECK(ring.pop() == "");
    CHECK(ring.frame.kind == 9);
}

TEST_CASE("ring: what is put back is given again") {
    TestRing ring(kCapacity);
    ring.push("first");
    ring.push("second");
    ring.producer.publish();
    CHECK(ring.pop() == "first");
    CHECK(ring.pop() == "second");
    ring.consumer.put_back(ring.frame);
    CHECK(ring.consumer.has_more());
    CHECK(ring.pop() == "second");
    CHECK(ring.pop() == "<empty>");
}

TEST_CASE("ring R5: eight frames of the longest body fit at every offset") {
    TestRing ring(kCapacity, 0, any_writing());
    const std::string body(ring.view.max_body(), 'm');
    for (uint64_t offset = 0; offset < kCapacity; offset += kFrameAlignment) {
        ring.restart(offset);
        for (int i = 0; i < 8; ++i) REQUIRE(ring.push(body));
    }
}

TEST_CASE("ring R5: a claim beyond the longest body is our own bug") {
    TestRing ring(kCapacity, 0, any_writing());
    ring.push("opened");
    CHECK_FALSE(survives([&] { ring.producer.try_claim(kCapacity / kMaxFrameShare); }));
}

TEST_CASE("ring R6: a tail out of range is reported") {
    struct { std::string_view what; uint64_t distance; } cases[] = {{"beyond the capacity", kCapacity + 8},
                                                               {"behind the head", 0ull - 8},
                                                               {"far behind", 0ull - kCapacity},
                                                               {"not aligned", 20}};
    for (const auto& [what, distance] : cases) {
        CAPTURE(what);
        TestRing ring(kCapacity, kFarPosition);
        ring.control.tail.store(kFarPosition + distance);
        CHECK(ring.pop() == "<corrupt>");
        CHECK(ring.pop() == "<corrupt>");
    }
}

TEST_CASE("ring R6: a length out of range is reported") {
    TestRing probe(kCapacity);
    for (const uint32_t length : {probe.view.max_body() + 1, 0x7fffffffu, 0xfffffff0u, 0xffffffffu}) {
        CAPTURE(length);
        TestRing ring(kCapacity);
        forge(ring, length);
        ring.control.tail.store(kCapacity);
        CHECK(ring.pop() == "<corrupt>");
        CHECK(ring.pop() == "<corrupt>");
    }
}

TEST_CASE("ring R6: a length that leads beyond the tail is reported, one that ends there is not") {
    TestRing ring(kCapacity);
    forge(ring, 25);
    ring.control.tail.store(32);
    CHECK(ring.pop() == "<corrupt>");
    TestRing exact(kCapacity);
    forge(exact, 24);
    exact.control.tail.store(32);
    CHECK(exact.pop().size() == 24);
}

TEST_CASE("ring R6: a frame in the middle that lies costs what follows, not what came before") {
    TestRing ring(kCapacity);
    ring.push("good");
    ring.push("bad");
    ring.producer.publish();
    const FrameHeader liar = FrameHeader::of(0xffff, 1, 0);
    std::memcpy(ring.view.data + frame_bytes(4), &liar, sizeof liar);
    CHECK(ring.pop() == "good");
    CHECK(ring.pop() == "<corrupt>");
}

TEST_CASE("ring R6: a head out of range is full for ever and nothing worse") {
    for (const uint64_t distance : {uint64_t{8}, kCapacity, uint64_t{0} - 2 * kCapacity, uint64_t{1} << 63}) {
        CAPTURE(distance);
        TestRing ring(kCapacity, kFarPosition);
        while (ring.push("12345678")) {}
        ring.control.head.store(ring.control.tail.load() + ring.producer.depth() + distance);
        CHECK_FALSE(ring.push("12345678"));
        CHECK_FALSE(ring.push("12345678"));
    }
}

TEST_CASE("ring: a wish for space is seen by the consumer until it is taken back") {
    TestRing ring(kCapacity);
    CHECK_FALSE(ring.consumer.producer_wants_space());
    ring.producer.want_space(true);
    CHECK(ring.consumer.producer_wants_space());
    ring.producer.want_space(false);
    CHECK_FALSE(ring.consumer.producer_wants_space());
}

TEST_CASE("ring: a successor goes on where the indices stand") {
    TestRing ring(kCapacity);
    ring.push("taken");
    ring.push("left");
    ring.producer.publish();
    CHECK(ring.pop() == "taken");
    ring.consumer.publish();
    ring.consumer = RingConsumer(ring.view);
    ring.producer = RingProducer(ring.view, RingWriting::in_place);
    ring.push("new");
    ring.producer.publish();
    CHECK(ring.pop() == "left");
    CHECK(ring.pop() == "new");
}

TEST_CASE("ring R8: what is staged reaches its place when the stage is full, when a frame is too large for it, and at publish") {
    TestRing ring(32 * kPageSize, kFarPosition - 100 * kFrameAlignment, RingWriting::staged);
    const std::string small(100, 's'), large(kStageBytes + 1, 'l');
    std::deque<std::string> sent;
    for (unsigned i = 0; i < 3 * kStageBytes / small.size(); ++i) sent.push_back(small + std::to_string(i));
    sent.push_back(large);
    sent.insert(sent.end(), {"after", large, large, "last"});
    for (const std::string& body : sent) REQUIRE(ring.push(body));
    CHECK(ring.pop() == "<empty>");
    ring.producer.publish();
    for (const std::string& body : sent) REQUIRE(ring.pop() == body);
    CHECK(ring.pop() == "<empty>");
}

TEST_CASE("ring R8: a large claim that ends small, and a small one after it, keep their order") {
    TestRing ring(32 * kPageSize, 0, RingWriting::staged);
    ring.push("staged before");
    std::byte* room = ring.producer.try_claim(kStageBytes);
    std::memcpy(room, "short", 5);
    ring.producer.commit(5, 1, 0);
    ring.push("staged after");
    ring.producer.publish();
    CHECK(ring.pop() == "staged before");
    CHECK(ring.pop() == "short");
    CHECK(ring.pop() == "staged after");
}

TEST_CASE("ring R9: batches around the length from which on they are streamed arrive whole, wherever they begin") {
    TestRing ring(16 * kPageSize, kFarPosition, RingWriting::staged);
    for (uint64_t begin = 0; begin < 2 * kLineBytes; begin += kFrameAlignment)
        for (uint32_t bytes = kStreamBytesMin - 3 * kLineBytes; bytes < kStreamBytesMin + 3 * kLineBytes; bytes += kFrameAlignment) {
            // One frame to begin at another place of a line, then some that make a batch of `bytes` together.
            REQUIRE(ring.push(std::string(begin, 'b')));
            ring.producer.publish();
            REQUIRE(ring.pop() == std::string(begin, 'b'));
            ring.consumer.publish();
            const std::string first(bytes / 3, static_cast<char>('c' + bytes % 20)), second(bytes - bytes / 3 - 2 * sizeof(FrameHeader), 'd');
            REQUIRE(ring.push(first));
            REQUIRE(ring.push(second));
            ring.producer.publish();
            REQUIRE(ring.pop() == first);
            REQUIRE(ring.pop() == second);
            ring.consumer.publish();
        }
}

TEST_CASE("ring: frames taken back are gone, those before them and after stay") {
    TestRing ring(16 * kPageSize, kFarPosition, any_writing());
    const std::string filler(kStageBytes / 2, 'f');
    ring.push("kept");
    const uint64_t first = ring.producer.position();
    SUBCASE("still in the stage") { ring.push("taken back"); }
    SUBCASE("long since at its place") {
        for (int i = 0; i < 5; ++i) ring.push(filler);
    }
    SUBCASE("partly") {
        for (int i = 0; i < 2; ++i) ring.push(filler);
        ring.push("also");
    }
    ring.producer.rewind(first);
    ring.push("new");
    ring.producer.publish();
    CHECK(ring.pop() == "kept");
    CHECK(ring.pop() == "new");
    CHECK(ring.pop() == "<empty>");
}
