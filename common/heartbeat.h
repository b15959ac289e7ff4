// Heartbeats: how the supervisor sees that a daemon hangs. Written by every daemon, read by the supervisor (tools/supervisor/heartbeat.py).
//
// DIR/run/shm/heartbeats is a file of kHeartbeatPlaces words of 8 bytes, kCacheLineDistance bytes apart, made by the supervisor before the
// first daemon starts: md 0, md 1, then io_conn 0 and so on. It has no header, because it has no other reader.
//   B1  A daemon raises its own word in every turn of its loop, and no other word.
//   B2  The supervisor wakes a daemon whose word has not changed for a while: a parked one turns once. A word that stays as it is all the same is that
//       of a daemon that hangs, or is stopped.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include <boost/interprocess/mapped_region.hpp>

#include "common/layout.h"
#include "common/roster.h"

namespace millrace {

inline constexpr unsigned kHeartbeatPlaces = kMdPlaces + kMaxIoConns;
inline constexpr uint64_t kHeartbeatBytes = kHeartbeatPlaces * kCacheLineDistance;

class Heartbeat {
  public:
    Heartbeat() = default;
    /// `place` in the file of this instance. Throws Error if there is none.
    Heartbeat(const std::string& dir, unsigned place);

    void beat() {
        if (word_ != nullptr) word_->store(word_->load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }

  private:
    boost::interprocess::mapped_region region_;
    std::atomic<uint64_t>* word_ = nullptr;
};

}  // namespace millrace
