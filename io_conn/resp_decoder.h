// Decodes requests from a client's bytes: RESP arrays of bulk strings, and inline commands. Runs in io_conn; what it reads
// comes from strangers.
//
// Incremental: decode() is given all bytes from the start of the current request each time, remembers how far it got and
// goes on from there, so a client that sends a byte at a time costs no more than one that does not. Bounded: the limits
// below are Redis's. The rules, the limits and the error texts are those of Redis 7.0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::io_conn {

class RespDecoder {
  public:
    /// Longest inline request, and longest line with a count, bytes.
    static constexpr size_t kLineBytesMax = 64 * 1024;
    /// Most arguments of one request (a count that does not fit 31 bits is malformed).
    static constexpr int64_t kArgumentsMax = 0x7fffffff;
    /// What a client may send that has not said who it is, as in Redis: a long password is shorter.
    static constexpr uint32_t kStrangersArgumentsMax = 10;
    static constexpr uint32_t kStrangersBulkBytesMax = 16 * 1024;

    enum class Result {
        request,    ///< arguments() and length() are valid; with no arguments there is nothing to do
        need_more,  ///< bytes are missing
        error,      ///< malformed: error() says how; nothing that follows can be understood
    };

    /// `bulk_bytes_max`: longest argument (proto-max-bulk-len).
    explicit RespDecoder(uint64_t bulk_bytes_max = 1024 * 1024) : bulk_bytes_max_(bulk_bytes_max) {}

    void set_bulk_bytes_max(uint64_t bytes) { bulk_bytes_max_ = bytes; }

    /// Starts on a new request.
    void reset();
    /// Whether the client is one that has not said who it is.
    void set_stranger(bool stranger) { stranger_ = stranger; }
    /// Goes on. REQUIRES: `bytes` starts where the request starts and is no shorter than at the last call.
    Result decode(std::string_view bytes);

    /// The words of the request; views into the bytes given last or into this decoder.
    const std::vector<std::string_view>& arguments() const { return arguments_; }
    /// Whether the words are views into this decoder, and go with it or with the next request. It is so for inline requests.
    bool owns_arguments() const { return inline_; }
    /// Bytes that the request takes.
    size_t length() const { return position_; }
    /// "Protocol error: ...", without the error code.
    const std::string& error() const { return error_; }
    /// Bytes from the start of the request that are known to be needed; a hint for buffers.
    size_t needed() const { return needed_; }

  private:
    struct Span {
        uint32_t offset, length;
    };

    /// Decodes a request that is there as a whole and has nothing odd in it; false, and nothing has happened, for any other.
    bool decode_whole(std::string_view bytes);
    Result fail(std::string text);
    Result decode_inline(std::string_view bytes);
    Result decode_count(std::string_view bytes);
    Result decode_bulk(std::string_view bytes);
    Result finish(std::string_view bytes);
    /// The line at position_ without its end, or need_more/error.
    Result read_line(std::string_view bytes, const char* too_long, std::string_view& line);
    bool split_inline(std::string_view line);

    uint64_t bulk_bytes_max_;
    bool stranger_ = false;
    size_t position_ = 0;       ///< start of what is not yet understood
    size_t scanned_ = 0;        ///< up to here there is no line end behind position_
    size_t needed_ = 0;
    int64_t remaining_ = -1;    ///< arguments still to come; -1: the count is not read yet
    int64_t bulk_length_ = -1;  ///< of the argument being read; -1: its length is not read yet
    bool inline_ = false;
    std::vector<Span> spans_;
    std::vector<std::string_view> arguments_;
    std::string inline_bytes_;
    std::string error_;
};

}  // namespace millrace::io_conn
