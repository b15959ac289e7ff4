// Cuts a redis-server's stream of commands into commands: RESP arrays of bulk strings, in the one form in which a master writes them. What comes is input:
// anything may stand there, cut anywhere. Runs in md_repl.
//
//   *2\r\n$3\r\nDEL\r\n$1\r\nk\r\n
// Invariants:
//   C1  A command is given when all of it is there, and none of it before. Its length is what Redis counts in its offset.
//   C2  What has been understood of a command is not looked at again when more of it comes.
//   C3  A command is at most kCommandBytesMax, a word kWordBytesMax; a count or a length is plain digits. Anything else is `bad`, for good.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace millrace::md_repl {

class RedisStream {
  public:
    static constexpr size_t kWordBytesMax = 512ull * 1024 * 1024;
    static constexpr size_t kCommandBytesMax = kWordBytesMax + 64ull * 1024 * 1024;

    enum class Outcome { command, incomplete, bad };
    /// REQUIRES: `bytes` begins where the command does, and is no shorter than at the last call for it.
    Outcome next(std::string_view bytes);
    /// The words of the command; views into the bytes given last.
    std::span<const std::string_view> words() const { return words_; }
    /// Bytes that the command takes.
    size_t length() const { return at_; }
    /// Bytes from its beginning on that are needed to get on.
    size_t needed() const { return needed_; }
    /// Goes on to the next command.
    void drop();

  private:
    struct Word {
        size_t at, length;
    };

    Outcome take_number(std::string_view bytes, char kind, size_t most, size_t& number);

    std::vector<Word> found_;
    std::vector<std::string_view> words_;
    size_t at_ = 0, left_ = 0, needed_ = 0;
    bool counted_ = false, bad_ = false;
};

}  // namespace millrace::md_repl
