// Sleeping and waking: a consumer blocks on a named FIFO of its own, and a producer writes a byte into it only when
// the consumer has said that it is parked. Used by io_conn and md; the supervisor wakes everybody after a death.
//
// The protocol (the only place where it is argued). `park` is a 32-bit word with one writer, the consumer: odd means
// parked, and it only rises.
//     consumer                                    producer
//     C1 park = n (odd), relaxed                  P1 publish (ring.h), release
//     C2 fence, seq_cst                           P2 fence, seq_cst
//     C3 look at everything it consumes           P3 load park, relaxed
//     C4 nothing there: block on the FIFO         P4 odd, and not the n it wrote for last: write a byte
//     C5 park = n + 1, drain the FIFO
//   W1  The two fences are totally ordered. If C2 is first, P3 sees n and P4 wakes. If P2 is first, C3 sees what P1
//       published. So no publication is slept over. Either fence alone is not enough: the store before it may still
//       sit in the store buffer when the load after it executes (tests/stress/wakeup_stress.cc shows both).
//   W2  One byte for each (producer, n): a producer that has already written for n need not write again, since the
//       consumer cannot block in n once a byte lies in the FIFO. If it skips because C5 has not happened yet, the
//       publication is found by the next C3 at the latest, by W1.
//   W3  Bytes mean nothing: a spurious wake-up is always legal, the number of bytes is never trusted, EAGAIN (FIFO
//       full) means that a wake-up is already there.
//   W4  Whoever dies between P1 and P4 leaves a sleeper behind: the supervisor writes into every FIFO whenever a
//       process has died, and a process that starts wakes its peers.
//   W5  FIFOs are opened O_RDWR | O_NONBLOCK by everyone, and the supervisor keeps one end open, so no end ever sees
//       end-of-file or EPIPE. Only a consumer that sleeps in read() itself has a second, blocking descriptor for that.
// The same words serve a producer that waits for space: it sets `space_wanted` before C1, and the consumer of that
// ring, after it has published `head`, follows P2 to P4.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace millrace {

/// A FIFO opened for both directions. Movable; closed on destruction.
class Fifo {
  public:
    Fifo() = default;
    /// Throws Error when it does not exist or is no FIFO.
    explicit Fifo(const std::string& path);
    ~Fifo();
    Fifo(Fifo&& other) noexcept;
    Fifo& operator=(Fifo&& other) noexcept;

    int descriptor() const { return fd_; }
    bool open() const { return fd_ >= 0; }
    /// Writes one byte; never blocks, never fails in a way that matters (W3). Async-signal-safe.
    void wake() const noexcept;
    /// Takes out what lies in it, bounded.
    void drain() const noexcept;
    /// Opens the descriptor that lets wait() sleep and drain in one system call. Throws Error.
    void prepare_to_wait(const std::string& path);
    /// Blocks until a byte is there or the time is over (milliseconds, -1 = for ever), then drains. False on time-out
    /// or on a signal.
    bool wait(int timeout_ms) const noexcept;

  private:
    int fd_ = -1;
    int blocking_fd_ = -1;
};

/// The fences of W1. A parameter only so that a test can leave one out and show that it is needed.
struct BothFences {
    static void consumer() { std::atomic_thread_fence(std::memory_order_seq_cst); }
    static void producer() { std::atomic_thread_fence(std::memory_order_seq_cst); }
};

/// The consumer's side of the park word.
template <class Fences = BothFences>
class BasicParker {
  public:
    BasicParker() = default;
    /// Takes the word over from a predecessor, if there was one: it goes on rising and starts out not parked.
    explicit BasicParker(std::atomic<uint32_t>& word) : word_(&word) {
        value_ = (word.load(std::memory_order_relaxed) | 1u) + 1u;
        word.store(value_, std::memory_order_relaxed);
    }
    /// C1 and C2. The caller then looks at everything (C3) and blocks (C4) or not; end_park() either way.
    void begin_park() {
        word_->store(++value_, std::memory_order_relaxed);
        Fences::consumer();
    }
    void end_park() { word_->store(++value_, std::memory_order_relaxed); }

  private:
    std::atomic<uint32_t>* word_ = nullptr;
    uint32_t value_ = 0;
};

/// The producer's side: one for each consumer it feeds.
template <class Fences = BothFences>
class BasicBell {
  public:
    BasicBell() = default;
    BasicBell(const std::atomic<uint32_t>& word, Fifo fifo) : word_(&word), fifo_(std::move(fifo)) {}

    /// P2 to P4, after a publication. True when a byte was written.
    bool ring() {
        Fences::producer();
        const uint32_t park = word_->load(std::memory_order_relaxed);
        if ((park & 1u) == 0 || park == rung_for_) return false;
        rung_for_ = park;
        fifo_.wake();
        return true;
    }
    /// Wakes whatever the word says: after a recovery, a start or a death (W4).
    void ring_always() { fifo_.wake(); }

  private:
    const std::atomic<uint32_t>* word_ = nullptr;
    Fifo fifo_;
    uint32_t rung_for_ = 0;
};

using Parker = BasicParker<>;
using Bell = BasicBell<>;

}  // namespace millrace
