// The way from md_repl to the md of its own group: a connection of one of the group's io_conn, which that has made on demand (common/repl_words.h,
// door_wanted), and over which commands go as those of any client do. So they are executed once, whoever dies meanwhile, and a request that got
// lost with an io_conn is seen by the stream number that md has. Runs in md_repl.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "md/repl/stream_socket.h"

namespace millrace::md_repl {

class WayIn {
  public:
    /// A connection that was made for this.
    void use(Descriptor fd) { socket_ = StreamSocket(std::move(fd)); }
    bool open() const { return socket_.open(); }
    int descriptor() const { return socket_.descriptor(); }
    void close();

    /// Commands that no answer has come to.
    size_t unanswered() const { return unanswered_; }
    size_t unsent() const { return socket_.unsent(); }
    /// `more` words that are `encoded` already follow the others.
    void send(std::span<const std::string_view> words, std::string_view encoded = {}, size_t more = 0);
    bool flush() { return socket_.flush(); }

    /// An answer: a status, such as OK, or an error, both without their sign.
    struct Answer {
        std::string error, status;
    };
    /// Takes what has come. False: the connection has ended, or what came is no answer.
    bool read();
    /// The next answer, in the order of the commands.
    std::optional<Answer> next();

  private:
    static constexpr size_t kAnswerBytesMax = 64 * 1024;

    StreamSocket socket_;
    size_t unanswered_ = 0;
};

}  // namespace millrace::md_repl
