// Replication as clients see it: ROLE, what INFO says of it, and the answer of MS_REGISTER_SLAVE where md_repl gives none. All of it is from md_repl's
// words (common/repl_words.h) and the store, so it is answered while md or md_repl is busy, stopped or dead. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <limits>

#include "common/clock.h"
#include "common/text.h"
#include "common/versioned_words.h"
#include "io_conn/replica_count.h"
#include "io_conn/server_facts.h"

namespace millrace::io_conn {

namespace {

template <class T>
T read(const std::atomic<T>& word) {
    return word.load(std::memory_order_relaxed);
}

/// Whom this server follows.
MasterAddress master_of(const Server& server) { return master_address(server.option_text(OptionId::replicaof)); }

LinkState link_state(const ReplWords& words) { return static_cast<LinkState>(read(words.link_state)); }

/// Whether all that the master has is being sent, as Redis counts it.
bool is_synchronising(LinkState state) { return state == LinkState::waiting || state == LinkState::receiving || state == LinkState::loading; }

/// A state of the link by the name that ROLE gives it. md_repl has not looked at a master yet that it does not know of.
std::string_view role_state(LinkState state) {
    if (state == LinkState::following) return "connected";
    if (is_synchronising(state)) return "sync";
    return state == LinkState::connecting ? "connecting" : "connect";
}

std::string_view name_of(LinkState state) {
    constexpr std::string_view kNames[] = {"none", "connect", "connecting", "waiting", "receiving", "loading", "following"};
    return kNames[std::min<size_t>(static_cast<size_t>(state), std::size(kNames) - 1)];
}

/// Those who follow this server, in the order in which they came.
std::vector<Replica> replicas_of(const ReplWords& words) {
    std::vector<Replica> replicas;
    for (const ReplicaRow& row : words.replicas) {
        Replica replica;
        if (!read_versioned(row.version, row.words, &replica) || replica.state == ReplicaState::none) continue;
        replica.address[sizeof replica.address - 1] = '\0';
        replicas.push_back(replica);
    }
    std::ranges::sort(replicas, {}, &Replica::id);
    return replicas;
}

std::string_view name_of(ReplicaState state) {
    if (state == ReplicaState::online) return "online";
    return state == ReplicaState::sending ? "send_bulk" : "wait_bgsave";
}

FailoverState failover_state(const ReplWords& words) { return static_cast<FailoverState>(read(words.failover_state)); }

std::string_view name_of(FailoverState state) {
    if (state == FailoverState::none) return "no-failover";
    return state == FailoverState::waiting ? "waiting-for-sync" : "failover-in-progress";
}

uint64_t store_word(const Server& server, uint64_t offset) { return server.link().store().load(store::kRootAt + offset); }
int64_t stream_number(const Server& server) { return static_cast<int64_t>(store_word(server, offsetof(store::Root, stream_number))); }

/// The 40 digits of a history in the store's root; zeros if there is none.
std::string history_at(const Server& server, uint64_t offset) {
    const std::string text = history_text([&](size_t i) { return store_word(server, offset + 8 * i); });
    return text.empty() ? std::string(kHistoryBytes, '0') : text;
}

/// Seconds since a moment of CLOCK_MONOTONIC.
uint64_t seconds_since_ms(uint64_t then_ms) {
    return elapsed(monotonic_us() / 1000, then_ms) / 1000;
}

std::string master_text(const Server& server) {
    const ReplWords& words = server.link().repl_words();
    const LinkState state = link_state(words);
    const bool is_up = state == LinkState::following, synchronises = is_synchronising(state);
    const MasterAddress master = master_of(server);
    const auto heard_s = [&words] { return static_cast<int64_t>(seconds_since_ms(read(words.heard_ms))); };
    std::string text = fmt::format(
        "master_host:{}\r\nmaster_port:{}\r\nmaster_link_status:{}\r\nmaster_last_io_seconds_ago:{}\r\nmaster_sync_in_progress:{:d}\r\nslave_read_repl_offset:{}\r\n"
        "slave_repl_offset:{}\r\n",
        master.host, master.port, is_up ? "up" : "down", is_up ? heard_s() : -1, synchronises, stream_number(server), stream_number(server));
    if (synchronises) {
        const auto all = static_cast<int64_t>(read(words.sync_bytes)), done = static_cast<int64_t>(read(words.sync_bytes_done));  // what comes may be of unknown length: then all is 0
        text += fmt::format("master_sync_total_bytes:{}\r\nmaster_sync_read_bytes:{}\r\nmaster_sync_left_bytes:{}\r\nmaster_sync_perc:{:.2f}\r\nmaster_sync_last_io_seconds_ago:{}\r\n",
                            all, done, all - done, all == 0 ? 0 : 100 * static_cast<double>(done) / static_cast<double>(all), heard_s());
    }
    if (!is_up) {
        const auto now_s = static_cast<uint64_t>(std::time(nullptr)), down_since_s = read(words.link_down_since_s);
        text += fmt::format("master_link_down_since_seconds:{}\r\n", down_since_s == 0 ? -1 : static_cast<int64_t>(now_s - std::min(now_s, down_since_s)));
    }
    return text + fmt::format("slave_priority:{}\r\nslave_read_only:{}\r\nreplica_announced:1\r\n", server.live_number(OptionId::replica_priority),
                              server.live_number(OptionId::replica_read_only));
}

/// What is known of the data's checksum (R5, R6 of repl_words.h). Numbers are stream numbers, 0: never.
std::string checksum_text(const Server& server, const std::vector<Replica>& replicas) {
    const ReplWords& words = server.link().repl_words();
    std::string text = fmt::format("millrace_checksum_kept:{}\r\nmillrace_checked_number:{}\r\nmillrace_verified_number:{}\r\nmillrace_damaged_number:{}\r\n",
                                   store_word(server, offsetof(store::Root, checksums_kept)), read(words.checked), read(words.verify_done), read(words.verify_damaged));
    for (size_t i = 0; i < replicas.size(); ++i)
        text += fmt::format("millrace_replica{}:checked={},verified={},damaged={}\r\n", i, replicas[i].checked, replicas[i].verified, replicas[i].damaged);
    return text;
}

/// What is sure to be kept for those who come back: records of the log behind `keep_from` (R3 of repl_words.h). Offsets are numbers of records.
std::string backlog_text(const Server& server) {
    const ReplWords& words = server.link().repl_words();
    const auto last = static_cast<uint64_t>(stream_number(server));
    const uint64_t kept_from = std::min(read(words.keep_from), last);
    const bool is_on = read(words.needs_log) != 0;
    return fmt::format("repl_backlog_active:{:d}\r\nrepl_backlog_size:{}\r\nrepl_backlog_first_byte_offset:{}\r\nrepl_backlog_histlen:{}\r\n", is_on,
                       is_on ? read(server.link().log_words().log_bytes) : 0, is_on ? kept_from + 1 : 0, is_on ? last - kept_from : 0);
}

/// Half of a strict pair (common/pair_layout.h); Redis has no such fields.
std::string pair_text(const Server& server) {
    const auto word = [&server](size_t field) { return store_word(server, offsetof(store::Root, pair) + field); };
    const auto standing = store::PairStanding::from(word(offsetof(store::PairWords, standing)));
    if (standing.role == store::PairRole::none) return {};
    constexpr std::string_view kRoles[] = {"none", "primary", "secondary", "fenced"}, kStates[] = {"cold_start", "bootstrapping", "warm_start", "in_sync"};
    const auto epoch = store::PairEpoch::from(word(offsetof(store::PairWords, epoch.counts)), word(offsetof(store::PairWords, epoch.run)));
    return fmt::format(
        "pair_role:{}\r\npair_state:{}\r\npair_alone:{:d}\r\npair_epoch:{}.{}.{:016x}\r\npair_number:{}\r\npair_confirmed:{}\r\npair_open_changes:{}\r\npair_open_bytes:{}\r\n"
        "pair_windows_undone:{}\r\npair_changes_undone:{}\r\n",
        kRoles[static_cast<size_t>(standing.role) % std::size(kRoles)], kStates[static_cast<size_t>(standing.state) % std::size(kStates)], standing.alone, epoch.promotions, epoch.raises,
        epoch.run, stream_number(server), word(offsetof(store::PairWords, mark)), word(offsetof(store::PairWords, changes)), word(offsetof(store::PairWords, bytes)),
        word(offsetof(store::PairWords, windows_undone)), word(offsetof(store::PairWords, changes_undone)));
}

bool is_instance(std::string_view word) {
    constexpr size_t kInstanceDigits = 16;
    return word.size() == kInstanceDigits && std::ranges::all_of(word, [](char c) { return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f'); });
}

bool is_history(std::string_view word) {
    return word.size() == kHistoryBytes && word.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// An integer from 0 to `highest`.
bool is_number(std::string_view word, int64_t highest) {
    int64_t number;
    return parse_integer(word, number) && number >= 0 && number <= highest;
}

/// What FAILOVER is asked for.
struct FailoverWords {
    std::string_view host;
    int64_t port = 0, timeout_ms = 0;
    bool force = false, abort = false;

    /// Why it is not understood; empty: it is.
    std::string_view parse(Arguments words) {
        for (size_t i = 1; i < words.size(); ++i) {
            const size_t left = words.size() - i - 1;
            if (equals_ignoring_case(words[i], "abort") && words.size() == 2) {
                abort = true;
            } else if (equals_ignoring_case(words[i], "timeout") && left >= 1 && timeout_ms == 0) {
                if (!parse_integer(words[++i], timeout_ms)) return "ERR value is not an integer or out of range";
                if (timeout_ms <= 0) return "ERR FAILOVER timeout must be greater than 0";
            } else if (equals_ignoring_case(words[i], "to") && left >= 2 && host.empty()) {
                host = words[i + 1];
                if (!parse_integer(words[i + 2], port)) return "ERR value is not an integer or out of range";
                i += 2;
            } else if (equals_ignoring_case(words[i], "force") && !force) {
                force = true;
            } else {
                return "ERR syntax error";
            }
        }
        return {};
    }
};

}  // namespace

std::string replication_text(const ServerFacts& facts) {
    const Server& server = facts.call.server;
    const ReplWords& words = server.link().repl_words();
    const std::vector<Replica> replicas = replicas_of(words);
    std::string text = fmt::format("role:{}\r\n", server.is_following() ? "slave" : "master");
    if (server.is_following()) text += master_text(server);
    text += fmt::format("connected_slaves:{}\r\n", replicas.size());
    if (server.live_number(OptionId::min_replicas) != 0 && server.live_number(OptionId::min_replicas_lag) != 0)
        text += fmt::format("min_slaves_good_slaves:{}\r\n", read(words.good_replicas));
    for (size_t i = 0; i < replicas.size(); ++i) {
        const Replica& replica = replicas[i];
        const bool has_said = replica.state == ReplicaState::online && replica.acknowledged_ms != 0;
        text += fmt::format("slave{}:ip={},port={},state={},offset={},lag={}\r\n", i, replica.address, replica.port, name_of(replica.state), replica.acknowledged,
                            has_said ? seconds_since_ms(replica.acknowledged_ms) : 0);
    }
    const std::string second = history_at(server, offsetof(store::Root, second_history));
    const bool has_second = second.find_first_not_of('0') != std::string::npos;
    text += fmt::format("master_failover_state:{}\r\nmaster_replid:{}\r\nmaster_replid2:{}\r\nmaster_repl_offset:{}\r\nsecond_repl_offset:{}\r\n",
                        name_of(failover_state(words)), history_at(server, offsetof(store::Root, history)), second, stream_number(server),
                        has_second ? static_cast<int64_t>(store_word(server, offsetof(store::Root, second_history_end))) : -1);
    text += backlog_text(server);
    // Redis has no such fields.
    if (server.is_following()) text += fmt::format("link_state:{}\r\nlink_refused:{}\r\n", name_of(link_state(words)), read(words.link_refused));
    return text + pair_text(server) + checksum_text(server, replicas);
}

std::string syncs_text(const ServerFacts& facts) {
    const ReplWords& words = facts.call.server.link().repl_words();
    return fmt::format("sync_full:{}\r\nsync_partial_ok:{}\r\nsync_partial_err:{}\r\n", read(words.full_syncs), read(words.partial_syncs), read(words.partial_refused));
}

/// What Server::wait_for_replicas() has waited for; in a transaction nothing is waited for.
void local_wait(const LocalCall& call) {
    const Server& server = call.server;
    if (!master_of(server).host.empty())
        return call.out.error(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the "
            "default) writes to replicas are just local and are not propagated.");
    const WaitWords wanted(call.words);
    if (!wanted.error.empty()) return call.out.error(wanted.error);
    const uint64_t number = call.connection.wait_number != 0 ? call.connection.wait_number : static_cast<uint64_t>(stream_number(server));
    call.out.integer(replicas_with(server.link().repl_words(), number));
}

void local_role(const LocalCall& call) {
    const ReplWords& words = call.server.link().repl_words();
    if (call.server.is_following()) {
        const LinkState state = link_state(words);
        const MasterAddress master = master_of(call.server);
        int64_t port = 0;
        parse_integer(master.port, port);
        call.out.array(5);
        call.out.bulk("slave"), call.out.bulk(master.host), call.out.integer(port), call.out.bulk(role_state(state));
        return call.out.integer(state == LinkState::following ? stream_number(call.server) : -1);
    }
    std::vector<Replica> replicas = replicas_of(words);
    std::erase_if(replicas, [](const Replica& replica) { return replica.state != ReplicaState::online; });
    call.out.array(3);
    call.out.bulk("master");
    call.out.integer(stream_number(call.server));
    call.out.array(static_cast<uint32_t>(replicas.size()));
    for (const Replica& replica : replicas) {
        call.out.array(3);
        call.out.bulk(replica.address), call.out.bulk(std::to_string(replica.port)), call.out.bulk(std::to_string(replica.acknowledged));
    }
}

/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]: md_repl does it (md/repl/failover.h), once this has answered.
void local_failover(const LocalCall& call) {
    const Server& server = call.server;
    const ReplWords& words = server.link().repl_words();
    FailoverWords wanted;
    if (const std::string_view error = wanted.parse(call.words); !error.empty()) return call.out.error(error);
    if (server.live_number(OptionId::replication_mode) == kStrictMode)
        return call.out.error("ERR FAILOVER is not for a strict pair: stop the primary's clients, then REPLICAOF NO ONE at the secondary and REPLICAOF at the old primary");
    const FailoverState state = failover_state(words);
    if (wanted.abort) {
        if (state == FailoverState::none) return call.out.error("ERR No failover in progress.");
        if (!call.server.tell_md_repl("failover abort\n")) return call.out.error("ERR md_repl is not there; try again");
        return call.out.ok();
    }
    if (state != FailoverState::none) return call.out.error("ERR FAILOVER already in progress.");
    if (server.is_following()) return call.out.error("ERR FAILOVER is not valid when server is a replica.");
    const std::vector<Replica> replicas = replicas_of(words);
    if (replicas.empty()) return call.out.error("ERR FAILOVER requires connected replicas.");
    if (wanted.force && (wanted.host.empty() || wanted.timeout_ms == 0))
        return call.out.error("ERR FAILOVER with force option requires both a timeout and target HOST and IP.");
    if (!wanted.host.empty()) {
        const auto target = std::ranges::find_if(replicas, [&](const Replica& replica) { return wanted.host == replica.address && wanted.port == replica.port; });
        if (target == replicas.end()) return call.out.error("ERR FAILOVER target HOST and PORT is not a replica.");
        if (target->state != ReplicaState::online) return call.out.error("ERR FAILOVER target replica is not online.");
    }
    const std::string line = fmt::format("failover {} {} {:d} {}\n", wanted.host.empty() ? "-" : wanted.host, wanted.port, wanted.force, wanted.timeout_ms);
    const std::string_view refusal = call.server.begin_failover(line);
    if (!refusal.empty()) return call.out.error(refusal);
    call.out.ok();
}

/// MS_REGISTER_SLAVE protocol port instance priority [stream-number history]: the connection goes to md_repl, or stays here with an error (Server::register_replica).
void local_ms_register_slave(const LocalCall& call) {
    constexpr int64_t kPortMax = 65535, kNumberMax = 0x7fffffff;
    const Arguments words = call.words;
    if (!is_number(words[1], kNumberMax) || !is_number(words[2], kPortMax) || !is_number(words[4], kNumberMax))
        return call.out.error("ERR value is not an integer or out of range");
    if (!is_instance(words[3])) return call.out.error("ERR an instance is 16 hexadecimal digits");
    Connection& connection = call.connection;
    const auto info = call.server.info_of(connection);
    if (!info || info->address.family == 0) return call.out.error("ERR a server that wants to follow this one has to come over TCP");
    if (call.server.is_in_between(connection)) return call.out.error("ERR nothing else may be under way on a connection with MS_REGISTER_SLAVE");
    const bool offers = words.size() == 7;
    if (words.size() > 5 && !(offers && is_number(words[5], std::numeric_limits<int64_t>::max()) && is_history(words[6]))) return call.out.error("ERR syntax error");
    const std::string line = fmt::format("replica {} {} {} {} {}{}\n", info->address.host_text(), words[1], words[2], words[3], words[4], offers ? fmt::format(" {} {}", words[5], words[6]) : "");
    if (!call.server.hand_to_md_repl(connection, line)) call.out.error("ERR md_repl is not there; try again");
}

}  // namespace millrace::io_conn
