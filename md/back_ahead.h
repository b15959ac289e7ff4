// A thread that takes memory for the store from the system while md fills the store at a start: zeroing pages and mapping them is nearly half of
// that work, and needs nothing of what the store is. Begun by md before it gives up the right to start threads (md/confinement.h); idle until begin().
//
// Invariants:
//   B1  One stretch of the store's file is taken, from `from` on without a hole, and `taken_to_` is stored with release behind it. So what lies
//       in [from, taken_to_) needs no more taking.
//   B2  It is never more than kLeadBytes ahead of what md has asked for, and what md never asked for is given back at the end.
//   B3  It touches no byte of the store. Where there is no memory it ends, and md finds out by itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

namespace millrace::md {

class BackAhead {
  public:
    using Take = std::function<bool(uint64_t offset, uint64_t length)>;

    /// Null if there can be no thread: md does without.
    static std::unique_ptr<BackAhead> start();
    /// Ends the thread.
    ~BackAhead();
    BackAhead(const BackAhead&) = delete;

    /// `end`: of the store's addresses.
    void begin(Take take, uint64_t from, uint64_t end);
    /// Whether memory that md needs now is there already; what is behind it will soon be needed, too.
    bool has(uint64_t offset, uint64_t length);
    /// After that it takes no more. What it has taken and nobody has asked for: [asked_to(), taken_to()).
    void stop();
    uint64_t asked_to() const { return asked_to_.load(std::memory_order_relaxed); }
    uint64_t taken_to() const { return taken_to_.load(std::memory_order_acquire); }

  private:
    static constexpr uint64_t kStepBytes = 256 * 1024;
    static constexpr uint64_t kLeadBytes = 8 * 1024 * 1024;
    static constexpr unsigned kPauseUs = 100;

    BackAhead() = default;
    void work();

    Take take_;
    uint64_t from_ = 0, end_ = 0;
    std::atomic<bool> running_ = false, begun_ = false, stopping_ = false;
    std::atomic<uint64_t> taken_to_ = 0, asked_to_ = 0;
    std::thread thread_;
};

}  // namespace millrace::md
