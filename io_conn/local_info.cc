// INFO: Redis's sections and field names, as far as they are true here, and a section of our own. Everything is read from
// shared memory and /proc, so INFO is answered while md is busy, stopped or dead. Runs in io_conn; see local.h.
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>

#include "common/counter_reader.h"
#include "common/text.h"
#include "common/version.h"
#include "io_conn/diagnostics_text.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

namespace {

/// What the sections are made from.
struct Facts {
    const LocalCall& call;
    std::vector<ProcessCounters> processes;

    uint64_t sum(std::string_view role, std::string_view counter) const {
        uint64_t total = 0;
        for (const ProcessCounters& process : processes)
            if (process.role == role) total += process.value(counter);
        return total;
    }
    uint64_t io(std::string_view counter) const { return sum("io_conn", counter); }
    uint64_t both(std::string_view counter) const { return io(counter) + md(counter); }
    uint64_t md(std::string_view counter) const { return sum("md", counter); }
    const Options& options() const { return call.server.daemon().options(); }
    uint64_t uptime_s() const {
        uint64_t oldest = static_cast<uint64_t>(std::time(nullptr));
        const uint64_t now = oldest;
        for (const ProcessCounters& process : processes)
            if (const uint64_t start = process.value("start_time"); start != 0) oldest = std::min(oldest, start);
        return now - oldest;
    }
};

/// Resident memory of a process in bytes, from /proc.
uint64_t resident_bytes(int pid) {
    std::FILE* file = std::fopen(fmt::format("/proc/{}/statm", pid).c_str(), "re");
    if (file == nullptr) return 0;
    unsigned long long size = 0, resident = 0;
    const int read = std::fscanf(file, "%llu %llu", &size, &resident);
    std::fclose(file);
    return read == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

std::string human_bytes(uint64_t bytes) {
    constexpr const char* kUnits[] = {"B", "K", "M", "G", "T"};
    double value = static_cast<double>(bytes);
    unsigned unit = 0;
    for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
    return unit == 0 ? fmt::format("{}B", bytes) : fmt::format("{:.2f}{}", value, kUnits[unit]);
}

/// User and system time of all processes of the group, in seconds.
std::pair<double, double> cpu_seconds(const Facts& facts) {
    const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    double user = 0, system = 0;
    for (const ProcessCounters& process : facts.processes) {
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

std::string server_section(const Facts& facts) {
    utsname system{};
    uname(&system);
    const uint64_t uptime = facts.uptime_s();
    const DaemonArguments& arguments = facts.call.server.daemon().arguments();
    return fmt::format(
        "redis_version:{}\r\nredis_mode:standalone\r\nos:{} {} {}\r\narch_bits:{}\r\nmillrace_version:{}\r\n"
        "process_id:{}\r\nrun_id:{:016x}\r\ntcp_port:{}\r\nserver_time_usec:{}\r\nuptime_in_seconds:{}\r\n"
        "uptime_in_days:{}\r\nexecutable:io_conn\r\nconfig_file:{}\r\n",
        kRedisVersion, system.sysname, system.release, system.machine, sizeof(void*) * 8, kVersion, getpid(),
        arguments.instance, facts.options().number(OptionId::port), static_cast<uint64_t>(std::time(nullptr)) * 1'000'000,
        uptime, uptime / 86400, arguments.config);
}

std::string clients_section(const Facts& facts) {
    return fmt::format("connected_clients:{}\r\nmaxclients:{}\r\nblocked_clients:0\r\n",
                       facts.call.server.connections_of_group(), facts.call.server.live_number(OptionId::maxclients));
}

std::string memory_section(const Facts& facts) {
    uint64_t resident = 0;
    for (const ProcessCounters& process : facts.processes) resident += resident_bytes(process.pid);
    const auto limit = static_cast<uint64_t>(facts.call.server.live_number(OptionId::maxmemory));
    const uint64_t used = facts.md("memory_bytes") + facts.io("buffer_bytes") + facts.md("assembly_bytes");
    return fmt::format(
        "used_memory:{}\r\nused_memory_human:{}\r\nused_memory_rss:{}\r\nused_memory_rss_human:{}\r\n"
        "used_memory_dataset:{}\r\nmaxmemory:{}\r\nmaxmemory_human:{}\r\nmaxmemory_policy:{}\r\n",
        used, human_bytes(used), resident, human_bytes(resident), facts.md("memory_bytes"), limit, human_bytes(limit),
        facts.call.server.option_text(OptionId::maxmemory_policy));
}

std::string persistence_section(const Facts&) {
    return "loading:0\r\nrdb_bgsave_in_progress:0\r\naof_enabled:0\r\naof_rewrite_in_progress:0\r\n";
}

std::string stats_section(const Facts& facts) {
    return fmt::format(
        "total_connections_received:{}\r\ntotal_commands_processed:{}\r\ntotal_net_input_bytes:{}\r\n"
        "total_net_output_bytes:{}\r\nrejected_connections:{}\r\nexpired_keys:{}\r\nevicted_keys:{}\r\n"
        "keyspace_hits:{}\r\nkeyspace_misses:{}\r\ntotal_error_replies:{}\r\ntotal_reads_processed:{}\r\n"
        "total_writes_processed:{}\r\n",
        facts.io("connections_accepted"), facts.io("commands"), facts.io("input_bytes"), facts.io("output_bytes"),
        facts.io("connections_rejected"), facts.md("expired_keys"), facts.md("evicted_keys"), facts.both("keyspace_hits"), facts.both("keyspace_misses"),
        facts.io("error_replies"), facts.io("reads"), facts.io("writes"));
}

std::string replication_section(const Facts&) { return "role:master\r\nconnected_slaves:0\r\n"; }

std::string cpu_section(const Facts& facts) {
    const auto [user, system] = cpu_seconds(facts);
    return fmt::format("used_cpu_sys:{:.6f}\r\nused_cpu_user:{:.6f}\r\n", system, user);
}

std::string commandstats_section(const Facts& facts) { return commandstats_text(facts.call.server); }
std::string errorstats_section(const Facts& facts) { return errorstats_text(facts.call.server); }
std::string latencystats_section(const Facts& facts) { return latencystats_text(facts.call.server); }

std::string cluster_section(const Facts&) { return "cluster_enabled:0\r\n"; }

std::string keyspace_section(const Facts& facts) {
    std::string text;
    for (unsigned database = 0; database < 16; ++database)
        if (const uint64_t keys = facts.md(fmt::format("db{}_keys", database)); keys != 0)
            text += fmt::format("db{}:keys={},expires={},avg_ttl=0\r\n", database, keys,
                                facts.md(fmt::format("db{}_expires", database)));
    return text;
}

std::string millrace_section(const Facts& facts) {
    std::string text = fmt::format("instance:{:016x}\r\n", facts.call.server.daemon().arguments().instance);
    for (const ProcessCounters& process : facts.processes)
        text += fmt::format("{}_{}:pid={},state={},restarts={}\r\n", process.role, process.index, process.pid,
                            name_of(process.state), process.value("restarts"));
    return text + fmt::format("md_epoch:{}\r\n", facts.md("epoch"));
}

struct Section {
    std::string_view name, title;
    std::string (*text)(const Facts&);
    bool by_default = true;
};
constexpr Section kSections[] = {
    {"server", "Server", server_section},          {"clients", "Clients", clients_section},
    {"memory", "Memory", memory_section},          {"persistence", "Persistence", persistence_section},
    {"stats", "Stats", stats_section},             {"replication", "Replication", replication_section},
    {"cpu", "CPU", cpu_section},                   {"commandstats", "Commandstats", commandstats_section, false},
    {"errorstats", "Errorstats", errorstats_section}, {"latencystats", "Latencystats", latencystats_section, false},
    {"cluster", "Cluster", cluster_section},
    {"keyspace", "Keyspace", keyspace_section},    {"millrace", "Millrace", millrace_section},
};

bool wanted(const Section& section, Arguments names) {
    if (names.empty()) return section.by_default;
    return std::any_of(names.begin(), names.end(), [&section](std::string_view name) {
        return equals_ignoring_case(name, section.name) || equals_ignoring_case(name, "all") ||
               (section.by_default && equals_ignoring_case(name, "default")) || equals_ignoring_case(name, "everything");
    });
}

}  // namespace

std::string info_text(const LocalCall& call, Arguments sections) {
    std::vector<std::string> problems;
    const Facts facts{call, read_counters(call.server.daemon().dir(), problems)};
    std::string text;
    for (const Section& section : kSections) {
        if (!wanted(section, sections)) continue;
        if (!text.empty()) text += "\r\n";
        text += fmt::format("# {}\r\n{}", section.title, section.text(facts));
    }
    return text;
}

}  // namespace millrace::io_conn
