// What INFO and MEMORY tell, gathered once for a command: the counters of all processes, some words of the store, and CPU clocks. Nobody is asked, so
// it is there while md is busy, stopped or dead. Runs in io_conn.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/counter_reader.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

struct ServerFacts {
    /// Reads the counters.
    explicit ServerFacts(const LocalCall& call);

    const LocalCall& call;
    std::vector<ProcessCounters> processes;

    uint64_t sum(std::string_view role, std::string_view counter) const;
    uint64_t io(std::string_view counter) const { return sum("io_conn", counter); }
    uint64_t md(std::string_view counter) const { return sum("md", counter); }
    uint64_t both(std::string_view counter) const { return io(counter) + md(counter); }
    const Options& options() const { return call.server.daemon().options(); }
    /// A word of the store's root.
    uint64_t root_word(uint64_t offset) const { return call.server.link().store().load(store::kRootAt + offset); }
    /// When the oldest process that lives was started, seconds since 1970.
    uint64_t started_s() const;
    /// Since then, seconds.
    uint64_t uptime_s() const;
    /// Keys in all databases.
    uint64_t keys() const;
    /// User and system time of all processes of the group, seconds.
    std::pair<double, double> cpu_seconds() const;
};

/// Bytes, and what they are for.
struct MemoryFacts {
    explicit MemoryFacts(const ServerFacts& facts);

    uint64_t store;      ///< what counts against maxmemory: items, index, marks
    uint64_t overhead;   ///< of it, what is not keys and values; and buffers
    uint64_t buffers;    ///< of connections, and requests that have arrived in part
    uint64_t used;       ///< store and buffers
    uint64_t peak;       ///< the most that the store has taken, or what is used now
    uint64_t dataset;    ///< used without overhead
    uint64_t active;     ///< pages of the store in use
    uint64_t taken;      ///< shared memory that the store has taken from the system
    uint64_t resident;   ///< of all processes; what they share counts once
    uint64_t of_system;  ///< that this host has
    uint64_t keys;
};

/// INFO's section about the data on disk, and our own fields about it (local_persistence.cc).
std::string persistence_text(const ServerFacts& facts);
std::string log_text(const ServerFacts& facts);
/// INFO's section about replication, and its fields about synchronisations (local_replication.cc).
std::string replication_text(const ServerFacts& facts);
std::string syncs_text(const ServerFacts& facts);

/// Whether there is a process with this pid.
bool lives(int pid);

/// "918.92K", as Redis writes it.
std::string human_bytes(uint64_t bytes);

}  // namespace millrace::io_conn
