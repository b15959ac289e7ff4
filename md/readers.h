// Who reads the store directly just now: the io_conn of the roster, and md_log's walk for a snapshot. Runs in md.
//
// Only what cannot be undone asks for it: memory that goes back to the system, index pages that become something else (T9 of
// common/store_layout.h). A reader is through in microseconds; one that was stopped or killed in the middle holds back these
// two things and nothing else, until it goes on, is started anew or has gone.
#pragma once

#include <atomic>
#include <cstdint>

#include "common/log_words.h"
#include "common/roster.h"
#include "md/process_lives.h"

namespace millrace::md {

class Readers {
  public:
    Readers() = default;
    explicit Readers(const Roster& roster, const LogWords* log = nullptr) : roster_(&roster), log_(log) {}

    /// Whether nobody reads who has begun before the commit `number` was finished. Without a roster: nobody reads.
    bool all_passed(uint64_t number) const {
        std::atomic_thread_fence(std::memory_order_seq_cst);  // T9
        if (roster_ == nullptr) return true;
        for (const RosterLine& line : roster_->lines)
            if (const uint64_t since = line.reading.load(std::memory_order_acquire); since != 0 && since < number && exists(line.pid)) return false;
        if (log_ == nullptr) return true;
        const uint64_t since = log_->walk_reading.load(std::memory_order_acquire);
        return since == 0 || since >= number || !exists(log_->walk_pid);
    }

  private:
    /// A process that was killed while it read, and has no successor, reads no more. Asked of those only who seem to have read for long.
    static bool exists(const std::atomic<uint32_t>& pid) { return process_lives(pid.load(std::memory_order_relaxed)); }

    const Roster* roster_ = nullptr;
    const LogWords* log_ = nullptr;
};

}  // namespace millrace::md
