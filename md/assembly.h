// Puts large requests together that arrive in fragments. Runs in md; its input comes from a ring and is not trusted.
//
// Bounded: all assemblies of all channels together take at most `assembly-memory`; memory is taken as bytes arrive. A
// request that would exceed it is read to its end and answered with an error. At most one assembly a connection; a
// fragment that does not continue what is there is dropped, so a faulty io_conn costs its clients a request, not more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>

#include "common/message.h"

namespace millrace::md {

/// The bytes that all assemblies of md may take together.
struct AssemblyBudget {
    uint64_t limit = 0;
    uint64_t used = 0;
};

class Assembly {
  public:
    enum class Outcome { waiting, complete, refused };

    explicit Assembly(AssemblyBudget& budget) : budget_(&budget) {}
    ~Assembly();
    Assembly(const Assembly&) = delete;

    /// Takes one request_fragment message. complete: request() has it whole; refused: it was too large and has now been
    /// read to its end.
    Outcome add(ConnectionId connection, std::span<const std::byte> body);
    /// The request that add() completed last, until the next call or drop_request().
    std::span<const std::byte> request() const { return std::as_bytes(std::span(complete_)); }
    /// Frees request(), once it is executed.
    void drop_request() { complete_ = std::string(); }
    /// Drops what the connection has sent so far.
    void forget(ConnectionId connection);

  private:
    struct Partial {
        uint32_t generation = 0;
        uint64_t total = 0;
        uint64_t received = 0;
        uint64_t charged = 0;  ///< bytes counted in the budget
        bool refused = false;
        std::string bytes;
    };

    bool take(Partial& partial, std::span<const std::byte> bytes);
    void release(Partial& partial);

    AssemblyBudget* budget_;
    std::unordered_map<uint32_t, Partial> by_slot_;
    std::string complete_;
};

}  // namespace millrace::md
