// Stress of sleeping and waking (common/wakeup.h, W1): a producer publishes a message at about the moment when the
// consumer parks, 300,000 times (make soak: ten million), and the consumer really blocks on its FIFO. No wake-up may be lost; and the same rounds
// with either fence left out must lose some, or else the test could not see a loss.
//
//     wakeup_stress [--parks N] [--seed N] [--seconds N] [--without consumer|producer|both]
//
// One round: the consumer has taken message i and published `head`, the producer sees that and publishes i + 1, the
// consumer looks once more, and parks. Both sides wait a random little time first, so that all orders come about.
// To make a missing fence visible, each side stores to lines that the other has just written (`contended`) right before
// the store under test: the store buffer empties in order, so the store under test stays in it for longer.
// A wake-up is lost when three things hold, which no delay of a process can feign: the consumer has parked and found
// nothing, the producer has published *and come back from ring()*, and the FIFO holds no byte.
// Without --without: N parks with both fences, then each mutant until it has lost kLossesEnough, for at most `--seconds`
// seconds; one loss is enough for it to count as seen.
#include <array>
#include <atomic>
#include <cinttypes>

#include "common/channel.h"
#include "common/clock.h"
#include "common/wakeup.h"
#include "tests/stress/stage.h"

using namespace millrace;
using namespace millrace::stress;

namespace {

/// Keeps the compiler from moving anything, so that what is shown is the processor's doing.
inline void compiler_only() { std::atomic_signal_fence(std::memory_order_seq_cst); }

struct NoConsumerFence : BothFences {
    static void consumer() { compiler_only(); }
};
struct NoProducerFence : BothFences {
    static void producer() { compiler_only(); }
};
struct NoFences {
    static void consumer() { compiler_only(); }
    static void producer() { compiler_only(); }
};

constexpr unsigned kContendedLines = 8;
constexpr uint64_t kDelayMax = 400;        ///< steps of spin(), per side
constexpr int kPatienceMs = 20;            ///< blocked for so long: look whether the wake-up was lost
constexpr uint64_t kStuckUs = 20'000'000;  ///< neither woken nor lost for so long: the test itself hangs
constexpr uint64_t kLossesEnough = 20;
constexpr uint64_t kNoLimit = ~0ull;

struct alignas(kCacheLineDistance) Line {
    std::atomic<uint64_t> word;
};

/// Words shared by both processes besides the ring.
struct Shared {
    alignas(kCacheLineDistance) std::atomic<uint32_t> park;
    Line rung;  ///< the last message for which the producer has come back from ring()
    Line bytes_written;
    Line stop;
    std::array<Line, kContendedLines> contended;
};

/// What both processes have before the fork.
struct Stage {
    Channel channel;
    Segment segment;
    Fifo consumer_end, producer_end;

    Shared& shared() const { return *segment.payload<Shared>(); }
};

Stage make_stage() {
    const Folder folder;
    Stage stage;
    stage.channel = Channel::create(folder.file("rings"), 1, 1, kRingCapacityMin);
    stage.segment = Segment::create({folder.file("shared"), layout_hash("wakeup-stress", {sizeof(Shared)}), 1, 1,
                                     kSegmentPayload + sizeof(Shared)});
    stage.consumer_end = folder.fifo("fifo");
    stage.producer_end = folder.fifo("fifo");
    return stage;
}

void fill_store_buffer(Shared& shared, uint64_t value) {
    for (Line& line : shared.contended) line.word.store(value, std::memory_order_relaxed);
}

struct Counts {
    uint64_t rounds = 0;   ///< messages taken
    uint64_t early = 0;    ///< published before the consumer wanted to park
    uint64_t noticed = 0;  ///< found by the look after parking
    uint64_t parks = 0;    ///< blocked on the FIFO
    uint64_t spurious = 0;  ///< woken without a message
    uint64_t lost = 0;
    bool stuck = false;
    bool damaged = false;  ///< a message other than the next one
};

template <class Fences>
class Producer {
  public:
    Producer(Stage& stage, uint64_t seed)
        : shared_(stage.shared()), ring_(stage.channel.requests(), RingWriting::staged), bell_(shared_.park, std::move(stage.producer_end)), random_(seed) {}

    void run() {
        for (uint64_t message = 1; wait_for_consumer(); ++message) {
            const uint64_t delay = random_.below(kDelayMax);
            spin(delay);
            fill_store_buffer(shared_, message);
            [[maybe_unused]] const bool pushed = ring_.try_push(1, static_cast<uint32_t>(message), {});
            ring_.publish();
            written_ += bell_.ring();
            shared_.bytes_written.word.store(written_, std::memory_order_relaxed);
            shared_.rung.word.store(message, std::memory_order_release);
        }
    }

  private:
    /// Until everything is taken; meanwhile reads the park word, as a producer that is busy does.
    bool wait_for_consumer() {
        while (ring_.depth() != 0) {
            if (shared_.stop.word.load(std::memory_order_relaxed) != 0) return false;
            relax();
        }
        (void)shared_.park.load(std::memory_order_relaxed);
        return true;
    }

    Shared& shared_;
    RingProducer ring_;
    BasicBell<Fences> bell_;
    Random random_;
    uint64_t written_ = 0;
};

template <class Fences>
class Consumer {
  public:
    Consumer(Stage& stage, uint64_t seed)
        : shared_(stage.shared()), ring_(stage.channel.requests()), fifo_(std::move(stage.consumer_end)), parker_(shared_.park), random_(seed) {}

