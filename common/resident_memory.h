// Resident memory of this process, as its counters publish it for INFO: whoever answers INFO may not open files. Used by every daemon.
#pragma once

#include <cstdint>

namespace millrace {

class ResidentMemory {
  public:
    struct Bytes {
        uint64_t all = 0;
        uint64_t shared = 0;  ///< of them: what other processes may have as well
    };

    ResidentMemory();
    ~ResidentMemory();
    ResidentMemory(const ResidentMemory&) = delete;

    /// As of now: one system call on a file that is open already.
    Bytes read() const;

  private:
    int statm_;
};

}  // namespace millrace
