// See supervisor_link.h. Runs in io_conn.
#include "io_conn/supervisor_link.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "common/protected_names.h"

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

SupervisorLink::SupervisorLink(event_base* base, const std::string& run_folder, Receiver receiver)
    : base_(base), folder_(open(run_folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)), receiver_(std::move(receiver)) {
    // The path of a Unix socket is short, and DIR's may not be.
    constexpr std::array<std::string_view, doors> kNames = {"supervisor.sock", "supervisor-sockets.sock"};
    for (unsigned door = 0; door < doors; ++door) {
        const std::string path = fmt::format("/proc/self/fd/{}/{}", folder_, kNames[door]);
        addresses_[door].sun_family = AF_UNIX;
        std::memcpy(addresses_[door].sun_path, path.data(), path.size());
    }
}

SupervisorLink::~SupervisorLink() {
    for (const Request& request : requests_) {
        event_free(request.arrival);
        close(request.fd);
    }
    if (folder_ >= 0) close(folder_);
}

/// A socket that is connected to the supervisor, or -1.
int SupervisorLink::reach(const sockaddr_un& address) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, name_to_connect(address), sizeof address) == 0) return fd;
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
}

std::string SupervisorLink::ask(ConnectionId who, const std::string& request) {
    if (requests_.size() == kRequestsMax) return "too many requests to the supervisor are under way";
    const int fd = reach(addresses_[control]);
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
    constexpr size_t kDescriptorsMax = 64;
    if (descriptors.empty() || descriptors.size() > kDescriptorsMax) return;
    const int fd = reach(addresses_[sockets]);
    if (fd < 0) return;
    char byte = 's';
    iovec bytes{&byte, 1};
    alignas(cmsghdr) char room[CMSG_SPACE(kDescriptorsMax * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = room;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
    [[maybe_unused]] ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
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
