// INFO: Redis's sections and field names, as far as they are true here, and a section of our own. Everything is read from
// shared memory and /proc, so INFO is answered while md is busy, stopped or dead. Runs in io_conn; see local.h.
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>

#include "common/text.h"
#include "common/version.h"
#include "io_conn/diagnostics_text.h"
#include "io_conn/server_facts.h"

namespace millrace::io_conn {

namespace {

/// How often md does its housekeeping: 100 ms apart.
constexpr unsigned kHousekeepingHz = 10;
constexpr uint64_t kLruClockMask = 0xffffff;

/// 40 hex digits, as Redis has them: the instance's id.
std::string run_id(const ServerFacts& facts) { return fmt::format("{:016x}{:024x}", facts.call.server.daemon().arguments().instance, 0); }

/// Read when the process begins, which may open no file when it is asked.
const std::string kOwnProgram = [] {
    char path[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    return length > 0 ? std::string(path, static_cast<size_t>(length)) : std::string();
}();

std::string server_section(const ServerFacts& facts) {
    utsname system{};
    uname(&system);
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const auto now_us = static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
    const uint64_t uptime = facts.uptime_s();
    return fmt::format(
        "redis_version:{}\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_mode:standalone\r\nos:{} {} {}\r\narch_bits:{}\r\n"
        "monotonic_clock:POSIX clock_gettime\r\nmultiplexing_api:epoll\r\ngcc_version:{}.{}.{}\r\nmillrace_version:{}\r\nprocess_id:{}\r\n"
        "process_supervised:no\r\nrun_id:{}\r\ntcp_port:{}\r\nserver_time_usec:{}\r\nuptime_in_seconds:{}\r\nuptime_in_days:{}\r\nhz:{}\r\n"
        "configured_hz:{}\r\nlru_clock:{}\r\nexecutable:{}\r\nconfig_file:{}\r\nio_threads_active:0\r\n",
        kRedisVersion, system.sysname, system.release, system.machine, sizeof(void*) * CHAR_BIT, __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__, kVersion, getpid(),
        run_id(facts), facts.options().number(OptionId::port), now_us, uptime, uptime / 86400, kHousekeepingHz, kHousekeepingHz,
        static_cast<uint64_t>(now.tv_sec) & kLruClockMask, kOwnProgram, facts.call.server.daemon().arguments().config);
}

std::string clients_section(const ServerFacts& facts) {
    return fmt::format(
        "connected_clients:{}\r\ncluster_connections:0\r\nmaxclients:{}\r\nblocked_clients:0\r\ntracking_clients:0\r\nclients_in_timeout_table:0\r\n",
        facts.call.server.connections_of_group(), facts.call.server.live_number(OptionId::maxclients));
}

double ratio(uint64_t part, uint64_t whole) { return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole); }
int64_t difference(uint64_t more, uint64_t less) { return static_cast<int64_t>(more) - static_cast<int64_t>(less); }

std::string memory_section(const ServerFacts& facts) {
    const MemoryFacts memory(facts);
    const auto limit = static_cast<uint64_t>(facts.call.server.live_number(OptionId::maxmemory));
    std::string text = fmt::format(
        "used_memory:{}\r\nused_memory_human:{}\r\nused_memory_rss:{}\r\nused_memory_rss_human:{}\r\nused_memory_peak:{}\r\nused_memory_peak_human:{}\r\n"
        "used_memory_peak_perc:{:.2f}%\r\nused_memory_overhead:{}\r\nused_memory_startup:0\r\nused_memory_dataset:{}\r\nused_memory_dataset_perc:{:.2f}%\r\n"
        "allocator_allocated:{}\r\nallocator_active:{}\r\nallocator_resident:{}\r\ntotal_system_memory:{}\r\ntotal_system_memory_human:{}\r\n",
        memory.used, human_bytes(memory.used), memory.resident, human_bytes(memory.resident), memory.peak, human_bytes(memory.peak), 100 * ratio(memory.used, memory.peak),
        memory.overhead, memory.dataset, 100 * ratio(memory.dataset, memory.used), memory.store, memory.active, memory.taken, memory.of_system,
        human_bytes(memory.of_system));
    // There are no scripts.
    text += "used_memory_lua:0\r\nused_memory_vm_eval:0\r\nused_memory_lua_human:0B\r\nused_memory_scripts_eval:0\r\nnumber_of_cached_scripts:0\r\n"
            "number_of_functions:0\r\nnumber_of_libraries:0\r\nused_memory_vm_functions:0\r\nused_memory_vm_total:0\r\nused_memory_vm_total_human:0B\r\n"
            "used_memory_functions:0\r\nused_memory_scripts:0\r\nused_memory_scripts_human:0B\r\n";
    return text + fmt::format(
        "maxmemory:{}\r\nmaxmemory_human:{}\r\nmaxmemory_policy:{}\r\nallocator_frag_ratio:{:.2f}\r\nallocator_frag_bytes:{}\r\nallocator_rss_ratio:{:.2f}\r\n"
        "allocator_rss_bytes:{}\r\nrss_overhead_ratio:{:.2f}\r\nrss_overhead_bytes:{}\r\nmem_fragmentation_ratio:{:.2f}\r\nmem_fragmentation_bytes:{}\r\n"
        "mem_not_counted_for_evict:{}\r\nmem_replication_backlog:0\r\nmem_total_replication_buffers:0\r\nmem_clients_slaves:0\r\nmem_clients_normal:{}\r\n"
        "mem_cluster_links:0\r\nmem_aof_buffer:0\r\nmem_allocator:millrace\r\nactive_defrag_running:0\r\n",
        limit, human_bytes(limit), facts.call.server.option_text(OptionId::maxmemory_policy), ratio(memory.active, memory.store), difference(memory.active, memory.store),
        ratio(memory.taken, memory.active), difference(memory.taken, memory.active), ratio(memory.resident, memory.taken), difference(memory.resident, memory.taken),
        ratio(memory.resident, memory.used), difference(memory.resident, memory.used), memory.buffers, memory.buffers);
}

std::string stats_section(const ServerFacts& facts) {
    constexpr double kBytesPerKilobyte = 1024;
    return fmt::format(
        "total_connections_received:{}\r\ntotal_commands_processed:{}\r\ninstantaneous_ops_per_sec:{}\r\ntotal_net_input_bytes:{}\r\n"
        "total_net_output_bytes:{}\r\ntotal_net_repl_input_bytes:0\r\ntotal_net_repl_output_bytes:0\r\ninstantaneous_input_kbps:{:.2f}\r\n"
        "instantaneous_output_kbps:{:.2f}\r\ninstantaneous_input_repl_kbps:0.00\r\ninstantaneous_output_repl_kbps:0.00\r\nrejected_connections:{}\r\n{}"
        "expired_keys:{}\r\nevicted_keys:{}\r\nevicted_clients:0\r\nkeyspace_hits:{}\r\n"
        "keyspace_misses:{}\r\npubsub_channels:0\r\npubsub_patterns:0\r\npubsubshard_channels:0\r\nlatest_fork_usec:0\r\ntotal_forks:0\r\n"
        "migrate_cached_sockets:0\r\nslave_expires_tracked_keys:0\r\nactive_defrag_hits:0\r\nactive_defrag_misses:0\r\nactive_defrag_key_hits:0\r\n"
        "active_defrag_key_misses:0\r\ntotal_active_defrag_time:0\r\ncurrent_active_defrag_time:0\r\ntracking_total_keys:0\r\ntracking_total_items:0\r\n"
        "tracking_total_prefixes:0\r\nunexpected_error_replies:0\r\ntotal_error_replies:{}\r\ntotal_reads_processed:{}\r\ntotal_writes_processed:{}\r\n"
        "io_threaded_reads_processed:0\r\nio_threaded_writes_processed:0\r\n",
        facts.io("connections_accepted"), facts.io("commands"), facts.io("commands_per_second"), facts.io("input_bytes"), facts.io("output_bytes"),
        static_cast<double>(facts.io("input_bytes_per_second")) / kBytesPerKilobyte, static_cast<double>(facts.io("output_bytes_per_second")) / kBytesPerKilobyte,
        facts.io("connections_rejected"), syncs_text(facts), facts.md("expired_keys"), facts.md("evicted_keys"), facts.both("keyspace_hits"), facts.both("keyspace_misses"),
        facts.io("error_replies"), facts.io("reads"), facts.io("writes"));
}

std::string commandstats_section(const ServerFacts& facts) { return commandstats_text(facts.call.server); }
std::string errorstats_section(const ServerFacts& facts) { return errorstats_text(facts.call.server); }
std::string latencystats_section(const ServerFacts& facts) { return latencystats_text(facts.call.server); }

std::string cpu_section(const ServerFacts& facts) {
    const auto [user, system] = facts.cpu_seconds();
    return fmt::format("used_cpu_sys:{:.6f}\r\nused_cpu_user:{:.6f}\r\nused_cpu_sys_children:0.000000\r\nused_cpu_user_children:0.000000\r\n", system, user);
}

std::string modules_section(const ServerFacts&) { return {}; }

std::string cluster_section(const ServerFacts&) { return "cluster_enabled:0\r\n"; }

std::string keyspace_section(const ServerFacts& facts) {
    std::string text;
    for (unsigned database = 0; database < store::kDatabases; ++database)
        if (const uint64_t keys = facts.md(fmt::format("db{}_keys", database)); keys != 0)
            text += fmt::format("db{}:keys={},expires={},avg_ttl=0\r\n", database, keys, facts.md(fmt::format("db{}_expires", database)));
    return text;
}

/// What an operator wants to know of the group: who is there, whether somebody stands by, and what waits for whom.
std::string millrace_section(const ServerFacts& facts) {
    std::string text = fmt::format("instance:{:016x}\r\n", facts.call.server.daemon().arguments().instance);
    unsigned io_conns = 0;
    for (const ProcessCounters& process : facts.processes) {
        io_conns += process.role == "io_conn";
        text += fmt::format("{}_{}:pid={},state={},restarts={}\r\n", process.role, process.index, process.pid, name_of(process.state), process.value("restarts"));
    }
    const auto standby = static_cast<int>(facts.call.server.link().standby_pid());
    text += lives(standby) ? fmt::format("md_standby:pid={}\r\n", standby) : "md_standby:none\r\n";
    return text + fmt::format(
        "md_epoch:{}\r\ncommits:{}\r\noplog_bytes:{}\r\nstore_bytes:{}\r\nmd_longest_turn_cpu_usec:{}\r\nrings:count={},bytes={},requests_waited={},"
        "replies_waited={}\r\nchannels_refused:{}\r\nblocked_connections:{}\r\noutput_limit_hits:{}\r\ndirect_reads:{}\r\ndirect_fallbacks:{}\r\n"
        "large_replies:{}\r\nlarge_requests:memory={},refused={}\r\n",
        facts.md("epoch"), facts.root_word(offsetof(store::Root, number)), facts.root_word(offsetof(store::Root, oplog_tail)), facts.md("store_bytes"),
        facts.md("longest_turn_cpu_us"), 2 * io_conns, facts.options().number(OptionId::ring_size), facts.io("request_ring_full"), facts.md("reply_ring_full"),
        facts.md("channels_refused"), facts.io("blocked_connections"), facts.io("output_limit_hits"), facts.io("direct_reads"), facts.io("direct_fallbacks"),
        facts.md("large_replies"), facts.md("assembly_bytes"), facts.md("assembly_refused")) + log_text(facts);
}

struct Section {
    std::string_view name, title;
    std::string (*text)(const ServerFacts&);
    bool by_default = true;
};
constexpr Section kSections[] = {
    {"server", "Server", server_section},          {"clients", "Clients", clients_section},
    {"memory", "Memory", memory_section},          {"persistence", "Persistence", persistence_text},
    {"stats", "Stats", stats_section},             {"replication", "Replication", replication_text},
    {"cpu", "CPU", cpu_section},                   {"modules", "Modules", modules_section},
    {"commandstats", "Commandstats", commandstats_section, false}, {"errorstats", "Errorstats", errorstats_section},
    {"latencystats", "Latencystats", latencystats_section, false},
    {"cluster", "Cluster", cluster_section},       {"keyspace", "Keyspace", keyspace_section},
    {"millrace", "Millrace", millrace_section},
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
    const ServerFacts facts(call);
    std::string text;
    for (const Section& section : kSections) {
        if (!wanted(section, sections)) continue;
        if (!text.empty()) text += "\r\n";
        text += fmt::format("# {}\r\n{}", section.title, section.text(facts));
    }
    return text;
}

}  // namespace millrace::io_conn
