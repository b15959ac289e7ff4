// See way_in.h. Runs in md_repl.
#include "md/repl/way_in.h"

#include <fmt/format.h>

namespace millrace::md_repl {

void WayIn::close() {
    socket_.close();
    unanswered_ = 0;
}

void WayIn::send(std::span<const std::string_view> words, std::string_view encoded, size_t more) {
    std::string& out = socket_.out();
    fmt::format_to(std::back_inserter(out), "*{}\r\n", words.size() + more);
    for (const std::string_view word : words) {
        fmt::format_to(std::back_inserter(out), "${}\r\n", word.size());
        out.append(word).append("\r\n");
    }
    out.append(encoded);
    ++unanswered_;
}

bool WayIn::read() { return socket_.read(kAnswerBytesMax); }

std::optional<WayIn::Answer> WayIn::next() {
    const std::string_view in = socket_.in();
    const size_t end = in.find("\r\n");
    if (end == std::string_view::npos || unanswered_ == 0) return std::nullopt;
    Answer answer;
    if (in[0] == '+') answer.status = std::string(in.substr(1, end - 1));
    else answer.error = in[0] == '-' ? std::string(in.substr(1, end - 1)) : "an answer that is none";
    socket_.drop(end + 2);
    --unanswered_;
    return answer;
}

}  // namespace millrace::md_repl
