// A file of Redis's, read from its beginning to its end. Used by millrace-convert and md_repl. Throws Error: one sentence with the file and the offset.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/redis_format.h"
#include "common/segment.h"

namespace millrace::redis {

class FileInput : public Input {
  public:
    /// Told now and then how many bytes were read, and how many there are.
    using Watcher = std::function<void(uint64_t done, uint64_t total)>;

    /// Reads what is in the file now; what is written behind it later is not looked at.
    explicit FileInput(std::string path, Watcher watcher = {});

    /// REQUIRES of take() and skip(): none; both take no more memory than the file has bytes.
    bool take(uint64_t count, std::string_view& bytes) override;
    bool skip(uint64_t count) override;
    /// What is up to the next CR LF, of at most `bytes_max` bytes; the CR LF is passed over. False: the file ends before. A line that is too long, or ends
    /// with LF alone, is an Error.
    bool take_line(size_t bytes_max, std::string_view& line);
    /// Whether the next bytes are these; they stay.
    bool begins_with(std::string_view bytes);

    uint64_t offset() const { return at_; }
    uint64_t left() const { return length_ - at_; }
    bool ended() const { return left() == 0; }
    /// Redis's checksum of all that was taken and skipped.
    uint64_t crc() const { return crc_; }
    const std::string& path() const { return path_; }
    [[noreturn]] void fail(uint64_t offset, const std::string& what) const;

  private:
    bool load(uint64_t count);
    std::string_view loaded() const { return {window_.data() + (at_ - window_at_), window_bytes_ - (at_ - window_at_)}; }
    void advance(uint64_t count);

    const std::string path_;
    const Watcher watcher_;
    Descriptor fd_;
    uint64_t length_ = 0, at_ = 0, crc_ = 0;
    std::vector<char> window_;  ///< bytes of the file from window_at_ on, window_bytes_ of them
    uint64_t window_at_ = 0, window_bytes_ = 0;
};

}  // namespace millrace::redis
