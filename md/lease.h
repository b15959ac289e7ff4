// The lease: of all md processes of an instance, the one that holds it owns the store. Runs in md.
//
// A robust mutex in the control segment, held for the holder's whole life. The kernel gives it on when the holder has
// died, before it takes the dead process's memory apart, so a waiting md goes on within a fraction of a millisecond however
// large the store is. That is a sound fence only because md has one thread: once its lease is free it runs no more.
// Invariants:
//   E1  Only the holder writes to the store, to the channels' md ends, and to the words of control other than the lease.
//   E2  Holding a lease that was orphaned says nothing about the store: recovery (commit.h) is what makes it whole.
// The waiting md keeps the store's pages mapped as they grow, so that it meets no page fault when its turn comes, and is the
// watchdog: an md that has requests in its rings and makes no progress for `md-hang-timeout` is killed.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "common/channel.h"
#include "common/daemon.h"
#include "common/live_options.h"
#include "common/roster.h"
#include "md/store_segment.h"

namespace millrace::md {

/// The segments of md that exist before the lease is held.
class Lease {
  public:
    /// Maps the control segment, making it (with the lease) if there is none. Throws Error.
    explicit Lease(Daemon& daemon);
    /// Gives the lease up, if it is held.
    ~Lease();
    Lease(const Lease&) = delete;

    /// Waits until the lease is held; false when the process was told to end meanwhile. Reports `standby` when it has to wait.
    bool acquire();

    /// Gives the lease to whoever waits for it, if anybody does; then acquire() again. For the amnesia mode.
    void hand_over();

    Segment& control_segment() { return control_segment_; }
    /// The store's mapping with all pages that were mapped while waiting; not mapped if there was no store, or no waiting.
    Segment take_store() {
        populated_ = 0;
        return store_ == nullptr ? Segment() : std::exchange(store_, nullptr)->release();
    }

  private:
    static constexpr uint64_t kPollUs = 20'000;
    static constexpr uint64_t kHandOverPatienceUs = 50'000;  ///< for somebody else to take the lease
    /// A waiting md that has not mapped all yet does so for kPopulateUs and then lets others have the processor for
    /// kPopulatePauseUs; for kPopulateLongPauseUs when the scheduler had to take the processor away from it, so that it takes at most a
    /// fifth of it from those who serve. kPopulatePages are mapped by one system call at most.
    static constexpr uint64_t kPopulateUs = 500;
    static constexpr uint64_t kPopulatePauseUs = 250;
    static constexpr uint64_t kPopulateLongPauseUs = 2000;
    static constexpr uint64_t kPopulatePages = 8;

    /// The nice value of a dead md while its memory is taken apart: a tenth of a processor that others want.
    static constexpr int kDeadNice = 10;

    bool is_taken(int result);
    static void let_go_slowly(uint32_t dead);
    bool wait_once(uint64_t microseconds);
    bool populate();
    bool was_pushed_aside();
    void watch();
    bool any_request_waiting();

    Daemon& daemon_;
    Segment control_segment_;
    Control* control_ = nullptr;
    bool held_ = false;
    LiveValues live_;
    std::unique_ptr<StoreSegment> store_;  ///< only while waiting, to keep its pages mapped
    uint64_t populated_ = 0;               ///< pages
    long pushed_aside_ = 0;                ///< times that the scheduler has taken the processor away
    uint64_t seen_turns_ = 0, seen_epoch_ = 0, stuck_since_us_ = 0;
};

}  // namespace millrace::md
