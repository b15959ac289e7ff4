// Writes replies as RESP2 or RESP3 into a buffer. Runs in io_conn: for the commands answered here, and for md's replies
// (reply_encoder.h).
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

#include "common/diagnostics.h"
#include "io_conn/buffer.h"

namespace millrace::io_conn {

class RespWriter {
  public:
    /// Errors are counted in `diagnostics`, if there are any.
    RespWriter(Buffer& out, bool resp3, Diagnostics* diagnostics = nullptr) : out_(out), resp3_(resp3), diagnostics_(diagnostics) {}

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
    /// Room for the bytes of a bulk, behind its header. Nothing is written before end_bulk() says that they are there.
    char* begin_bulk(uint32_t length) {
        char* const at = out_.reserve(kLineRoom + length + 2);
        return at + put_number(at, '$', length);
    }
    void end_bulk(char* bytes, uint32_t length) {
        bytes[length] = '\r';
        bytes[length + 1] = '\n';
        out_.commit(static_cast<size_t>(bytes + length + 2 - out_.end()));
    }
    void bulk_end() {
        char* const at = out_.reserve(2);
        at[0] = '\r';
        at[1] = '\n';
        out_.commit(2);
    }
    /// A number with 17 digits, as Redis writes it.
    void real(double value);
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
    static constexpr size_t kLineRoom = 24;  ///< bytes of a line with a number

    void number(char tag, int64_t value) {
        char* const at = out_.reserve(kLineRoom);
        out_.commit(put_number(at, tag, value));
    }
    /// Writes a line; returns its length.
    static size_t put_number(char* at, char tag, int64_t value) {
        size_t length;
        at[0] = tag;
        if (static_cast<uint64_t>(value) < 10) {
            at[1] = static_cast<char>('0' + value);
            length = 2;
        } else if (static_cast<uint64_t>(value) < 100) {
            at[1] = static_cast<char>('0' + value / 10);
            at[2] = static_cast<char>('0' + value % 10);
            length = 3;
        } else {
            length = static_cast<size_t>(std::to_chars(at + 1, at + kLineRoom - 2, value).ptr - at);
        }
        at[length] = '\r';
        at[length + 1] = '\n';
        return length + 2;
    }
    void line(char tag, std::string_view text) {
        out_.append({&tag, 1});
        out_.append(text);
        out_.append("\r\n");
    }

    Buffer& out_;
    bool resp3_;
    Diagnostics* diagnostics_;
    unsigned errors_ = 0;
};

}  // namespace millrace::io_conn
