// See client_orders.h. Runs in io_conn.
#include "io_conn/client_orders.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/paths.h"

namespace millrace::io_conn {

ClientOrders::ClientOrders(const Daemon& daemon, Roster& roster, ClientOrderWords& own, Wake wake)
    : arguments_(daemon.arguments()), roster_(roster), own_(own), wake_(std::move(wake)) {}

/// The words of another io_conn that is there; null for one that is not, or has only begun to start.
const ClientOrderWords* ClientOrders::words_of(unsigned index) {
    const RosterLine& line = roster_.lines[index];
    const uint64_t generation = line.generation.load(std::memory_order_acquire);
    if (index == arguments_.index || generation == 0 || line.state.load(std::memory_order_relaxed) == static_cast<uint32_t>(IoConnState::absent))
        return nullptr;
    Peer& peer = peers_[index];
    if (peer.generation != generation) {
        try {
            peer.segment = Segment::attach({paths::clients(arguments_.dir, index), kClientsLayout, arguments_.instance}, Access::read_only);
        } catch (const Error&) {
            return nullptr;
        }
        if (peer.segment.header().generation != generation) return nullptr;  // still its dead predecessor's
        peer.generation = generation;
        const uint64_t issued = peer.segment.payload<ClientOrderWords>()->issued.load(std::memory_order_acquire);
        own_.carried_out[index].store(issued - std::min<uint64_t>(issued, ClientOrderWords::kOrders), std::memory_order_relaxed);
    }
    return peer.segment.payload<ClientOrderWords>();
}

void ClientOrders::carry_out(const Close& close) {
    seen_ = roster_.orders.load(std::memory_order_acquire);
    for (unsigned index = 0; index < kMaxIoConns; ++index) {
        const ClientOrderWords* const words = words_of(index);
        if (words == nullptr) continue;
        const uint64_t issued = words->issued.load(std::memory_order_acquire);
        uint64_t next = own_.carried_out[index].load(std::memory_order_relaxed);
        if (next == issued) continue;
        next = issued - std::min<uint64_t>(issued - next, ClientOrderWords::kOrders);  // whatever a faulty peer says, so many at most
        std::vector<uint64_t> clients;
        for (; next != issued; ++next) clients.push_back(words->close[next % ClientOrderWords::kOrders].load(std::memory_order_relaxed));
        close(clients);
        own_.carried_out[index].store(issued, std::memory_order_release);
        wake_(index);
    }
}

uint64_t ClientOrders::carried_out_by_all() {
    uint64_t least = issued();
    for (unsigned index = 0; index < kMaxIoConns; ++index) {
        const RosterLine& line = roster_.lines[index];
        if (index == arguments_.index || line.generation.load(std::memory_order_acquire) == 0 ||
            line.state.load(std::memory_order_relaxed) == static_cast<uint32_t>(IoConnState::absent))
            continue;
        const ClientOrderWords* const words = words_of(index);
        least = std::min(least, words == nullptr ? 0 : words->carried_out[arguments_.index].load(std::memory_order_acquire));
    }
    return least;
}

bool ClientOrders::are_carried_out(uint64_t count) { return carried_out_by_all() >= count; }

size_t ClientOrders::issue(std::span<const uint64_t> clients) {
    const uint64_t first = issued();
    const uint64_t room = ClientOrderWords::kOrders - std::min<uint64_t>(first - carried_out_by_all(), ClientOrderWords::kOrders);
    const auto count = static_cast<size_t>(std::min<uint64_t>(room, clients.size()));
    if (count == 0) return 0;
    for (size_t i = 0; i < count; ++i) own_.close[(first + i) % ClientOrderWords::kOrders].store(clients[i], std::memory_order_relaxed);
    own_.issued.store(first + count, std::memory_order_release);
    roster_.orders.fetch_add(1, std::memory_order_acq_rel);
    for (unsigned index = 0; index < kMaxIoConns; ++index)
        if (words_of(index) != nullptr) wake_(index);
    return count;
}

}  // namespace millrace::io_conn
