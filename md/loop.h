// md's main loop: attaches the channels of io_conn, gives each its turns, does the housekeeping, parks when idle.
// Runs in md, one thread. Never blocks on one io_conn.
//
// At start the store is as a predecessor left it: what that one had committed is finished, every channel goes on where
// it was, and all peers are woken. Only then does the epoch rise, so whoever sees the new epoch sees all earlier replies.
// A turn: look at the roster if it has changed -> serve every channel once, starting one further each time -> a slice of
// housekeeping (expiry, freeing, counters) -> if nothing was done, park (wakeup.h) until a wake-up or the next timer.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "common/daemon.h"
#include "common/resident_memory.h"
#include "common/roster.h"
#include "common/wakeup.h"
#include "md/channel_server.h"
#include "md/lease.h"
#include "md/loader.h"
#include "md/marks_segment.h"
#include "md/store_segment.h"

namespace millrace::md {

class Loop {
  public:
    /// REQUIRES: the lease is held as long as this object lives.
    /// `helpers`: for a fresh store that is to get what the disk has.
    Loop(Daemon& daemon, Lease& lease, LoadHelpers helpers = {});

    /// Serves until the supervisor asks for the end, or for so many microseconds (0: without a limit).
    void run(uint64_t limit_us = 0);

  private:
    /// Places of md in a group: the one that serves and its standby.

    /// Housekeeping runs at least this often, milliseconds.
    static constexpr int kHousekeepingMs = 100;
    /// A turn takes no further request after so much time.
    static constexpr uint64_t kTurnBudgetUs = 1000;
    /// In amnesia mode a large request under way delays the end by so much at most.
    static constexpr uint64_t kLargeRequestPatienceUs = 2'000'000;
    static constexpr uint64_t kIoConnBytes = 512 * 1024;  ///< shared memory of an io_conn besides the data of its rings
    static constexpr uint64_t kReservePages = 8;  ///< of the store, for replies and clearing when there is no memory
    /// The CPU clock is a system call: it is read so often, and turns shorter than kLongTurnUs are not looked at.
    static constexpr uint64_t kCpuClockEveryUs = 100;
    static constexpr uint64_t kLongTurnUs = 500;
    /// Expiry takes so much time every kHousekeepingMs, and goes on at once after a slice with so many expired keys (of at most some
    /// 1,300 that it looks at).
    static constexpr uint64_t kExpiryUs = 800;
    static constexpr unsigned kManyExpired = 32;
    /// Eviction beyond what commands do themselves takes so much time a turn.
    static constexpr uint64_t kEvictUs = 200;
    static constexpr unsigned kTendMarksPages = 8;
    static constexpr uint64_t kTellEveryUs = 250'000;
    /// An md that has served so long has not failed because of what it found.
    static constexpr uint64_t kServedWellUs = 10'000'000;

    void open_roster();
    void load();
    void name_history();
    void look_at_data_owner() const;
    void turn();
    [[noreturn]] void reload();
    void begin_turn();
    void use_options();
    void end_turn();
    void publish_pair();
    void look_at_roster();
    void attach(unsigned index, uint64_t generation);
    void detach(unsigned index);
    void take_over();
    std::string what_was_found() const;
    void inherit_counters();
    bool serve_channels();
    bool keep_house();
    bool expire();
    bool evict();
    bool tend_marks(bool due);
    void park();
    bool anything_to_do();

    Daemon& daemon_;
    LoadHelpers load_helpers_;
    StoreSegment store_segment_;
    MarksSegment marks_segment_;
    Engine engine_;
    LiveValues live_;
    Segment roster_segment_;
    Control* control_ = nullptr;
    Roster* roster_ = nullptr;
    Fifo fifo_;
    ResidentMemory memory_;
    Parker parker_;
    std::array<std::unique_ptr<ChannelServer>, kMaxIoConns> channels_;
    std::array<uint64_t, kMaxIoConns> refused_generation_{};
    unsigned highest_ = 0;  ///< one above the highest index in use
    unsigned next_ = 0;
    uint64_t seen_changes_ = ~0ull;
    uint64_t next_housekeeping_us_ = 0;
    uint64_t expiry_left_us_ = 0;  ///< of kExpiryUs
    uint64_t served_well_at_us_ = 0;
    uint64_t turn_began_us_ = 0;
    uint64_t cpu_us_ = 0, cpu_read_at_us_ = 0;  ///< this thread's CPU time, and when it was read
    uint64_t longest_turn_cpu_us_ = 0;
    bool tending_ = false;  ///< the marks are being brought into line with the policy
    bool stalled_ = false;  ///< an io_conn's requests wait for room for their replies
    bool freeing_ = false;  ///< the last turn had something to free or to give back
};

}  // namespace millrace::md