    /// Until `parks` parks are made, or `losses` wake-ups are lost, or the time is over.
    Counts run(uint64_t parks, uint64_t losses, uint64_t until_us) {
        while (counts_.parks < parks && counts_.lost < losses && !counts_.stuck && !counts_.damaged) {
            if ((counts_.rounds & 0xff) == 0 && monotonic_us() > until_us) break;
            take();
            spin(random_.below(kDelayMax));
            if (ring_.has_more()) {
                ++counts_.early;
                continue;
            }
            fill_store_buffer(shared_, counts_.rounds);
            park();
        }
        shared_.stop.word.store(1, std::memory_order_relaxed);
        return counts_;
    }

  private:
    void take() {
        Frame frame;
        while (ring_.next(frame) == RingRead::frame) counts_.damaged |= frame.id != static_cast<uint32_t>(++counts_.rounds);
        ring_.publish();
    }

    void park() {
        parker_.begin_park();
        if (ring_.has_more()) {
            ++counts_.noticed;
        } else {
            ++counts_.parks;
            block();
        }
        parker_.end_park();
    }

    void block() {
        const uint64_t began_us = monotonic_us();
        while (!fifo_.wait(kPatienceMs)) {
            if (message_is_there_and_rung_for()) {
                // The byte may have come after the patience was over; it is taken out by this look, so it counts as the
                // wake-up. None there: lost.
                counts_.lost += !fifo_.wait(0);
                return;
            }
            counts_.stuck = monotonic_us() - began_us > kStuckUs;
            if (counts_.stuck) return;
        }
        counts_.spurious += !ring_.has_more();
    }

    /// `rung` says that ring() has ended, so a byte that it wrote is in the FIFO now.
    bool message_is_there_and_rung_for() {
        return shared_.rung.word.load(std::memory_order_acquire) == counts_.rounds + 1 && ring_.has_more();
    }

    Shared& shared_;
    RingConsumer ring_;
    Fifo fifo_;
    BasicParker<Fences> parker_;
    Random random_;
    Counts counts_;
};

/// One run with its own ring and processes.
template <class Fences>
Counts run(const char* name, uint64_t seed, uint64_t parks, uint64_t losses, uint64_t seconds) {
    Stage stage = make_stage();
    const pid_t child = fork_child([&] {
        pin_to(1);
        Producer<Fences>(stage, seed + 1).run();
    });
    pin_to(0);
    const uint64_t began_us = monotonic_us();
    const Counts counts = Consumer<Fences>(stage, seed).run(parks, losses, began_us + seconds * 1'000'000);
    const double took = static_cast<double>(monotonic_us() - began_us) / 1e6;
    end_child(child);
    const uint64_t written = stage.shared().bytes_written.word.load(std::memory_order_relaxed);
    std::printf("%-19s %" PRIu64 " rounds: %" PRIu64 " early, %" PRIu64 " noticed after parking, %" PRIu64 " parks, %" PRIu64
                " spurious; %" PRIu64 " bytes written, %" PRIu64 " lost, %.1f s%s%s\n",
                name, counts.rounds, counts.early, counts.noticed, counts.parks, counts.spurious, written, counts.lost,
                took, counts.stuck ? ", STUCK" : "", counts.damaged ? ", DAMAGED" : "");
    return counts;
}

constexpr uint64_t kYear = 365 * 86'400;

Counts run_mutant(const std::string& without, uint64_t seed, uint64_t seconds) {
    if (without == "consumer") return run<NoConsumerFence>("no consumer fence:", seed, kNoLimit, kLossesEnough, seconds);
    if (without == "producer") return run<NoProducerFence>("no producer fence:", seed, kNoLimit, kLossesEnough, seconds);
    if (without == "both") return run<NoFences>("no fences:", seed, kNoLimit, kLossesEnough, seconds);
    throw Error("--without takes consumer, producer or both");
}

bool broken(const Counts& counts) { return counts.stuck || counts.damaged; }

int run_all(uint64_t parks, uint64_t seed, uint64_t seconds) {
    const Counts sound = run<BothFences>("both fences:", seed, parks, 1, kYear);
    const Counts consumer = run_mutant("consumer", seed + 10, seconds);
    const Counts producer = run_mutant("producer", seed + 20, seconds);
    const bool none_lost = sound.lost == 0 && sound.parks == parks && !broken(sound);
    const bool seen = consumer.lost != 0 && producer.lost != 0;
    std::printf("%s: %" PRIu64 " parks with both fences, %" PRIu64 " wake-ups lost; without the consumer's fence %" PRIu64
                " lost in %" PRIu64 " rounds, without the producer's %" PRIu64 " in %" PRIu64 "%s; seed %" PRIu64 "\n",
                none_lost && seen ? "PASS" : "FAIL", sound.parks, sound.lost, consumer.lost, consumer.rounds,
                producer.lost, producer.rounds, seen ? "" : " (a mutant that loses nothing: this test is blind)", seed);
    return none_lost && seen ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    const uint64_t seed = number_option(argc, argv, "--seed", fresh_seed());
    const uint64_t parks = number_option(argc, argv, "--parks", 300'000);
    const uint64_t seconds = number_option(argc, argv, "--seconds", 60);
    const std::string without = option(argc, argv, "--without", "");
    try {
        if (processors().size() < 2) throw Error("it takes two processors to see a lost wake-up");
        if (without.empty()) return run_all(parks, seed, seconds);
        const Counts counts = run_mutant(without, seed, seconds);
        std::printf("%s: %" PRIu64 " lost, seed %" PRIu64 "\n", counts.lost ? "FAIL" : "PASS", counts.lost, seed);
        return counts.lost ? 1 : 0;
    } catch (const Error& error) {
        std::printf("FAIL: %s\n", error.what());
        return 1;
    }
}
