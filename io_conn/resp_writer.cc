// See resp_writer.h. Runs in io_conn.
#include "io_conn/resp_writer.h"

#include <cstdio>
#include <string>

namespace millrace::io_conn {

void RespWriter::error(std::string_view text) {
    ++errors_;
    if (diagnostics_ != nullptr) diagnostics_->count_error(text);
    if (text.find_first_of("\r\n") == std::string_view::npos) return line('-', text);
    std::string one_line(text.substr(0, text.find_last_not_of("\r\n") + 1));  // those at the end go, as in Redis
    for (char& c : one_line)
        if (c == '\r' || c == '\n') c = ' ';
    line('-', one_line);
}

void RespWriter::real(double value) {
    char text[40];
    const int length = std::snprintf(text, sizeof text, "%.17g", value);
    if (resp3_) line(',', {text, static_cast<size_t>(length)});
    else bulk({text, static_cast<size_t>(length)});
}

void RespWriter::verbatim(std::string_view text) {
    if (!resp3_) return bulk(text);
    number('=', static_cast<int64_t>(text.size()) + 4);
    out_.append("txt:");
    out_.append(text);
    out_.append("\r\n");
}

}  // namespace millrace::io_conn
