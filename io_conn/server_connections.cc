// The life of a connection: admission, socket options, description for others, closing. Part of Server (server.h).
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <utility>

#include "common/log.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

namespace {

/// The longest time that the kernel takes for TCP_KEEPIDLE, seconds.
constexpr int64_t kKeepAliveMaxS = 32767;

ClientAddress client_address(const sockaddr_storage& address) {
    ClientAddress result;
    if (address.ss_family == AF_INET) {
        const auto& in = reinterpret_cast<const sockaddr_in&>(address);
        result.family = 4;
        result.port = ntohs(in.sin_port);
        std::memcpy(result.host, &in.sin_addr, sizeof in.sin_addr);
    } else if (address.ss_family == AF_INET6) {
        const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
        result.family = 6;
        result.port = ntohs(in.sin6_port);
        std::memcpy(result.host, &in.sin6_addr, sizeof in.sin6_addr);
    }
    return result;
}

void fill_addresses(int fd, ClientInfo& info) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length);
    info.unix_socket = address.ss_family == AF_UNIX;
    info.address = client_address(address);
    length = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    info.local_address = client_address(address);
}

void set_option(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

}  // namespace

std::string Server::option_text(OptionId id) const {
    if (live_text_index(id)) return live_.text(id);
    return live_index(id) ? millrace::option_text(option_row(id), live_number(id)) : daemon_.options().text(id);
}

uint64_t Server::connections_of_group() const {
    uint64_t sum = 0;
    const Roster& roster = const_cast<Server*>(this)->link_.roster();
    for (const RosterLine& line : roster.lines)
        if (line.state.load(std::memory_order_relaxed) != static_cast<uint32_t>(IoConnState::absent))
            sum += line.connections.load(std::memory_order_relaxed);
    return sum;
}

namespace {

/// Whether the peer is on this host: through a Unix socket, or by an address of the loopback interface.
bool is_local(int fd) {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    // One that has gone already is a stranger: what it has sent may still be there to be read.
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length) != 0) return false;
    if (peer.ss_family == AF_INET) return ntohl(reinterpret_cast<const sockaddr_in&>(peer).sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    if (peer.ss_family != AF_INET6) return true;
    const in6_addr& address = reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&address) || (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == IN_LOOPBACKNET);
}

}  // namespace

void Server::look_at_options() {
    const int64_t clients_before = live_.number(OptionId::maxclients);
    if (!live_.look([this](uint64_t at) { return link_.store().load(at); })) return;
    wait_for_disk_as_configured();
    log::set_level(option_text(OptionId::loglevel));
    meter_.set_limits(live_.number(OptionId::slowlog_log_slower_than), live_.number(OptionId::latency_monitor_threshold),
                      live_.number(OptionId::latency_tracking) == 0);
    decoder_.set_bulk_bytes_max(static_cast<uint64_t>(live_.number(OptionId::proto_max_bulk_len)));
    if (live_.number(OptionId::maxclients) > clients_before) raise_descriptor_limit();
}

/// D3 of common/log_words.h.
void Server::wait_for_disk_as_configured() {
    const bool disk = live_.number(OptionId::appendonly) != 0 && option_text(OptionId::appendfsync) == "always";
    const bool waits = disk || (option_text(OptionId::replication_mode) == "sync" && live_.text(OptionId::replicaof).empty());
    link_.hold_replies_back(waits);
    const bool strict = live_.number(OptionId::replication_mode) == kStrictMode;
    direct_.show_up_to(waits ? &link_.log_words().durable_number : nullptr, strict);
}

/// All clients of the group may come to one io_conn, so its limit has to hold maxclients.
void Server::raise_descriptor_limit() {
    const auto wanted = static_cast<rlim_t>(live_.number(OptionId::maxclients)) + kDescriptorsBesideClients;
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
    const rlim_t hard = limit.rlim_max;
    limit.rlim_cur = limit.rlim_max = wanted;
    if (hard >= wanted || setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        limit = {std::min(wanted, hard), hard};
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < wanted)
        log::warning("only {} open files are allowed, {} are needed for maxclients; raise `ulimit -n` or lower maxclients", limit.rlim_cur, wanted);
}

