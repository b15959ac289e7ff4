// How far something has come that takes long: a line on a terminal that is written over and over, elsewhere nothing. Used by millrace-convert.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::convert {

class Progress {
  public:
    /// `what`: "reading dump.rdb". Shown on standard error, if that is a terminal.
    explicit Progress(std::string what);
    ~Progress();
    Progress(const Progress&) = delete;

    /// Some times a second at most; `total` may be less than the truth.
    void show(uint64_t done, uint64_t total);

  private:
    const std::string what_;
    const bool on_terminal_;
    uint64_t due_us_ = 0;
    bool shown_ = false;
};

}  // namespace millrace::convert
