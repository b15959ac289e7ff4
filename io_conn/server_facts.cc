// See server_facts.h. Runs in io_conn.
#include "io_conn/server_facts.h"

#include <fmt/format.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <optional>

namespace millrace::io_conn {

namespace {

/// User and system time of a living process, nanoseconds. Its CPU clocks (clock_getcpuclockid(3)) tell it without a file to be opened.
std::optional<std::pair<uint64_t, uint64_t>> cpu_time_of(int pid) {
    constexpr unsigned kUserAndSystem = 0, kUser = 1;
    const auto read = [pid](unsigned which) -> std::optional<uint64_t> {
        timespec time;
        if (pid <= 0 || clock_gettime(static_cast<clockid_t>(~static_cast<unsigned>(pid) << 3 | which), &time) != 0) return std::nullopt;
        return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
    };
    const auto user = read(kUser), all = read(kUserAndSystem);
    if (!user || !all) return std::nullopt;
    return std::pair(*user, *all - std::min(*user, *all));
}

ProcessState state_by_clock(int pid, uint64_t) { return lives(pid) ? ProcessState::up : ProcessState::dead; }

std::vector<ProcessCounters> read_all_counters(const LocalCall& call) {
    call.server.publish_memory();
    std::vector<std::string> problems;
    return read_counters(call.server.daemon().dir(), problems, state_by_clock);
}

}  // namespace

bool lives(int pid) { return cpu_time_of(pid).has_value(); }

ServerFacts::ServerFacts(const LocalCall& asked) : call(asked), processes(read_all_counters(asked)) {}

uint64_t ServerFacts::sum(std::string_view role, std::string_view counter) const {
    uint64_t total = 0;
    for (const ProcessCounters& process : processes)
        if (process.role == role) total += process.value(counter);
    return total;
}

uint64_t ServerFacts::uptime_s() const { return static_cast<uint64_t>(std::time(nullptr)) - started_s(); }

uint64_t ServerFacts::started_s() const {
    auto oldest = static_cast<uint64_t>(std::time(nullptr));
    for (const ProcessCounters& process : processes)
        if (const uint64_t start = process.value("start_time"); start != 0) oldest = std::min(oldest, start);
    return oldest;
}

uint64_t ServerFacts::keys() const {
    uint64_t total = 0;
    for (unsigned database = 0; database < store::kDatabases; ++database) total += md(fmt::format("db{}_keys", database));
    return total;
}

std::pair<double, double> ServerFacts::cpu_seconds() const {
    uint64_t user = 0, system = 0;
    for (const ProcessCounters& process : processes) {
        const auto time = cpu_time_of(process.pid);
        if (!time) continue;
        user += time->first;
        system += time->second;
    }
    return {static_cast<double>(user) / 1e9, static_cast<double>(system) / 1e9};
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
        if (process.state == ProcessState::dead) continue;
        const uint64_t all = process.value("resident_bytes"), shared = process.value("resident_shared_bytes");
        resident += all - std::min(all, shared);
        shared_most = std::max(shared_most, shared);
    }
    resident += shared_most;
    struct sysinfo system {};
    sysinfo(&system);
    of_system = static_cast<uint64_t>(system.totalram) * system.mem_unit;
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