void Server::refuse_connection(int fd, std::string_view error) {
    counters_.add(IoCounter::connections_rejected);  // before the client hears of it
    [[maybe_unused]] const ssize_t sent = send(fd, error.data(), error.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

bool Server::debug_is_allowed(const Connection& connection) const {
    const std::string& allowed = daemon_.options().text(OptionId::enable_debug_command);
    return allowed == "yes" || (allowed == "local" && is_local(connection.fd));
}

bool Server::admit(int fd) {
    look_at_options();
    if (option_text(OptionId::protected_mode) == "yes" && !needs_password() && !is_local(fd)) {
        refuse_connection(fd, "-DENIED millrace is in protected mode: it has no password and serves this host only. Set requirepass, or "
                              "protected-mode no if everybody who can reach it may use it.\r\n");
        return false;
    }
    const auto limit = static_cast<uint64_t>(live_.number(OptionId::maxclients));
    if (connections_of_group() < limit) return true;
    refuse_connection(fd, "-ERR max number of clients reached\r\n");
    return false;
}

bool Server::is_password(std::string_view word) const {
    const std::string& password = live_.text(OptionId::requirepass);
    // The time that it takes says nothing about how much of it is right.
    unsigned difference = password.size() != word.size();
    for (size_t i = 0; i < word.size(); ++i)
        difference |= static_cast<unsigned char>(word[i]) ^ static_cast<unsigned char>(password.empty() ? 0 : password[i % password.size()]);
    return difference == 0;
}

void Server::set_socket_options(int fd) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    const int interval = static_cast<int>(std::min<int64_t>(live_.number(OptionId::tcp_keepalive), kKeepAliveMaxS));
    if (interval == 0) return;
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, interval);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval / 3 > 0 ? interval / 3 : 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

void Server::add_connection(int fd) {
    if (admit(fd)) open_connection(fd, false);
}

void Server::publish_connections() {
    const size_t clients = connections_.open() - linked_;
    counters_.set(IoCounter::connected_clients, clients);
    link_.line().connections.store(static_cast<uint32_t>(clients), std::memory_order_relaxed);
}

/// `linked`: it leads to md_repl.
void Server::open_connection(int fd, bool linked) {
    Connection& connection = connections_.take();
    if (!rows_.grow_to(connection.slot)) {
        refuse_connection(fd, "-ERR no shared memory left for another connection\r\n");
        return connections_.give_back(connection);
    }
    set_socket_options(fd);
    connection.server = this;
    connection.fd = fd;
    connection.stranger = !linked && needs_password();
    connection.linked = linked;
    linked_ += linked;
    connection.client_id = link_.roster().next_client_id.fetch_add(1, std::memory_order_relaxed) + 1;
    connection.last_active_s = static_cast<uint32_t>(now_us_ / 1'000'000);
    describe(connection);
    counters_.add(IoCounter::connections_accepted);
    publish_connections();
    event_assign(&connection.event, base_, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_socket, &connection);
    event_add(&connection.event, nullptr);
}

void Server::describe(Connection& connection) {
    ClientInfo info;
    info.id = connection.client_id;
    ClientRow& row = rows_.row(connection.slot);
    if (const auto known = read_row(row); known && known->id == info.id) {
        info = *known;
    } else {
        info.connected_at_s = static_cast<uint64_t>(std::time(nullptr));
        info.fd = connection.fd;
        fill_addresses(connection.fd, info);
        row.activity.store(info.connected_at_s << 16 | kCommandCount, std::memory_order_relaxed);
        row.backlog.store(0, std::memory_order_relaxed);
        row.transaction.store(0, std::memory_order_relaxed);
    }
    info.flags = static_cast<uint8_t>(connection.flags | (connection.linked ? client_flag::linked : 0));
    info.database = connection.database;
    info.resp = connection.resp3 ? 3 : 2;
    const auto put = [](std::string_view text, std::span<char> field) {
        std::ranges::fill(field, '\0');
        text.copy(field.data(), field.size() - 1);
    };
    const ClientNames& names = connection.names();
    put(names.name, info.name);
    put(names.library, info.library);
    put(names.library_version, info.library_version);
    rows_.write(connection.slot, info);
}

void Server::close_connection(Connection& connection) {
    event_del(&connection.event);
    close(connection.fd);
    connection.fd = -1;
    if (connection.md_remembers) to_forget_.push_back(connection.id());
    connection.input.clear();
    connection.output.clear();
    connection.encoder = {};
    connection.partial.reset();
    drop_outgoing(connection);
    drop_transaction(connection);
    if (connection.held != nullptr)
        for (const WaitingReply& reply : connection.held->waiting)
            if (reply.record != 0) to_release_.push_back(reply.record);
    connection.held.reset();
    connection.last_command = kCommandCount;
    connection.set_names({});
    if (connection.kill != nullptr) --kills_under_way_;
    connection.kill.reset();
    connection.save_ticket = connection.wait_number = 0;
    connection.muted = Muted::no;
    connection.flags = 0;
    connection.sent = connection.arrived = connection.answered = 0;
    connection.database = 0;
    connection.resp3 = connection.readable = connection.hung_up = connection.peer_closed = connection.close_after_replies = false;
    linked_ -= connection.linked;
    connection.linked = connection.handed_over = false;
    connection.asking = Asking::nothing;
    connection.write_blocked = connection.output_limited = connection.md_remembers = connection.awaits_pause = connection.holds_output = false;
    rows_.clear(connection.slot);
    connections_.give_back(connection);
    counters_.add(IoCounter::connections_closed);
    publish_connections();
}

std::string Server::ask_supervisor(Connection& connection, Asking what, const std::string& request) {
    std::string obstacle = supervisor_->ask(connection.id(), request);
    if (obstacle.empty()) connection.asking = what;
    return obstacle;
}

void Server::on_supervisor_answer(ConnectionId who, const SupervisorAnswer& answer) {
    Connection* const connection = connections_.find(who);
    if (connection == nullptr) return;
    const Asking asked = std::exchange(connection->asking, Asking::nothing);
    if (answer.ok && asked == Asking::shutdown) {
        connection->asking = Asking::the_end;
        return;
    }
    if (asked == Asking::rewrite_check) {
        connection->transaction->rewrite_obstacle = answer.error;
        return make_ready(*connection);
    }
    if (asked == Asking::rewrite_of_exec) return end_rewrite_of_exec(*connection, answer.error);
    LocalReply reply(*this, *connection);
    if (answer.ok) reply.out().ok();
    else reply.out().error(fmt::format("ERR {}: {}", asked == Asking::shutdown ? kShutdownFailed : kRewriteFailed, answer.error));
    make_ready(*connection);
}

/// Closes a connection that has said good-bye, once it has all its replies.
void Server::close_if_done(Connection& connection) {
    if (!connection.open() || connection.replies_owed() || !connection.output.empty()) return;
    const bool nothing_left = connection.input.empty() || connection.partial != nullptr;
    if (connection.close_after_replies || (connection.peer_closed && !connection.readable && nothing_left))
        close_connection(connection);
}

void Server::close_clients(std::span<const uint64_t> clients, const Connection* except) {
    std::vector<uint64_t> wanted(clients.begin(), clients.end());
    std::ranges::sort(wanted);
    for (size_t slot = 0; slot < connections_.slots(); ++slot) {
        Connection& connection = connections_.at(slot);
        if (!connection.open() || !std::ranges::binary_search(wanted, connection.client_id)) continue;
        if (&connection == except) connection.close_after_replies = true;
        else if (connection.sent == connection.arrived || connection.outgoing != nullptr) close_connection(connection);
        else close_when_executed(connection);
    }
}

/// A client that sees its connection closed may go on elsewhere: nothing that it had sent before may be executed after that. Of an md that does not
/// answer this cannot be waited for without end.
void Server::close_when_executed(Connection& connection) {
    connection.close_after_replies = true;
    condemned_.push_back({connection.id(), now_us_ + kCondemnedPatienceUs});
    look_again_soon();
}

void Server::close_condemned() {
    std::erase_if(condemned_, [this](const Condemned& each) {
        Connection* const connection = connections_.find(each.who);
        if (connection == nullptr) return true;
        if (connection->sent != connection->arrived && now_us_ < each.close_at_us) return false;
        close_connection(*connection);
        return true;
    });
    if (!condemned_.empty()) look_again_soon();
}

void Server::close_idle_connections() {
    const uint64_t timeout_s = static_cast<uint64_t>(live_.number(OptionId::timeout));
    if (timeout_s == 0) return;
    const uint64_t now_s = now_us_ / 1'000'000;
    for (size_t slot = 0; slot < connections_.slots(); ++slot) {
        Connection& connection = connections_.at(slot);
        if (connection.open() && !connection.linked && !connection.replies_owed() && !connection.in_patient && !connection.in_ring_waiters && now_s - connection.last_active_s > timeout_s)
            close_connection(connection);
    }
}

}  // namespace millrace::io_conn
