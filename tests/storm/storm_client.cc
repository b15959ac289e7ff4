// A client that cannot be fooled: many connections of mixed load, each of which knows what every answer has to be, while
// somebody else kills the server's processes.
//
//     storm_client PORT CONNECTIONS [THINK-MICROSECONDS]
//
// Each connection sends batches of commands, with the given time between them, and checks each reply: its own counter rises by exactly one, a counter that all
// share rises, its own log grows by exactly one record, what it has set is what it gets, three keys set together are equal,
// a long value comes back whole. A line `mark` on standard input prints the longest time that any batch has taken since the
// last mark; `end` lets all batches end, looks at all keys once more and prints what was done. Any error, closed
// connection or wrong reply ends the program at once with one sentence and status 1.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"

using millrace::monotonic_us;

namespace {

constexpr size_t kLongBytes = 200'000;
constexpr unsigned kBatchMax = 12;
constexpr unsigned kLongEvery = 400;  ///< batches from one long value to the next

[[noreturn]] void fail(const std::string& what) {
    std::printf("wrong: %s\n", what.c_str());
    std::fflush(stdout);
    std::_Exit(1);
}

std::string command(std::initializer_list<std::string_view> words) {
    std::string text = "*" + std::to_string(words.size()) + "\r\n";
    for (const std::string_view word : words) {
        text += "$" + std::to_string(word.size()) + "\r\n";
        text += word;
        text += "\r\n";
    }
    return text;
}

std::string bulk(std::string_view bytes) { return "$" + std::to_string(bytes.size()) + "\r\n" + std::string(bytes) + "\r\n"; }

/// Bytes of the first whole reply in `bytes`; 0: not all of it has come.
size_t reply_length(std::string_view bytes) {
    const size_t line = bytes.find("\r\n");
    if (line == std::string_view::npos) return 0;
    int64_t number = 0;
    if (bytes[0] == '$' || bytes[0] == '*') std::from_chars(bytes.data() + 1, bytes.data() + line, number);
    if (bytes[0] == '$' && number >= 0) {
        const size_t length = line + 2 + static_cast<size_t>(number) + 2;
        return bytes.size() < length ? 0 : length;
    }
    size_t at = line + 2;
    for (; bytes[0] == '*' && number > 0; --number) {
        const size_t element = reply_length(bytes.substr(at));
        if (element == 0) return 0;
        at += element;
    }
    return at;
}

uint64_t total_increments = 0;  ///< of the counter that all connections share

class Connection {
  public:
    Connection(unsigned number, uint16_t port) : name_(std::to_string(number)), random_(number) {
        fd_ = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("cannot connect");
        const int one = 1;
        setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }

    int fd() const { return fd_; }
    bool idle() const { return expected_.empty(); }
    uint64_t commands() const { return commands_; }
    uint64_t waiting_since_us() const { return idle() ? ~uint64_t{0} : sent_at_us_; }

    /// Sends the next batch.
    void send_batch() {
        const unsigned count = 1 + random_() % kBatchMax;
        for (unsigned i = 0; i < count; ++i) add_command();
        if (++batches_ % kLongEvery == 0) add_long_value();
        send_all();
    }
    /// Takes what has come; gives the time of the batch that ended with it, microseconds, or 0.
    uint64_t receive() {
        char buffer[65536];
        const ssize_t count = recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
        if (count <= 0) fail("connection " + name_ + " was closed");
        input_.append(buffer, static_cast<size_t>(count));
        size_t at = 0;
        while (!expected_.empty()) {
            const size_t length = reply_length(std::string_view(input_).substr(at));
            if (length == 0) break;
            check(std::string_view(input_).substr(at, length));
            at += length;
        }
        input_.erase(0, at);
        if (expected_.empty() && !input_.empty()) fail("connection " + name_ + " got a reply that it did not ask for");
        return expected_.empty() ? std::max<uint64_t>(monotonic_us() - sent_at_us_, 1) : 0;
    }
    /// Asks once more for everything that this connection has written.
    void send_last_look() {
        expect(command({"GET", "counter:" + name_}), counter_ == 0 ? "$-1\r\n" : bulk(std::to_string(counter_)));
        expect(command({"GET", "log:" + name_}), log_.empty() ? "$-1\r\n" : bulk(log_));
        expect(command({"GET", "value:" + name_}), value_.empty() ? "$-1\r\n" : bulk(value_));
        send_all();
    }

