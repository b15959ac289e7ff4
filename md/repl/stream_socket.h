// A connected socket that never blocks, with what is still to be sent and what has come and not been looked at. Both are bounded by their users, who stop
// adding and stop reading. Runs in md_repl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/segment.h"

namespace millrace::md_repl {

class StreamSocket {
  public:
    StreamSocket() = default;
    explicit StreamSocket(Descriptor fd) : fd_(std::move(fd)) {}

    int descriptor() const { return fd_.get(); }
    bool open() const { return fd_.open(); }
    void close() { *this = StreamSocket(); }

    /// What is to be sent.
    std::string& out() { return out_; }
    size_t unsent() const { return out_.size() - sent_; }
    /// Sends what the kernel takes. False: the connection has ended, or is broken.
    bool flush();
    uint64_t bytes_sent() const { return bytes_sent_; }

    /// Takes what has come, so that at most `limit` bytes wait, or one look brings kReadBytes. False: it has ended, or is broken.
    bool read(size_t limit);
    std::string_view in() const { return std::string_view(in_).substr(looked_at_); }
    /// So many bytes of in() were looked at.
    void drop(size_t bytes);

  private:
    static constexpr size_t kReadBytes = 256 * 1024;

    Descriptor fd_;
    std::string out_, in_;
    size_t sent_ = 0, looked_at_ = 0;
    uint64_t bytes_sent_ = 0;
};

}  // namespace millrace::md_repl
