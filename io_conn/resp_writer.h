// Writes replies as RESP2 or RESP3 into a buffer. Runs in io_conn: for the commands answered here, and for md's replies
// (reply_encoder.h).
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

#include "io_conn/buffer.h"

namespace millrace::io_conn {

class RespWriter {
  public:
    RespWriter(Buffer& out, bool resp3) : out_(out), resp3_(resp3) {}

    void ok() { out_.append("+OK\r\n"); }
    void status(std::string_view text) { line('+', text); }
    /// "CODE text"; line breaks in it become spaces.
    void error(std::string_view text);
    void integer(int64_t value) { number(':', value); }
    void bulk(std::string_view bytes) {
        bulk_header(static_cast<uint32_t>(bytes.size()));
        out_.append(bytes);
        bulk_end();
    }
    /// A text for people: verbatim string in RESP3.
    void verbatim(std::string_view text);
    void bulk_header(uint32_t length) { number('$', length); }
    void bulk_end() { out_.append("\r\n"); }
    void null() { out_.append(resp3_ ? "_\r\n" : "$-1\r\n"); }
    void null_array() { out_.append(resp3_ ? "_\r\n" : "*-1\r\n"); }
    void array(uint32_t count) { number('*', count); }
    void set(uint32_t count) { number(resp3_ ? '~' : '*', count); }
    void map(uint32_t count) { number(resp3_ ? '%' : '*', resp3_ ? count : 2 * count); }
    void raw(std::string_view bytes) { out_.append(bytes); }
    void set_resp3(bool resp3) { resp3_ = resp3; }
    bool resp3() const { return resp3_; }
    /// Errors written so far.
    unsigned errors() const { return errors_; }

  private:
    void number(char tag, int64_t value) {
        char* at = out_.reserve(24);
        *at = tag;
        char* end = std::to_chars(at + 1, at + 22, value).ptr;
        *end++ = '\r';
        *end++ = '\n';
        out_.commit(static_cast<size_t>(end - at));
    }
    void line(char tag, std::string_view text) {
        out_.append({&tag, 1});
        out_.append(text);
        out_.append("\r\n");
    }

    Buffer& out_;
    bool resp3_;
    unsigned errors_ = 0;
};

}  // namespace millrace::io_conn
