// See supervisor_link.h. Runs in io_conn.
#include "io_conn/supervisor_link.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace millrace::io_conn {

namespace {

constexpr std::string_view kNobody = "the supervisor is not there; 'millrace start' brings it back";
constexpr std::string_view kSilent = "the supervisor does not answer";
constexpr std::string_view kStrange = "the supervisor's answer is not understood";

/// Appends a character: a byte that Python could not read as UTF-8 (0xdc80 to 0xdcff) as that byte.
void append_character(std::string& text, unsigned code) {
    if (code < 0x80) {
        text += static_cast<char>(code);
    } else if (code >= 0xdc80 && code <= 0xdcff) {
        text += static_cast<char>(code & 0xff);
    } else if (code < 0x800) {
        text += {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
    } else {
        text += {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3f)), static_cast<char>(0x80 | (code & 0x3f))};
    }
}

/// The JSON string that `json` begins with, behind its opening quote.
std::string unquoted(std::string_view json) {
    std::string text;
    for (size_t i = 0; i < json.size() && json[i] != '"'; ++i) {
        if (json[i] != '\\' || i + 1 == json.size()) {
            text += json[i];
            continue;
        }
        const char escape = json[++i];
        unsigned code = 0;
        if (escape == 'u' && i + 4 < json.size() && std::from_chars(json.data() + i + 1, json.data() + i + 5, code, 16).ptr == json.data() + i + 5) {
            append_character(text, code);
            i += 4;
        } else {
            text += escape == 'n' || escape == 'r' || escape == 't' ? ' ' : escape;
        }
    }
    return text;
}

}  // namespace

std::string json_quoted(std::string_view text) {
    std::string json = "\"";
    for (const unsigned char c : text) {
        if (c == '"' || c == '\\') json += {'\\', static_cast<char>(c)};
        else if (c < 0x20 || c >= 0x7f) json += fmt::format("\\u{:04x}", c);
        else json += static_cast<char>(c);
    }
    return json + '"';
}

SupervisorAnswer read_supervisor_answer(std::string_view line) {
    if (line.starts_with("{\"ok\": true")) return {true, {}};
    constexpr std::string_view kRefusal = "{\"ok\": false, \"error\": \"";
    return {false, line.starts_with(kRefusal) ? unquoted(line.substr(kRefusal.size())) : std::string(kStrange)};
}

SupervisorLink::~SupervisorLink() {
    for (const Request& request : requests_) {
        event_free(request.arrival);
        close(request.fd);
    }
}

std::string SupervisorLink::ask(ConnectionId who, const std::string& request) {
    if (requests_.size() == kRequestsMax) return "too many requests to the supervisor are under way";
    const int fd = doors_.reach(Door::supervisor);
    if (fd < 0) return std::string(errno == EAGAIN ? kSilent : kNobody);
    // A fresh socket takes far more than a request at once.
    const std::string line = request + '\n';
    if (send(fd, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
        close(fd);
        return std::string(kNobody);
    }
    Request& asked = requests_.emplace_back(Request{this, who, fd, nullptr, {}});
    asked.arrival = event_new(base_, fd, EV_READ | EV_PERSIST, on_event, &asked);
    const timeval patience{kPatienceS, 0};
    event_add(asked.arrival, &patience);
    return {};
}

void SupervisorLink::hand_over(std::span<const int> descriptors) const {
    if (descriptors.empty()) return;
    const int fd = doors_.reach(Door::supervisor_sockets);
    if (fd < 0) return;
    send_message(fd, "s", descriptors);
    close(fd);
}

void SupervisorLink::on_event(int, short what, void* argument) {
    auto& request = *static_cast<Request*>(argument);
    request.link->receive(request, (what & EV_TIMEOUT) == 0);
}

void SupervisorLink::receive(Request& request, bool in_time) {
    if (!in_time) return end(request, {false, std::string(kSilent)});
    char bytes[4096];
    const ssize_t count = recv(request.fd, bytes, sizeof bytes, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count > 0) request.answer.append(bytes, static_cast<size_t>(count));
    if (const size_t line_end = request.answer.find('\n'); line_end != std::string::npos)
        return end(request, read_supervisor_answer(std::string_view(request.answer).substr(0, line_end)));
    if (count <= 0) return end(request, {false, std::string(kNobody)});
    if (request.answer.size() > kAnswerBytesMax) end(request, {false, std::string(kStrange)});
}

void SupervisorLink::end(Request& request, const SupervisorAnswer& answer) {
    const ConnectionId who = request.who;
    event_free(request.arrival);
    close(request.fd);
    requests_.remove_if([&request](const Request& other) { return &other == &request; });
    receiver_(who, answer);
}

}  // namespace millrace::io_conn
