// Stress of the ring (common/ring.h, R1..R6) and of taking it over: a producer and a consumer process push messages of
// random length through the smallest and a large ring, park when there is nothing to do or no room, and are killed at
// random moments; a successor goes on from the shared indices.
//
//     ring_stress [--seconds N] [--seed N]
//
// A message's id is its position in the ring, which never repeats; its length and bytes follow from the position and from
// the producer's incarnation, which its body opens with. So each message can be checked by itself, and shown are:
//   - order, nothing lost, nothing twice: each message's id is the consumer's own position, through every takeover;
//   - nothing torn: every byte is the one that this incarnation writes at this position;
//   - nothing published is changed by a producer's death, and nothing unpublished survives it: below the `tail` at which
//     an incarnation died all messages are its own or older, from there on all are younger;
//   - a killed consumer's successor gets exactly what was read and not handed back: the same bytes again (`Seen`);
//   - nobody sleeps for ever: parks have a bound, deaths are followed by a wake-up as in W4. As those wake-ups would hide
//     a lost one, each run begins with a spell without kills.
#include <algorithm>
#include <array>
#include <atomic>
#include <cinttypes>
#include <utility>
#include <vector>

#include "common/channel.h"
#include "common/clock.h"
#include "common/wakeup.h"
#include "tests/stress/stage.h"

using namespace millrace;
using namespace millrace::stress;

namespace {

constexpr uint64_t kLargeRing = 16 * 1024 * 1024;
constexpr unsigned kBatchMax = 64;         ///< messages between two publishes
constexpr uint32_t kIncarnationsMax = 1u << 20;
constexpr uint64_t kLifeUsMax = 20'000;    ///< of a process until it is killed
constexpr int kParkMs = 500;               ///< parked for twice as long with something to do: a lost wake-up
constexpr uint64_t kQuietShare = 3;        ///< a part of this many of the time passes without kills, so without their wake-ups
constexpr uint64_t kDrainUsMax = 60'000'000;  ///< until the consumer has taken all, at the end
constexpr uint64_t kPauseMax = 200'000;    ///< steps of spin(), now and then
constexpr uint32_t kKind = 7;

enum Side : unsigned { kProducerSide, kConsumerSide, kSides };

/// A message that the consumer has read since it handed space back last; outlives the consumer.
struct Seen {
    std::atomic<uint64_t> position, incarnation;
};

/// Words shared by all three processes besides the ring.
struct Shared {
    struct alignas(kCacheLineDistance) Word {
        std::atomic<uint32_t> value;
    };
    std::array<Word, kSides> park;
    std::atomic<uint32_t> finish;  ///< 1: the producer stops at its next batch
    std::atomic<uint32_t> drain;   ///< 1: no producer lives, the consumer stops once the ring is empty
    std::atomic<uint32_t> seen_count;
    std::atomic<uint64_t> messages, repeated, producer_parks, consumer_parks, full;
    std::array<Seen, kBatchMax> seen;
    /// 1 + the tail at which an incarnation died; 0 = lives, or there was none.
    std::array<std::atomic<uint64_t>, kIncarnationsMax> died_at;
};

/// The ring, both park words and both FIFOs, as every process inherits them.
struct Stage {
    Channel channel;
    Segment segment;
    std::array<Fifo, kSides> own_end;      ///< where a side sleeps
    std::array<Fifo, kSides> other_end;    ///< where the other side writes
    std::array<Fifo, kSides> keeper_end;   ///< where the parent writes

