// Replication as far as io_conn has to do with it: md_repl's door, and what is refused because of the master. Part of Server (server.h); see
// common/repl_words.h.
//
// md_repl has no way into the group of its own. Servers that want to follow this one come as clients, and their connections are given to it
// (MS_REGISTER_SLAVE); when it wants to hand md something, an io_conn makes a connection to it and takes that for a client's, a `linked` one.
#include <fmt/format.h>
#include <unistd.h>

#include "common/log.h"
#include "common/clock.h"
#include "io_conn/replica_count.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

/// What the master's state says about the commands of this turn.
void Server::look_at_master() {
    if (const bool following = is_following(); following != following_) {
        following_ = following;
        const timeval interval{0, kDoorMs * 1000};
        if (following) event_add(door_event_, &interval);
        else event_del(door_event_);
    }
    const auto pair = store::PairStanding::from(link_.store().load(store::kPairAt + offsetof(store::PairWords, standing)));
    const bool begins = pair.role == store::PairRole::none && live_.number(OptionId::replication_mode) == kStrictMode;  // md has not said yet what it is
    incomplete_ = begins || (pair.role != store::PairRole::none && !store::is_complete(pair.state));  // R12
    stale_ = incomplete_ || (following_ && live_.number(OptionId::replica_serve_stale_data) == 0 &&
             link_.repl_words().link_state.load(std::memory_order_relaxed) != static_cast<uint32_t>(LinkState::following));
}

/// Makes the connection that md_repl wants, if no other io_conn does. When that fails it asks again.
void Server::look_at_door() {
    const uint32_t wanted = link_.repl_words().door_wanted.load(std::memory_order_relaxed);
    if (wanted == door_seen_) [[likely]] return;
    if (!acceptor_->open()) return;  // on the way out
    door_seen_ = wanted;
    const uint32_t taken = link_.repl_words().door_taken.load(std::memory_order_acquire);
    if (taken == wanted || !link_.claim_door(taken, wanted)) return;
    const int fd = doors_.reach(Door::md_repl);
    if (fd < 0) return;
    if (send_message(fd, "link\n", {})) return open_connection(fd, true);
    close(fd);
}

/// An io_conn that retires serves as long as a client is there. md_repl is none, and goes on through another io_conn.
void Server::close_linked() {
    for (size_t slot = 0; linked_ != 0 && slot < connections_.slots(); ++slot) {
        Connection& connection = connections_.at(slot);
        if (!connection.open() || !connection.linked) continue;
        if (connection.sent == connection.arrived || connection.outgoing != nullptr) close_connection(connection);
        else close_when_executed(connection);
    }
}

/// Why a command is not executed by a server that follows another one, or by one that too few follow; empty: it is. md refuses writes itself, but in a
/// transaction that has to be said when they are queued, and on stale data before anything else is.
std::string_view Server::refusal_of_replication(const Connection& connection, const CommandRow& row) const {
    if (connection.linked || (incomplete_ && row.id == CommandId::ms_register_slave)) return {};
    const Transaction* const transaction = connection.transaction.get();
    if (row.is(command_flag::write) && (transaction != nullptr || stale_)) {
        const auto wanted = static_cast<uint64_t>(live_.number(OptionId::min_replicas));
        if (!following_ && link_.repl_words().good_replicas.load(std::memory_order_relaxed) < wanted) return "NOREPLICAS Not enough good replicas to write.";
        if (following_ && live_.number(OptionId::replica_read_only) != 0) return "READONLY You can't write against a read only replica.";
    }
    if (stale_ && (!row.is(command_flag::stale) || (row.id == CommandId::exec && transaction->needs_fresh)))
        return incomplete_ ? "NOREPLICAS This server of a strict pair has no complete data yet; the other one has, or has to be told." : "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    return {};
}

bool Server::hand_to_md_repl(Connection& connection, const std::string& line) {
    const int fd = doors_.reach(Door::md_repl);
    if (fd < 0) return false;
    connection.handed_over = send_message(fd, line, std::span(&connection.fd, 1));
    close(fd);
    return connection.handed_over;
}

bool Server::tell_md_repl(const std::string& line) {
    const int fd = doors_.reach(Door::md_repl);
    if (fd < 0) return false;
    const bool sent = send_message(fd, line, {});
    close(fd);
    return sent;
}

std::string_view Server::begin_failover(const std::string& line) {
    if (!link_.claim_failover()) return "ERR FAILOVER already in progress.";
    if (tell_md_repl(line)) return {};
    link_.give_failover_up();
    return "ERR md_repl is not there; try again";
}

/// The connection of a server that wants to follow this one is md_repl's from here on, which answers. Closing our own descriptor of it ends nothing.
Server::Executed Server::register_replica(Connection& connection, const CommandRow& row, Arguments words) {
    counters_.add(IoCounter::commands);
    {
        LocalReply reply(*this, connection);
        execute_here(connection, row, words, reply.out());
    }
    if (!connection.handed_over) return Executed::yes;
    log::notice("client {} is a server that wants to follow this one; md_repl has it now", connection.client_id);
    close_connection(connection);
    return Executed::closing;
}

/// Answers once enough replicas have what had been written when it began, by whomever, or when its time is over. Nothing else of the connection is
/// executed meanwhile.
Server::Executed Server::wait_for_replicas(Connection& connection, const CommandRow& row, Arguments words) {
    const WaitWords wanted(words);
    if (wanted.error.empty() && !following_) {
        if (connection.wait_number == 0) {
            counters_.add(IoCounter::commands);
            connection.wait_number = std::max<uint64_t>(1, link_.store().load(store::kRootAt + offsetof(store::Root, stream_number)));
            connection.wait_until_us = wanted.timeout_ms == 0 ? 0 : now_us_ + static_cast<uint64_t>(wanted.timeout_ms) * 1000;
        }
        const bool over = connection.wait_until_us != 0 && now_us_ >= connection.wait_until_us;
        if (!over && replicas_with(link_.repl_words(), connection.wait_number) < wanted.replicas) return wait_patiently(connection);
    }
    {
        LocalReply reply(*this, connection);
        execute_here(connection, row, words, reply.out());
    }
    connection.wait_number = 0;
    return Executed::yes;
}

}  // namespace millrace::io_conn
