// One connection of the load generator: its socket, the reply being parsed, the requests that wait for a
// reply (oldest first, in a ring of fixed size) and what send() has not taken yet. Plain data; worker.cc
// moves it.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <string>

#include "tools/bench/reply_parser.h"

namespace millrace::bench {

struct Pending {
    int64_t start_ns;  // where its latency begins (steady clock)
    uint64_t key;
    uint8_t command;
};

class PendingRing {
  public:
    explicit PendingRing(uint32_t capacity)
        : mask_(std::bit_ceil(capacity) - 1), slots_(std::make_unique<Pending[]>(mask_ + 1)) {}

    uint32_t size() const { return tail_ - head_; }
    bool empty() const { return head_ == tail_; }
    const Pending& front() const { return slots_[head_ & mask_]; }
    void push(const Pending& pending) {
        slots_[tail_++ & mask_] = pending;
    }  // REQUIRES: size() below the capacity
    void pop() { ++head_; }
    void clear() { head_ = tail_; }

  private:
    uint32_t head_ = 0;
    uint32_t tail_ = 0;
    uint32_t mask_;
    std::unique_ptr<Pending[]> slots_;
};

enum class ConnectionState : uint8_t { kToOpen, kConnecting, kUp, kGone };

struct Connection {
    Connection(uint32_t number, uint32_t slot, Protocol protocol, uint32_t pending_max)
        : number(number), slot(slot), parser(protocol), pending(pending_max) {}

    const uint32_t number;  // among all connections of the run: decides the source address
    const uint32_t slot;    // among those of its worker: decides the turns of the open loop
    int fd = -1;
    ConnectionState state = ConnectionState::kToOpen;
    bool wants_write = false;  // epoll tells us when send() may go on
    int64_t since_ns = 0;      // last reply, or the first request after an idle time, or the connect()
    uint64_t turns_taken = 0;  // open loop: own requests sent so far
    ReplyParser parser;
    PendingRing pending;
    std::string unsent;  // allocates only when the server stops reading
    size_t unsent_from = 0;
};

}  // namespace millrace::bench
