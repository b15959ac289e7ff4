// The ring and the wake-up between two threads of one process, so that ThreadSanitizer can look on (make SAN=thread): it
// sees no further than one process. Orders that only fences make (wakeup.h) are shown by tests/stress/wakeup_stress.cc.
#include <sys/stat.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>

#include "common/wakeup.h"
#include "tests/unit/ring_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

constexpr uint64_t kMessages = 50'000;

std::string body_of(uint64_t number) { return std::string(number * 7919 % 300, static_cast<char>('a' + number % 26)); }

void produce(TestRing& ring, BasicBell<>& bell) {
    std::minstd_rand random(1);
    for (uint64_t number = 0; number < kMessages;) {
        for (unsigned batch = 1 + random() % 16; batch > 0 && number < kMessages; --batch) {
            if (!ring.producer.try_push(1, number, bytes_of(body_of(number)))) break;
            ++number;
        }
        ring.producer.publish();
        bell.ring();
        if (!ring.producer.has_room(frame_bytes(300))) std::this_thread::yield();
    }
}

}  // namespace

TEST_CASE("ring and wake-up between two threads: every message once, whole, in order") {
    TestRing ring(kRingCapacityMin, 0, RingWriting::staged);
    std::atomic<uint32_t> park{0};
    BasicParker<> parker(park);
    REQUIRE(mkfifo(ring.folder.file("fifo").c_str(), 0600) == 0);
    const Fifo fifo(ring.folder.file("fifo"));
    BasicBell<> bell(park, Fifo(ring.folder.file("fifo")));
    std::thread producer([&] { produce(ring, bell); });
    uint64_t expected = 0, wrong = 0;
    while (expected < kMessages) {
        while (ring.consumer.next(ring.frame) == RingRead::frame) {
            wrong += ring.frame.id != expected || text_of(ring.frame.body) != body_of(expected);
            ++expected;
        }
        ring.consumer.publish();
        parker.begin_park();
        if (!ring.consumer.has_more() && expected < kMessages) fifo.wait(1000);
        parker.end_park();
    }
    producer.join();
    CHECK(wrong == 0);
    CHECK(ring.pop() == "<empty>");
}