  private:
    void expect(const std::string& request, std::string reply) {
        output_ += request;
        expected_.push_back(std::move(reply));
        ++commands_;
    }
    void add_command() {
        switch (random_() % 8) {
            case 0: case 1:
                return expect(command({"INCR", "counter:" + name_}), ":" + std::to_string(++counter_) + "\r\n");
            case 2:
                ++total_increments;
                return expect(command({"INCR", "total"}), ":");
            case 3:
                add_log();
                return expect(command({"APPEND", "log:" + name_, log_.substr(log_.size() - 8)}), ":" + std::to_string(log_.size()) + "\r\n");
            case 4:
                value_.assign(1 + random_() % 300, static_cast<char>('a' + random_() % 26));
                return expect(command({"SET", "value:" + name_, value_}), "+OK\r\n");
            case 5: return expect(command({"GET", "value:" + name_}), value_.empty() ? "$-1\r\n" : bulk(value_));
            case 6: return add_three();
            default: return expect(command({"SET", "key:" + std::to_string(random_() % 1'000'000), "v", "EX", "1000"}), "+OK\r\n");
        }
    }
    void add_log() {
        char record[9];
        std::snprintf(record, sizeof record, "%07u;", static_cast<unsigned>(log_.size() / 8 % 10'000'000));
        log_ += record;
        if (log_.size() > 100'000) {  // begun anew, so that it does not grow for ever
            expect(command({"DEL", "log:" + name_}), ":1\r\n");
            log_ = record;
        }
    }
    void add_three() {
        const std::string a = "three:a" + name_, b = "three:b" + name_, c = "three:c" + name_;
        const std::string value = std::to_string(random_());
        expect(command({"MSET", a, value, b, value, c, value}), "+OK\r\n");
        expect(command({"MGET", a, b, c}), "*3\r\n" + bulk(value) + bulk(value) + bulk(value));
    }
    void add_long_value() {
        std::string value(kLongBytes + random_() % 1000, '\0');
        for (char& byte : value) byte = static_cast<char>(random_());
        expect(command({"SET", "long:" + name_, value}), "+OK\r\n");
        expect(command({"GET", "long:" + name_}), bulk(value));
    }
    void send_all() {
        sent_at_us_ = monotonic_us();
        std::string_view left = output_;
        while (!left.empty()) {
            const ssize_t count = send(fd_, left.data(), left.size(), MSG_NOSIGNAL);
            if (count <= 0) fail("connection " + name_ + " was closed while sending");
            left.remove_prefix(static_cast<size_t>(count));
        }
        output_.clear();
    }
    void check(std::string_view reply) {
        const std::string& expected = expected_.front();
        const bool right = expected == ":" ? reply.starts_with(':') : reply == expected;
        if (!right)
            fail("connection " + name_ + " got " + std::string(reply.substr(0, 80)) + " and not " + expected.substr(0, 80));
        expected_.erase(expected_.begin());
    }

    std::string name_;
    std::minstd_rand random_;
    int fd_ = -1;
    std::string output_, input_;
    std::vector<std::string> expected_;
    uint64_t sent_at_us_ = 0, commands_ = 0, batches_ = 0, counter_ = 0;
    std::string log_, value_;
};

class Storm {
  public:
    Storm(uint16_t port, unsigned connections, uint64_t think_us) : epoll_(epoll_create1(0)), think_us_(think_us) {
        for (unsigned i = 0; i < connections; ++i) {
            all_.push_back(std::make_unique<Connection>(i, port));
            epoll_event event{EPOLLIN, {.u32 = i}};
            epoll_ctl(epoll_, EPOLL_CTL_ADD, all_.back()->fd(), &event);
        }
        epoll_event event{EPOLLIN, {.u32 = kInput}};
        epoll_ctl(epoll_, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    }
    void run() {
        for (auto& connection : all_) connection->send_batch();
        while (!ending_ || busy()) turn(true);
        for (auto& connection : all_) connection->send_last_look();
        while (busy()) turn(false);
        uint64_t commands = 0;
        for (auto& connection : all_) commands += connection->commands();
        std::printf("{\"commands\": %" PRIu64 ", \"total\": %" PRIu64 "}\n", commands, total_increments);
    }

  private:
    static constexpr uint32_t kInput = ~0u;

    bool busy() const {
        return std::any_of(all_.begin(), all_.end(), [](const auto& connection) { return !connection->idle(); });
    }
    /// Sends the batches whose time has come; gives the milliseconds until the next.
    int send_due() {
        const uint64_t now_us = monotonic_us();
        while (!thinking_.empty() && !ending_ && thinking_.front().second <= now_us) {
            thinking_.front().first->send_batch();
            thinking_.pop_front();
        }
        if (thinking_.empty() || ending_) return 1000;
        return static_cast<int>((thinking_.front().second - now_us) / 1000 + 1);
    }
    void turn(bool go_on) {
        epoll_event events[64];
        const int count = epoll_wait(epoll_, events, 64, send_due());
        for (int i = 0; i < count; ++i) {
            if (events[i].data.u32 == kInput) {
                read_order();
                continue;
            }
            Connection& connection = *all_[events[i].data.u32];
            const uint64_t took_us = connection.receive();
            longest_us_ = std::max(longest_us_, took_us);
            if (took_us != 0 && go_on && !ending_) thinking_.emplace_back(&connection, monotonic_us() + think_us_);
        }
    }
    void read_order() {
        char buffer[256];
        const ssize_t count = read(STDIN_FILENO, buffer, sizeof buffer);
        orders_.append(buffer, count > 0 ? static_cast<size_t>(count) : 0);
        if (count <= 0) orders_ += "end\n";
        for (size_t end; (end = orders_.find('\n')) != std::string::npos; orders_.erase(0, end + 1)) {
            if (orders_.compare(0, end, "mark") == 0) mark();
            else ending_ = true;
        }
    }
    /// What still waits counts with the time that it has waited so far.
    void mark() {
        for (auto& connection : all_)
            if (!connection->idle()) longest_us_ = std::max(longest_us_, monotonic_us() - connection->waiting_since_us());
        std::printf("%" PRIu64 "\n", longest_us_);
        std::fflush(stdout);
        longest_us_ = 0;
    }

    int epoll_;
    uint64_t think_us_;
    std::deque<std::pair<Connection*, uint64_t>> thinking_;  ///< and when they send again, in that order
    std::vector<std::unique_ptr<Connection>> all_;
    std::string orders_;
    uint64_t longest_us_ = 0;
    bool ending_ = false;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3 && argc != 4) {
        std::fprintf(stderr, "usage: storm_client PORT CONNECTIONS [THINK-MICROSECONDS]\n");
        return 2;
    }
    Storm(static_cast<uint16_t>(std::atoi(argv[1])), static_cast<unsigned>(std::atoi(argv[2])),
          argc == 4 ? static_cast<uint64_t>(std::atoll(argv[3])) : 0)
        .run();
    return 0;
}
