// md's main loop: attaches the channels of io_conn, gives each its turns, does the housekeeping, parks when idle.
// Runs in md, one thread. Never blocks on one io_conn.
//
// A turn: look at the roster if it has changed -> serve every channel once, starting one further each time -> a slice of
// housekeeping (expiry, freeing, counters) -> if nothing was done, park (wakeup.h) until a wake-up or the next timer.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "common/daemon.h"
#include "common/roster.h"
#include "common/wakeup.h"
#include "md/channel_server.h"

namespace millrace::md {

class Loop {
  public:
    explicit Loop(Daemon& daemon);

    /// Serves until the supervisor asks for the end.
    void run();

  private:
    /// Housekeeping runs at least this often, milliseconds.
    static constexpr int kHousekeepingMs = 100;
    /// Keys expired, and entries freed, in one turn at most.
    static constexpr unsigned kSliceEntries = 500;

    void open_segments();
    void look_at_roster();
    void attach(unsigned index, uint64_t generation);
    bool serve_channels();
    bool keep_house();
    void park();
    bool anything_to_do();

    Daemon& daemon_;
    Engine engine_;
    Segment control_segment_, roster_segment_;
    Control* control_ = nullptr;
    Roster* roster_ = nullptr;
    Fifo fifo_;
    Parker parker_;
    std::array<std::unique_ptr<ChannelServer>, kMaxIoConns> channels_;
    std::array<uint64_t, kMaxIoConns> refused_generation_{};
    unsigned highest_ = 0;  ///< one above the highest index in use
    unsigned next_ = 0;
    uint64_t seen_changes_ = ~0ull;
    uint64_t next_housekeeping_us_ = 0;
};

}  // namespace millrace::md
