// See server_facts.h. Runs in io_conn.
#include "io_conn/server_facts.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <ctime>

namespace millrace::io_conn {

namespace {

std::vector<ProcessCounters> read_all_counters(const LocalCall& call) {
    std::vector<std::string> problems;
    return read_counters(call.server.daemon().dir(), problems);
}

/// Resident memory of a process in bytes, and what of it is shared, from /proc.
std::pair<uint64_t, uint64_t> resident_bytes(int pid) {
    std::FILE* file = std::fopen(fmt::format("/proc/{}/statm", pid).c_str(), "re");
    if (file == nullptr) return {0, 0};
    unsigned long long size = 0, resident = 0, shared = 0;
    const int read = std::fscanf(file, "%llu %llu %llu", &size, &resident, &shared);
    std::fclose(file);
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    if (read != 3) return {0, 0};
    return {resident * page, shared * page};
}

}  // namespace

ServerFacts::ServerFacts(const LocalCall& asked) : call(asked), processes(read_all_counters(asked)) {}

uint64_t ServerFacts::sum(std::string_view role, std::string_view counter) const {
    uint64_t total = 0;
    for (const ProcessCounters& process : processes)
        if (process.role == role) total += process.value(counter);
    return total;
}

uint64_t ServerFacts::uptime_s() const {
    const auto now = static_cast<uint64_t>(std::time(nullptr));
    uint64_t oldest = now;
    for (const ProcessCounters& process : processes)
        if (const uint64_t start = process.value("start_time"); start != 0) oldest = std::min(oldest, start);
    return now - oldest;
}

uint64_t ServerFacts::keys() const {
    uint64_t total = 0;
    for (unsigned database = 0; database < store::kDatabases; ++database) total += md(fmt::format("db{}_keys", database));
    return total;
}

std::pair<double, double> ServerFacts::cpu_seconds() const {
    const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    double user = 0, system = 0;
    for (const ProcessCounters& process : processes) {
        std::FILE* file = std::fopen(fmt::format("/proc/{}/stat", process.pid).c_str(), "re");
        if (file == nullptr) continue;
        unsigned long long u = 0, s = 0;
        // Fields 14 and 15; the command's name has no spaces in our programs.
        if (std::fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &u, &s) == 2) {
            user += static_cast<double>(u) / ticks;
            system += static_cast<double>(s) / ticks;
        }
        std::fclose(file);
    }
    return {user, system};
}

MemoryFacts::MemoryFacts(const ServerFacts& facts) {
    constexpr uint64_t kCountMask = 0xffffffff;
    store = facts.md("memory_bytes");
    buffers = facts.io("buffer_bytes") + facts.md("assembly_bytes");
    used = store + buffers;
    peak = std::max(used, facts.md("memory_peak_bytes"));
    // A page of which the index has a part counts as a whole.
    const uint64_t index = facts.root_word(offsetof(store::Root, index_pages)) * store::kPageBytes;
    const bool has_marks = facts.root_word(offsetof(store::Root, marks_kept)) != 0;
    const uint64_t marks = has_marks ? index / store::kPageBytes * MarkTable::kBytesPerPage : 0;
    overhead = std::min(used, index + marks + buffers);
    dataset = used - overhead;
    taken = facts.md("store_bytes");
    const uint64_t free = (facts.root_word(offsetof(store::Root, free_pages)) >> 32 & kCountMask) * store::kPageBytes;
    active = std::max(taken - std::min(taken, free), store);
    resident = 0;
    uint64_t shared_most = 0;
    for (const ProcessCounters& process : facts.processes) {
        const auto [all, shared] = resident_bytes(process.pid);
        resident += all - std::min(all, shared);
        shared_most = std::max(shared_most, shared);
    }
    resident += shared_most;
    of_system = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    keys = facts.keys();
}

std::string human_bytes(uint64_t bytes) {
    constexpr const char* kUnits[] = {"B", "K", "M", "G", "T"};
    double value = static_cast<double>(bytes);
    unsigned unit = 0;
    for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
    return unit == 0 ? fmt::format("{}B", bytes) : fmt::format("{:.2f}{}", value, kUnits[unit]);
}

}  // namespace millrace::io_conn
