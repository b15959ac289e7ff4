// Readers of a few hot keys that a writer changes all the time, each answer looked at: whole, of the right key, never going back.
//
//     hot_keys PORT READS [READERS]
//
// The writer sends SETs in pipelines as fast as they are answered; each reader (a connection of one thread) sends pipelines of GETs.
// Prints one line: reads, reads a second, SETs; "wrong: ..." and status 1 at the first wrong answer.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr unsigned kKeys = 100, kDepth = 64;
constexpr size_t kNumberDigits = 12;

std::string name_of(unsigned key) { return "hot" + std::to_string(100 + key); }

/// "key number" and then letters that follow from the number, of a length that follows from it too.
void append_value(std::string& out, unsigned key, uint64_t number) {
    char head[32];
    const int bytes = std::snprintf(head, sizeof head, "%03u %012llu ", key, static_cast<unsigned long long>(number));
    out.append(head, static_cast<size_t>(bytes));
    out.append(number * 7 % 120, static_cast<char>('a' + number % 26));
}

class Link {
  public:
    explicit Link(uint16_t port) : fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw std::runtime_error("cannot connect");
        const int yes = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    }
    ~Link() { close(fd); }
    Link(const Link&) = delete;
    void send_all(const std::string& bytes) const {
        for (size_t done = 0; done < bytes.size();) {
            const ssize_t count = send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
            if (count <= 0) throw std::runtime_error("a connection was closed");
            done += static_cast<size_t>(count);
        }
    }
    void receive() {
        char bytes[65536];
        const ssize_t count = recv(fd, bytes, sizeof bytes, 0);
        if (count <= 0) throw std::runtime_error("a connection was closed");
        in.append(bytes, static_cast<size_t>(count));
    }

    const int fd;
    std::string in;
};

class Writer {
  public:
    explicit Writer(uint16_t port) : link(port) { next(); }
    void on_bytes() {
        link.receive();
        if (link.in.size() < 5 * kDepth) return;
        for (size_t at = 0; at < link.in.size(); at += 5)
            if (link.in.compare(at, 5, "+OK\r\n") != 0) throw std::runtime_error("a SET is answered with " + link.in.substr(at, 60));
        link.in.clear();
        next();
    }
    Link link;
    uint64_t number = 0;

  private:
    void next() {
        out_.clear();
        for (unsigned i = 0; i < kDepth; ++i) {
            const unsigned key = static_cast<unsigned>(++number % kKeys);
            value_.clear();
            append_value(value_, key, number);
            out_ += "*3\r\n$3\r\nSET\r\n$6\r\n" + name_of(key) + "\r\n$" + std::to_string(value_.size()) + "\r\n" + value_ + "\r\n";
        }
        link.send_all(out_);
    }
    std::string out_, value_;
};

class Reader {
  public:
    Reader(uint16_t port, unsigned seed) : link(port), random_(seed) { next(); }
    /// Answers that were complete.
    unsigned on_bytes() {
        link.receive();
        unsigned taken = 0;
        size_t at = 0;
        while (take(at)) ++taken;
        link.in.erase(0, at);
        if (asked_.size() == taken_) next();
        return taken;
    }
    Link link;

  private:
    void next() {
        std::string out;
        asked_.clear();
        taken_ = 0;
        for (unsigned i = 0; i < kDepth; ++i) {
            asked_.push_back(static_cast<unsigned>(random_() % kKeys));
            out += "*2\r\n$3\r\nGET\r\n$6\r\n" + name_of(asked_.back()) + "\r\n";
        }
        link.send_all(out);
    }
    bool take(size_t& at) {
        if (taken_ == asked_.size()) return false;
        const size_t end = link.in.find("\r\n", at);
        if (end == std::string::npos) return false;
        const unsigned key = asked_[taken_];
        if (link.in[at] != '$') throw std::runtime_error("a GET is answered with " + link.in.substr(at, 60));
        const long length = std::atol(link.in.c_str() + at + 1);
        if (length >= 0) {
            const auto bytes = static_cast<size_t>(length);
            if (link.in.size() < end + 2 + bytes + 2) return false;
            look_at(key, link.in.data() + end + 2, bytes);
            at = end + 2 + bytes + 2;
        } else if (seen_[key] != 0) {
            throw std::runtime_error("a key is absent that was there");
        } else {
            at = end + 2;
        }
        ++taken_;
        return true;
    }
    void look_at(unsigned key, const char* value, size_t bytes) {
        const uint64_t number = bytes < 4 + kNumberDigits ? 0 : std::strtoull(value + 4, nullptr, 10);
        expected_.clear();
        append_value(expected_, key, number);
        if (number == 0 || expected_.size() != bytes || std::memcmp(expected_.data(), value, bytes) != 0)
            throw std::runtime_error("key " + std::to_string(key) + " has a wrong value: " + std::string(value, bytes));
        if (number < seen_[key]) throw std::runtime_error("key " + std::to_string(key) + " goes back to an older value");
        seen_[key] = number;
    }
    std::minstd_rand random_;
    std::vector<unsigned> asked_;
    size_t taken_ = 0;
    std::array<uint64_t, kKeys> seen_{};
    std::string expected_;
};

void run(uint16_t port, uint64_t wanted, unsigned readers) {
    Writer writer(port);
    std::vector<std::unique_ptr<Reader>> all;
    for (unsigned i = 0; i < readers; ++i) all.push_back(std::make_unique<Reader>(port, i + 1));
    std::vector<pollfd> waiting{{writer.link.fd, POLLIN, 0}};
    for (const auto& reader : all) waiting.push_back({reader->link.fd, POLLIN, 0});
    const auto began = std::chrono::steady_clock::now();
    uint64_t reads = 0;
    while (reads < wanted) {
        if (poll(waiting.data(), waiting.size(), 30'000) <= 0) throw std::runtime_error("no answer for 30 s");
        if (waiting[0].revents != 0) writer.on_bytes();
        for (unsigned i = 0; i < readers; ++i)
            if (waiting[i + 1].revents != 0) reads += all[i]->on_bytes();
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    std::printf("right: %llu reads, %.0f a second, beside %llu SETs\n", static_cast<unsigned long long>(reads), static_cast<double>(reads) / seconds,
                static_cast<unsigned long long>(writer.number));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: hot_keys PORT READS [READERS]\n");
        return 2;
    }
    try {
        run(static_cast<uint16_t>(std::atoi(argv[1])), std::strtoull(argv[2], nullptr, 10), argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 8);
    } catch (const std::exception& error) {
        std::printf("wrong: %s\n", error.what());
        return 1;
    }
    return 0;
}