    Shared& shared() const { return *segment.payload<Shared>(); }
    RingView ring() const { return channel.requests(); }
};

Stage make_stage(uint64_t capacity) {
    const Folder folder;
    Stage stage;
    stage.channel = Channel::create(folder.file("rings"), 1, 1, capacity);
    stage.segment = Segment::create({folder.file("shared"), layout_hash("ring-stress", {sizeof(Shared)}), 1, 1,
                                     kSegmentPayload + sizeof(Shared)});
    for (unsigned side = 0; side < kSides; ++side)
        for (auto* ends : {&stage.own_end, &stage.other_end, &stage.keeper_end})
            (*ends)[side] = folder.fifo("fifo-" + std::to_string(side));
    return stage;
}

[[noreturn]] void fail(const char* what, uint64_t a = 0, uint64_t b = 0) {
    std::printf("%s (%" PRIu64 ", %" PRIu64 ")\n", what, a, b);
    std::fflush(stdout);
    _exit(1);
}

// --- what a message holds ---------------------------------------------------------------------------------------------

uint64_t mix(uint64_t x) {  // the finaliser of MurmurHash3, Appleby, public domain
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

uint64_t key_of(uint64_t position, uint64_t incarnation) { return mix(position * 0x9e3779b97f4a7c15ull + incarnation); }

/// Mostly short, sometimes anything up to the longest; at least the incarnation.
uint32_t length_of(uint64_t key, uint32_t max_body) {
    if (key % 1024 == 0) return max_body;
    const uint64_t limit = key % 64 == 0 ? max_body - 7 : key % 8 == 1 ? 4096 : 128;
    return 8 + static_cast<uint32_t>(mix(key) % limit);
}

uint64_t word_of(uint64_t key, uint32_t index) { return (key + index) * 0x9e3779b97f4a7c15ull; }

void fill(std::byte* body, uint32_t length, uint64_t key, uint64_t incarnation) {
    std::memcpy(body, &incarnation, 8);
    uint32_t at = 8;
    for (; at + 8 <= length; at += 8) {
        const uint64_t word = word_of(key, at);
        std::memcpy(body + at, &word, 8);
    }
    const uint64_t word = word_of(key, at);
    std::memcpy(body + at, &word, length - at);
}

bool intact(std::span<const std::byte> body, uint64_t key) {
    uint64_t wrong = 0, word = 0;
    size_t at = 8;
    for (; at + 8 <= body.size(); at += 8) {
        std::memcpy(&word, body.data() + at, 8);
        wrong |= word ^ word_of(key, static_cast<uint32_t>(at));
    }
    const uint64_t last = word_of(key, static_cast<uint32_t>(at));
    return wrong == 0 && std::memcmp(body.data() + at, &last, body.size() - at) == 0;
}

// --- the producer -----------------------------------------------------------------------------------------------------

class Producer {
  public:
    Producer(Stage& stage, uint64_t incarnation, uint64_t seed)
        : shared_(stage.shared()),
          ring_(stage.ring(), incarnation % 2 == 0 ? RingWriting::in_place : RingWriting::staged),
          fifo_(stage.own_end[kProducerSide]),
          bell_(shared_.park[kConsumerSide].value, std::move(stage.other_end[kConsumerSide])),
          parker_(shared_.park[kProducerSide].value), random_(seed), incarnation_(incarnation),
          position_(stage.ring().control->tail.load(std::memory_order_relaxed)) {}

    void run() {
        bell_.ring_always();  // whoever waited for a predecessor
        while (shared_.finish.load(std::memory_order_relaxed) == 0) {
            for (uint64_t left = 1 + random_.below(kBatchMax); left > 0 && push(); --left) {
            }
            publish();
            if (full_) wait_for_room();
            if (random_.below(64) == 0) spin(random_.below(kPauseMax));  // lets the consumer run dry
        }
    }

  private:
    bool push() {
        const uint64_t key = key_of(position_, incarnation_);
        const uint32_t length = length_of(key, ring_.max_body());
        const uint32_t claimed = random_.below(4) == 0 ? ring_.max_body() : length;  // a claim may exceed what is used
        std::byte* room = ring_.try_claim(claimed);
        full_ = room == nullptr;
        if (full_) return false;
        fill(room, length, key, incarnation_);
        ring_.commit(length, kKind, static_cast<uint32_t>(position_));
        position_ += frame_bytes(length);
        return true;
    }
    void publish() {
        if (ring_.publish()) bell_.ring();
    }
    void wait_for_room() {
        shared_.full.fetch_add(1, std::memory_order_relaxed);
        ring_.want_space(true);
        parker_.begin_park();
        if (!has_room()) {
            shared_.producer_parks.fetch_add(1, std::memory_order_relaxed);
            if (!fifo_.wait(kParkMs) && has_room() && !fifo_.wait(kParkMs))
                fail("the producer slept although there was room", position_);
        }
        parker_.end_park();
        ring_.want_space(false);
    }
    bool has_room() { return ring_.has_room(frame_bytes(ring_.max_body())); }

    Shared& shared_;
    RingProducer ring_;
    Fifo& fifo_;
    Bell bell_;
    Parker parker_;
    Random random_;
    uint64_t incarnation_;
    uint64_t position_;
    bool full_ = false;
};

// --- the consumer -----------------------------------------------------------------------------------------------------

class Consumer {
  public:
    Consumer(Stage& stage, uint64_t seed)
        : shared_(stage.shared()), ring_(stage.ring()), fifo_(stage.own_end[kConsumerSide]),
          bell_(shared_.park[kProducerSide].value, std::move(stage.other_end[kProducerSide])),
          parker_(shared_.park[kConsumerSide].value), random_(seed), max_body_(stage.ring().max_body()),
          position_(stage.ring().control->head.load(std::memory_order_relaxed)) {
        const uint32_t count = shared_.seen_count.exchange(0, std::memory_order_acq_rel);
        for (uint32_t i = 0; i < count; ++i)
            inherited_.emplace_back(shared_.seen[i].position.load(), shared_.seen[i].incarnation.load());
    }

    void run() {
        bell_.ring_always();
        while (true) {
            const bool drain = shared_.drain.load(std::memory_order_acquire) != 0;
            const unsigned taken = take_batch(1 + static_cast<unsigned>(random_.below(kBatchMax)));
            publish();
            if (taken == 0 && drain) return;
            if (taken == 0) park();
            if (random_.below(64) == 0) spin(random_.below(kPauseMax));  // lets the ring fill up
        }
    }

  private:
    unsigned take_batch(unsigned limit) {
        Frame frame;
        unsigned taken = 0;
        for (; taken < limit; ++taken) {
            const RingRead read = ring_.next(frame);
            if (read == RingRead::empty) break;
            if (read == RingRead::corrupt) fail("the ring reads as corrupt", position_);
            if (random_.below(32) == 0) {
                ring_.put_back(frame);
                if (ring_.next(frame) != RingRead::frame) fail("a frame put back does not come again", position_);
            }
            check(frame);
            position_ += frame_bytes(static_cast<uint32_t>(frame.body.size()));
        }
        return taken;
    }

    void check(const Frame& frame) {
        if (frame.id != static_cast<uint32_t>(position_) || frame.kind != kKind) fail("a message is out of order or damaged", frame.id, position_);
        uint64_t incarnation;
        if (frame.body.size() < sizeof incarnation) fail("a message is too short", position_);
        std::memcpy(&incarnation, frame.body.data(), sizeof incarnation);
        check_incarnation(incarnation);
        const uint64_t key = key_of(position_, incarnation);
        if (frame.body.size() != length_of(key, max_body_)) fail("a message has another length", position_, incarnation);
        if (!intact(frame.body, key)) fail("a message is torn", position_, incarnation);
        compare_with_predecessor(incarnation);
        remember(incarnation);
        shared_.messages.fetch_add(1, std::memory_order_relaxed);
    }

    void check_incarnation(uint64_t incarnation) {
        if (incarnation == 0 || incarnation >= kIncarnationsMax) fail("no producer wrote this", position_, incarnation);
        const uint64_t died_at = shared_.died_at[incarnation].load(std::memory_order_acquire);
        if (died_at != 0 && position_ >= died_at - 1) fail("a message that was never published", position_, incarnation);
        const uint64_t before = shared_.died_at[incarnation - 1].load(std::memory_order_acquire);
        if (before != 0 && position_ < before - 1) fail("a published message was written over", position_, incarnation);
    }

    /// What a killed predecessor read and did not hand back must come again as it was.
    void compare_with_predecessor(uint64_t incarnation) {
        for (const auto& [position, was] : inherited_) {
            if (position != position_) continue;
            if (was != incarnation) fail("a repeated message is another one", position_, incarnation);
            shared_.repeated.fetch_add(1, std::memory_order_relaxed);
        }
    }
    void remember(uint64_t incarnation) {
        const uint32_t at = shared_.seen_count.load(std::memory_order_relaxed);
        shared_.seen[at].position.store(position_, std::memory_order_relaxed);
        shared_.seen[at].incarnation.store(incarnation, std::memory_order_relaxed);
        shared_.seen_count.store(at + 1, std::memory_order_release);
    }

    void publish() {
        if (!ring_.publish()) return;
        shared_.seen_count.store(0, std::memory_order_release);
        std::atomic_thread_fence(std::memory_order_seq_cst);  // before the look at space_wanted, as the bell's own
        if (ring_.producer_wants_space()) bell_.ring();
    }
    void park() {
        parker_.begin_park();
        if (!ring_.has_more() && shared_.drain.load(std::memory_order_acquire) == 0) {
            shared_.consumer_parks.fetch_add(1, std::memory_order_relaxed);
            if (!fifo_.wait(kParkMs) && ring_.has_more() && !fifo_.wait(kParkMs))
                fail("the consumer slept although there was a message", position_);
        }
        parker_.end_park();
    }

    Shared& shared_;
    RingConsumer ring_;
    Fifo& fifo_;
    Bell bell_;
    Parker parker_;
    Random random_;
    uint32_t max_body_;
    uint64_t position_;
    std::vector<std::pair<uint64_t, uint64_t>> inherited_;  ///< position and incarnation
};

// --- the parent -------------------------------------------------------------------------------------------------------

/// Starts both sides, kills them, starts successors, and ends them in order.
class Parent {
  public:
    Parent(uint64_t capacity, uint64_t seed) : stage_(make_stage(capacity)), random_(seed) {}

    /// True when nothing went wrong.
    bool run(uint64_t seconds) {
        for (unsigned side = 0; side < kSides; ++side) start(side);
        const uint64_t until_us = monotonic_us() + seconds * 1'000'000;
        usleep(static_cast<useconds_t>(seconds * 1'000'000 / kQuietShare));
        while (sound_ && monotonic_us() < until_us && incarnation_ + 2 < kIncarnationsMax) {
            usleep(static_cast<useconds_t>(random_.below(kLifeUsMax)));
            const uint64_t victims = 1 + random_.below(3);  // one side, the other, or both
            for (unsigned side = 0; side < kSides; ++side)
                if (victims & (1u << side)) kill(pids_[side], SIGKILL);
            for (unsigned side = 0; side < kSides; ++side)
                if (victims & (1u << side)) replace(side);
            look_at_survivors();
        }
        if (sound_) finish();
        for (const pid_t pid : pids_)
            if (pid != 0) end_child(pid);
        report();
        return sound_;
    }

  private:
    void start(unsigned side) {
        const uint64_t seed = random_.next();
        if (side == kProducerSide) ++incarnation_;
        pids_[side] = fork_child([&] {
            pin_to(side);
            if (side == kProducerSide) Producer(stage_, incarnation_, seed).run();
            else Consumer(stage_, seed).run();
        });
    }
    /// After a kill: notes where the dead stopped, wakes the others (W4), starts a successor.
    void replace(unsigned side) {
        int status = 0;
        waitpid(pids_[side], &status, 0);
        pids_[side] = 0;
        sound_ = sound_ && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        if (!sound_) return;
        ++kills_[side];
        if (side == kProducerSide)
            shared().died_at[incarnation_].store(tail() + 1, std::memory_order_release);
        wake_all();
        start(side);
    }
    void look_at_survivors() {
        for (pid_t& pid : pids_) {
            if (pid == 0 || waitpid(pid, nullptr, WNOHANG) == 0) continue;
            pid = 0;  // it has said why
            sound_ = false;
        }
    }
    /// The producer ends at its next batch; then the consumer takes what is left, and no more.
    void finish() {
        shared().finish.store(1, std::memory_order_release);
        wake_all();
        wait_for_end(kProducerSide);
        shared().drain.store(1, std::memory_order_release);
        wake_all();
        wait_for_end(kConsumerSide);
        const uint64_t head = stage_.ring().control->head.load(std::memory_order_acquire);
        sound_ = sound_ && head == tail() && shared().messages.load() > 0;
        if (head != tail()) std::printf("the consumer ended at %" PRIu64 ", the producer at %" PRIu64 "\n", head, tail());
    }
    void wait_for_end(unsigned side) {
        const uint64_t until_us = monotonic_us() + kDrainUsMax;
        int status = 0;
        while (waitpid(pids_[side], &status, WNOHANG) == 0) {
            if (monotonic_us() > until_us) {
                std::printf("side %u does not end\n", side);
                sound_ = false;
                return;
            }
            usleep(1000);
        }
        pids_[side] = 0;
        sound_ = sound_ && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    void wake_all() {
        for (const Fifo& fifo : stage_.keeper_end) fifo.wake();
    }
    void report() const {
        const Shared& counts = shared();
        std::printf("ring of %" PRIu64 " KiB: %" PRIu64 " messages, %" PRIu64 " MiB, %" PRIu64 " + %" PRIu64
                    " kills of producer + consumer, %" PRIu64 " messages repeated, %" PRIu64 " times full, parks %" PRIu64
                    " + %" PRIu64 "\n",
                    stage_.ring().capacity / 1024, counts.messages.load(), tail() >> 20, kills_[kProducerSide],
                    kills_[kConsumerSide], counts.repeated.load(), counts.full.load(), counts.producer_parks.load(),
                    counts.consumer_parks.load());
    }

    Shared& shared() const { return stage_.shared(); }
    uint64_t tail() const { return stage_.ring().control->tail.load(std::memory_order_acquire); }

    Stage stage_;
    Random random_;
    std::array<pid_t, kSides> pids_{};
    std::array<uint64_t, kSides> kills_{};
    uint64_t incarnation_ = 0;
    bool sound_ = true;
};

}  // namespace

int main(int argc, char** argv) {
    const uint64_t seed = number_option(argc, argv, "--seed", fresh_seed());
    const uint64_t seconds = number_option(argc, argv, "--seconds", 10);
    bool sound = true;
    try {
        for (const uint64_t capacity : {kRingCapacityMin, kLargeRing})
            sound = Parent(capacity, seed + capacity).run(std::max<uint64_t>(1, seconds / 2)) && sound;
    } catch (const Error& error) {
        std::printf("%s\n", error.what());
        sound = false;
    }
    std::printf("%s: seed %" PRIu64 "\n", sound ? "PASS" : "FAIL", seed);
    return sound ? 0 : 1;
}
