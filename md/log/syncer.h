// fdatasync in a thread of its own, so that a slow disk holds up neither the reading of the oplog nor md (appendfsync everysec). Runs in md_log.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

namespace millrace::md_log {

class Syncer {
  public:
    struct Job {
        int descriptor = -1;
        uint64_t number = 0, bytes = 0;  ///< what LogWriter::synced() is to be told
        int error = 0;                   ///< errno, once it is done
    };

    Syncer();
    ~Syncer();
    Syncer(const Syncer&) = delete;

    /// REQUIRES: !busy().
    void start(const Job& job);
    bool busy() const;
    /// The job that has ended since, once.
    std::optional<Job> take_result();
    /// Waits for the one under way.
    void wait();

  private:
    void run();

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<Job> job_, result_;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace millrace::md_log
