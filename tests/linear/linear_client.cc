// A client of many connections whose answers must have an order: registers, counters and groups of keys that are set together
// (history.h). It works in rounds; after each the histories of all objects are checked.
//
//     linear_client PORT SECONDS [CLIENTS [SEED]]
//
// Ends with 0 and "right: ..." or with 1 and "wrong: ..."; the seed is printed either way. A connection that closes is wrong too.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include "tests/linear/history.h"

using namespace millrace::linear;

namespace {

constexpr unsigned kRegisters = 4, kCounters = 2, kGroups = 2, kKeysOfGroup = 3;
constexpr unsigned kOperationsPerRound = 60;  ///< of a client
constexpr unsigned kPipelineMax = 6;
constexpr unsigned kFillers = 4000;  ///< other keys that come and go, so that the index moves keys, grows and shrinks
constexpr time_t kPatienceS = 30;

uint64_t now_ns() {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

/// A number as a value whose length and letters follow from it, so that one put together from two is no number.
std::string value_of(uint64_t number) {
    std::string value = std::to_string(number) + ":";
    value.append(number * 7919 % 400, static_cast<char>('a' + number % 26));
    return value;
}
uint64_t number_of(const std::string& value) {
    const uint64_t number = std::strtoull(value.c_str(), nullptr, 10);
    if (number == 0 || value != value_of(number)) throw std::runtime_error("a value is not whole: " + value.substr(0, 60));
    return number;
}

class Link {
  public:
    explicit Link(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw std::runtime_error("cannot connect");
        const int yes = 1;
        setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        const timeval patience{kPatienceS, 0};
        setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    ~Link() { close(fd_); }
    Link(const Link&) = delete;

    void add(const std::vector<std::string>& words) {
        out_ += "*" + std::to_string(words.size()) + "\r\n";
        for (const std::string& word : words) out_ += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    }
    void send_all() {
        for (size_t done = 0; done < out_.size();) {
            const ssize_t count = send(fd_, out_.data() + done, out_.size() - done, MSG_NOSIGNAL);
            if (count <= 0) throw std::runtime_error("a connection was closed while sending");
            done += static_cast<size_t>(count);
        }
        out_.clear();
    }
    /// A line without its end.
    std::string line() {
        for (;;) {
            if (const size_t end = in_.find("\r\n"); end != std::string::npos) {
                std::string text = in_.substr(0, end);
                in_.erase(0, end + 2);
                return text;
            }
            more();
        }
    }
    /// The bytes of a bulk reply; false for null.
    bool bulk(std::string& value) {
        const std::string head = line();
        if (head == "$-1") return false;
        if (head[0] != '$') throw std::runtime_error("an unexpected reply: " + head);
        const size_t length = std::strtoul(head.c_str() + 1, nullptr, 10);
        while (in_.size() < length + 2) more();
        value = in_.substr(0, length);
        in_.erase(0, length + 2);
        return true;
    }
    uint64_t number() {
        const std::string text = line();
        if (text[0] != ':') throw std::runtime_error("an unexpected reply: " + text);
        return std::strtoull(text.c_str() + 1, nullptr, 10);
    }
    void ok() {
        if (const std::string text = line(); text != "+OK") throw std::runtime_error("an unexpected reply: " + text);
    }

  private:
    void more() {
        char bytes[16384];
        const ssize_t count = recv(fd_, bytes, sizeof bytes, 0);
        if (count <= 0) throw std::runtime_error("a connection was closed, or there was no answer for long");
        in_.append(bytes, static_cast<size_t>(count));
    }
    int fd_;
    std::string out_, in_;
};

/// What all clients share: numbers that are written once, and the histories of the round.
struct Shared {
    std::atomic<uint64_t> next_number{1};
    std::mutex mutex;
    std::map<std::string, std::vector<Operation>> histories;
    std::string wrong;
    std::atomic<bool> failed{false};
};

class Client {
  public:
    Client(uint16_t port, uint32_t name, uint64_t seed, Shared& shared) : link_(port), name_(name), random_(seed), shared_(shared) {}

    void round() {
        for (unsigned done = 0; done < kOperationsPerRound;) {
            pending_.clear();
            const unsigned count = random_() % 2 == 0 ? 1 : 1 + static_cast<unsigned>(random_() % kPipelineMax);
            for (unsigned i = 0; i < count; ++i) choose();
            const uint64_t sent = now_ns();
            link_.send_all();
            for (Pending& each : pending_) take(each, sent);
            done += count;
        }
        const std::lock_guard lock(shared_.mutex);
        for (auto& [object, operations] : own_) {
            auto& all = shared_.histories[object];
            all.insert(all.end(), operations.begin(), operations.end());
        }
        own_.clear();
    }

  private:
    enum class Reply { ok, number, value, values, ignored_number };
    struct Pending {
        std::string object;
        Kind kind;
        Reply reply;
        uint64_t number;
    };

    void expect(std::string object, Kind kind, Reply reply, uint64_t number = 0) { pending_.push_back({std::move(object), kind, reply, number}); }
    void choose() {
        const unsigned kind = static_cast<unsigned>(random_() % 100);
        if (kind < 45) register_operation();
        else if (kind < 60) counter_operation();
        else if (kind < 85) group_operation();
        else filler_operation();
    }
    void register_operation() {
        const std::string key = "register" + std::to_string(random_() % kRegisters);
        const unsigned kind = static_cast<unsigned>(random_() % 10);
        if (kind < 3) {
            const uint64_t number = shared_.next_number++;
            link_.add({"SET", key, value_of(number)});
            expect(key, Kind::write, Reply::ok, number);
        } else if (kind == 3) {
            link_.add({"DEL", key});
            expect(key, Kind::write, Reply::ignored_number, kAbsent);
        } else {
            link_.add({"GET", key});
            expect(key, Kind::read, Reply::value);
        }
    }
    void counter_operation() {
        const std::string key = "counter" + std::to_string(random_() % kCounters);
        const bool add = random_() % 2 == 0;
        link_.add({add ? "INCR" : "GET", key});
        expect(key, add ? Kind::add : Kind::read, add ? Reply::number : Reply::value);
    }
    void group_operation() {
        const std::string group = "group" + std::to_string(random_() % kGroups);
        const unsigned kind = static_cast<unsigned>(random_() % 3);
        std::vector<std::string> words{kind == 0 ? "MSET" : "MGET"};
        const uint64_t number = kind == 0 ? shared_.next_number++ : 0;
        for (unsigned i = 0; i < kKeysOfGroup; ++i) {
            words.push_back(group + "-" + std::to_string(i));
            if (kind == 0) words.push_back(value_of(number));
        }
        link_.add(words);
        expect(group, kind == 0 ? Kind::write : Kind::read, kind == 0 ? Reply::ok : Reply::values, number);
    }
    void filler_operation() {
        const std::string key = "filler" + std::to_string(random_() % kFillers);
        const bool set = random_() % 3 != 0;
        if (set) link_.add({"SET", key, std::string(random_() % 200, 'f')});
        else link_.add({"DEL", key});
        expect("", Kind::write, set ? Reply::ok : Reply::ignored_number);
    }
    void take(Pending& each, uint64_t sent) {
        std::string value;
        switch (each.reply) {
            case Reply::ok: link_.ok(); break;
            case Reply::ignored_number: link_.number(); break;
            case Reply::number: each.number = link_.number(); break;
            case Reply::value:
                each.number = !link_.bulk(value) ? kAbsent : each.object[0] == 'c' ? std::strtoull(value.c_str(), nullptr, 10) : number_of(value);
                break;
            case Reply::values:
                link_.line();
                for (unsigned i = 0; i < kKeysOfGroup; ++i) {
                    const uint64_t number = link_.bulk(value) ? number_of(value) : kAbsent;
                    if (i != 0 && number != each.number) throw std::runtime_error("keys set together are seen apart in " + each.object);
                    each.number = number;
                }
                break;
        }
        if (!each.object.empty()) own_[each.object].push_back({each.kind, name_, each.number, sent, now_ns()});
    }

    Link link_;
    uint32_t name_;
    std::mt19937_64 random_;
    Shared& shared_;
    std::vector<Pending> pending_;
    std::map<std::string, std::vector<Operation>> own_;
};

/// What an object is after the round, which begins the next one's history.
uint64_t state_after(Link& link, const std::string& object) {
    std::string value;
    link.add({"GET", object[0] == 'g' ? object + "-0" : object});
    link.send_all();
    if (!link.bulk(value)) return kAbsent;
    return object[0] == 'c' ? std::strtoull(value.c_str(), nullptr, 10) : number_of(value);
}

void run(uint16_t port, double seconds, unsigned clients, uint64_t seed) {
    Shared shared;
    std::vector<std::unique_ptr<Client>> all;
    for (unsigned i = 0; i < clients; ++i) all.push_back(std::make_unique<Client>(port, i, seed + i, shared));
    Link own(port);
    own.add({"FLUSHALL"});
    own.send_all();
    own.ok();
    std::map<std::string, uint64_t> states;
    uint64_t operations = 0, rounds = 0;
    for (const uint64_t end = now_ns() + static_cast<uint64_t>(seconds * 1e9); now_ns() < end; ++rounds) {
        std::vector<std::thread> threads;
        for (auto& client : all)
            threads.emplace_back([&] {
                try {
                    client->round();
                } catch (const std::exception& error) {
                    const std::lock_guard lock(shared.mutex);
                    shared.wrong = error.what();
                    shared.failed = true;
                }
            });
        for (std::thread& thread : threads) thread.join();
        if (shared.failed) throw std::runtime_error(shared.wrong);
        for (auto& [object, history] : shared.histories) {
            operations += history.size();
            if (history.size() > kHistoryMax) throw std::runtime_error("a history is too long to be checked");
            const uint64_t after = state_after(own, object), moment = now_ns();
            history.push_back({Kind::read, ~0u, after, moment, moment});
            if (const std::string wrong = check(std::move(history), states[object]); !wrong.empty()) throw std::runtime_error(object + ": " + wrong);
            states[object] = after;
        }
        shared.histories.clear();
    }
    std::printf("right: %llu operations in %llu rounds of %u clients, seed %llu\n", static_cast<unsigned long long>(operations),
                static_cast<unsigned long long>(rounds), clients, static_cast<unsigned long long>(seed));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: linear_client PORT SECONDS [CLIENTS [SEED]]\n");
        return 2;
    }
    const uint64_t seed = argc > 4 ? std::strtoull(argv[4], nullptr, 10) : std::random_device{}();
    try {
        run(static_cast<uint16_t>(std::atoi(argv[1])), std::atof(argv[2]), argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 8, seed);
    } catch (const std::exception& error) {
        std::printf("wrong: %s (seed %llu)\n", error.what(), static_cast<unsigned long long>(seed));
        return 1;
    }
    return 0;
}
