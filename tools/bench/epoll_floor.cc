// millrace-epoll-floor: the least a server can do, as the lower bound that servers are compared with. One
// process, one thread, edge-triggered epoll, one read and one write per turn; it frames RESP arrays of bulk
// strings just enough to count the requests and see whether each is a GET, and keeps no data: a GET is
// answered with a bulk string of the chosen size, anything else with +OK (PING with +PONG). Not a server for
// anything but measuring.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "tools/bench/epoll_floor_arguments.h"

using millrace::bench::FloorArguments;

namespace {

constexpr size_t kReadBytes = 128 << 10;       // one read() at most, and the largest request
constexpr size_t kReplyRoomBytes = 256 << 10;  // replies are written out when so many have gathered
constexpr int kEventsMax = 512;                // per epoll_wait
constexpr int kBacklog = 4096;                 // connections waiting for accept()
constexpr rlim_t kFilesWanted = 200'000;       // open files, if the system lets us

struct Client {
    int fd = -1;
    std::string rest;    // the beginning of a request whose end has not arrived
    std::string unsent;  // what write() did not take
};

struct Replies {
    std::string get;
    std::string other = "+OK\r\n";
    std::string ping = "+PONG\r\n";
};

// Reads "<type><number>\r\n" at `at`. Returns the end of the line, nullptr if it is not all there.
const char* read_count(const char* at, const char* end, long& number) {
    const char* newline = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
    if (!newline) return nullptr;
    number = 0;
    for (const char* c = at + 1; c < newline && *c >= '0' && *c <= '9'; ++c)
        number = number * 10 + (*c - '0');
    return newline + 1;
}

// One request. Returns its end and its first word, or nullptr if it is not all there.
const char* read_request(const char* at, const char* end, std::string_view& word) {
    long words = 0;
    at = read_count(at, end, words);
    for (long i = 0; at && i < words; ++i) {
        if (at == end) return nullptr;
        long length = 0;
        const char* const text = read_count(at, end, length);
        if (!text || end - text < length + 2) return nullptr;
        if (i == 0) word = {text, static_cast<size_t>(length)};
        at = text + length + 2;
    }
    return at;
}

class FloorServer {
  public:
    FloorServer(uint16_t port, const Replies& replies) : replies_(replies) {
        listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int on = 1;
        setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(port);
        is_listening_ = bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
                        listen(listener_, kBacklog) == 0;
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
        watch(listener_, nullptr);
    }

    bool is_listening() const { return is_listening_; }

    [[noreturn]] void serve() {
        for (;;) {
            std::array<epoll_event, kEventsMax> events;
            const int count = epoll_wait(epoll_, events.data(), kEventsMax, -1);
            for (int i = 0; i < count; ++i) {
                auto* const client = static_cast<Client*>(events[i].data.ptr);
                if (!client) {
                    accept_all();
                } else if (!flush(*client) || !answer(*client)) {
                    const int fd = client->fd;
                    close(fd);
                    clients_.erase(fd);
                }
            }
        }
    }

  private:
    void watch(int fd, Client* client) const {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        event.data.ptr = client;
        epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
    }

    void accept_all() {
        for (;;) {
            const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0) return;
            const int on = 1;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            auto& client = clients_[fd] = std::make_unique<Client>();
            client->fd = fd;
            watch(fd, client.get());
        }
    }

    // Reads until the socket is empty and answers every whole request. False: the connection is over.
    bool answer(Client& client) {
        for (;;) {
            const size_t kept = client.rest.size();
            std::memcpy(input_.data(), client.rest.data(), kept);
            const ssize_t size = read(client.fd, input_.data() + kept, input_.size() - kept);
            if (size < 0) return errno == EAGAIN || errno == EINTR;
            if (size == 0) return false;
            const char* at = input_.data();
            const char* const end = at + kept + size;
            output_.clear();
            at = answer_requests(at, end);
            client.rest.assign(at, static_cast<size_t>(end - at));
            if (!send_out(client)) return false;
            // A read that left room has emptied the socket; an edge will tell of more.
            if (static_cast<size_t>(size) < input_.size() - kept) return true;
        }
    }

    const char* answer_requests(const char* at, const char* end) {
        while (at < end) {
            std::string_view word;
            const char* const next = read_request(at, end, word);
            if (!next) break;
            const bool is_get = word.size() == 3 && (word[0] | 0x20) == 'g';
            const bool is_ping = word.size() == 4 && (word[0] | 0x20) == 'p';
            output_ += is_get ? replies_.get : is_ping ? replies_.ping : replies_.other;
            at = next;
        }
        return at;
    }

    bool send_out(Client& client) {
        if (output_.empty()) return true;
        if (!client.unsent.empty()) {
            client.unsent += output_;
            return flush(client);
        }
        const ssize_t size = send(client.fd, output_.data(), output_.size(), MSG_NOSIGNAL);
        if (size < 0 && errno != EAGAIN) return false;
        if (static_cast<size_t>(std::max<ssize_t>(size, 0)) < output_.size()) {
            client.unsent.assign(output_, static_cast<size_t>(std::max<ssize_t>(size, 0)));
        }
        return true;
    }

    static bool flush(Client& client) {
        if (client.unsent.empty()) return true;
        const ssize_t size = send(client.fd, client.unsent.data(), client.unsent.size(), MSG_NOSIGNAL);
        if (size < 0) return errno == EAGAIN;
        client.unsent.erase(0, static_cast<size_t>(size));
        return true;
    }

    const Replies& replies_;
    bool is_listening_ = false;
    int listener_ = -1;
    int epoll_ = -1;
    std::array<char, kReadBytes> input_;
    std::string output_ = std::string(kReplyRoomBytes, ' ');
    std::unordered_map<int, std::unique_ptr<Client>> clients_;
};

void raise_file_limit() {
    const rlimit wanted{kFilesWanted, kFilesWanted};
    if (setrlimit(RLIMIT_NOFILE, &wanted) == 0) return;
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
    FloorArguments arguments;
    if (const int status = read_floor_arguments(argc, argv, arguments); status >= 0) return status;
    Replies replies;
    replies.get = arguments.bulk ? fmt::format("${}\r\n{}\r\n", *arguments.bulk, std::string(*arguments.bulk, 'x')) : replies.other;
    raise_file_limit();
    const auto server = std::make_unique<FloorServer>(arguments.port, replies);
    if (!server->is_listening()) {
        fmt::print(stderr, "millrace-epoll-floor: cannot listen on 127.0.0.1:{}: {}; choose another --port\n",
                   arguments.port, std::strerror(errno));
        return 1;
    }
    fmt::print("ready\n");
    std::fflush(stdout);
    server->serve();
}
