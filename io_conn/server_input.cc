// From a socket to a command: reading, decoding, executing here or handing to md. Part of Server (server.h).
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "common/disk_refusals.h"
#include "common/log.h"
#include "common/text.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

namespace {

/// Longest part of a client's words that an error repeats, bytes; Redis's limit.
constexpr size_t kQuotedBytesMax = 128;

std::string unknown_command(Arguments words) {
    std::string arguments;
    for (size_t i = 1; i < words.size() && arguments.size() < kQuotedBytesMax; ++i) {
        const std::string_view word = until_nul(words[i]);
        arguments += fmt::format("'{}' ", word.substr(0, kQuotedBytesMax - arguments.size()));
    }
    const std::string_view name = until_nul(words[0]);
    return fmt::format("ERR unknown command '{}', with args beginning with: {}", name.substr(0, kQuotedBytesMax), arguments);
}

std::string unknown_subcommand(const CommandRow& container, std::string_view word) {
    std::string upper(container.name);
    for (char& c : upper) c = static_cast<char>(std::toupper(c));
    return fmt::format("ERR unknown subcommand '{}'. Try {} HELP.",
                       until_nul(word).substr(0, kQuotedBytesMax), upper);
}

constexpr std::string_view kDebugNotAllowed =
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set "
    "this option in the configuration file, and then restart the server.";

/// Whether md executes it; DEBUG itself answers to all others.
bool is_well_formed_debug(const CommandRow& subcommand, Arguments words) {
    constexpr size_t kPopulateWordsMax = 5;
    return subcommand.accepts(words.size()) && (subcommand.id != CommandId::debug_populate || words.size() <= kPopulateWordsMax);
}

/// The words by which an HTTP request shows itself; Redis closes on them too, against cross-protocol scripting.
bool looks_like_http(std::string_view word) {
    return equals_ignoring_case(word, "post") || equals_ignoring_case(word, "host:");
}

}  // namespace

void Server::on_socket(int, short what, void* argument) {
    auto& connection = *static_cast<Connection*>(argument);
    Server& server = *connection.server;
    // With the last bytes and the end queued together there is one edge for both: remember that the end is still to be read.
    if ((what & EV_CLOSED) != 0) connection.hung_up = true;
    if ((what & (EV_READ | EV_CLOSED)) != 0) {
        connection.readable = true;
        server.make_ready(connection);
    }
    if ((what & EV_WRITE) != 0 && connection.write_blocked) {
        connection.write_blocked = false;
        server.make_dirty(connection);
    }
}

void Server::serve_ready() {
    if (!ring_waiters_.empty()) {
        // Room may have come; whoever still finds none puts itself back.
        for (Connection* connection : ring_waiters_) {
            connection->in_ring_waiters = false;
            make_ready(*connection);
        }
        ring_waiters_.clear();
    }
    ready_now_.swap(ready_);
    for (Connection* connection : ready_now_) {
        connection->in_ready = false;
        if (!connection->open()) continue;
        serve_input(*connection);
        if (!connection->open()) continue;
        note_activity(*connection);
        if (!must_send()) continue;
        publish();
        send_dirty();
    }
    ready_now_.clear();
}

/// Writes what changes with every request for others to see.
void Server::note_activity(Connection& connection) {
    ClientRow& row = rows_.row(connection.slot);
    row.activity.store(wall_s_ << 16 | connection.last_command, std::memory_order_relaxed);
    row.backlog.store(uint64_t{connection.output.size()} << 32 | connection.input.size(), std::memory_order_relaxed);
    row.transaction.store(connection.transaction == nullptr ? 0 : connection.transaction->queue.size() + 1, std::memory_order_relaxed);
}

/// N2. A connection that must wait is made ready again by whatever it waits for.
bool Server::may_execute(Connection& connection) {
    if (connection.close_after_replies || connection.asking != Asking::nothing) return false;
    if (connection.awaits_pause && !pause_is_settled(connection)) return false;
    if (connection.before_exec != nullptr && !exec_is_settled(connection)) return false;
    if (connection.outgoing != nullptr) {
        send_outgoing(connection);
        return false;
    }
    if (connection.output.size() + connection.held_bytes() > kOutputLimit) {
        if (!connection.output_limited) counters_.add(IoCounter::output_limit_hits);
        connection.output_limited = true;
        return false;
    }
    connection.output_limited = false;
    return connection.in_flight() < kWindow;
}

void Server::serve_input(Connection& connection) {
    bool has_read = false;
    while (connection.open() && may_execute(connection)) {
        // With a request begun in `input`, only more bytes help; otherwise what is there has not been looked at yet.
        if (!connection.input.empty() && connection.partial == nullptr) {
            const size_t before = connection.input.size();
            const size_t used = consume(connection, connection.input.bytes());
            if (!connection.open()) return;
            connection.input.consume(used);
            if (used < before && connection.partial == nullptr) return;  // it has to wait
            continue;
        }
        if (!connection.readable) break;
        if (has_read) return make_ready(connection);  // others first
        has_read = true;
        if (!read_some(connection)) break;
    }
    close_if_done(connection);
}

/// Reads once; notes the end of the edge, of the stream or of the connection.
ssize_t Server::read_socket(Connection& connection, char* into, size_t room) {
    const ssize_t count = recv(connection.fd, into, room, 0);
    counters_.add(IoCounter::reads);
    if (count > 0) {
        counters_.add(IoCounter::input_bytes, static_cast<uint64_t>(count));
        // A short read has emptied the socket: what comes later makes a new edge, unless the end was already there.
        if (static_cast<size_t>(count) < room && !connection.hung_up) connection.readable = false;
        connection.last_active_s = static_cast<uint32_t>(now_us_ / 1'000'000);
        return count;
    }
    connection.readable = false;
    if (count == 0) connection.peer_closed = true;
    else if (errno == EINTR) connection.readable = true;
    else if (errno != EAGAIN && errno != EWOULDBLOCK) close_connection(connection);
    return 0;
}

/// Reads once and executes what has come; false when there was nothing or the connection is gone.
bool Server::read_some(Connection& connection) {
    if (!connection.input.empty()) {
        const size_t hint = connection.partial == nullptr ? 0 : connection.partial->needed();
        const size_t missing = hint > connection.input.size() ? hint - connection.input.size() : 0;
        // Memory is taken as bytes arrive, at most doubling: a length that is only announced costs nothing.
        const size_t room = std::clamp(missing, size_t{4096}, std::max(size_t{16384}, connection.input.size()));
        if (connection.input.room() < room && !assembly_memory_has(room)) {
            reject(connection, "ERR the memory for requests in progress (assembly-memory) is used up");
            connection.input.clear();
            connection.partial.reset();
            return false;
        }
        char* into = connection.input.reserve(room);
        const ssize_t count = read_socket(connection, into, connection.input.room());
        if (count <= 0) return false;
        connection.input.commit(static_cast<size_t>(count));
        const size_t used = consume(connection, connection.input.bytes());
        if (!connection.open()) return false;
        connection.input.consume(used);
        return true;
    }
    const ssize_t count = read_socket(connection, scratch_.get(), kReadBytesPerTurn);
    if (count <= 0) return false;
    const std::string_view bytes(scratch_.get(), static_cast<size_t>(count));
    const size_t used = consume(connection, bytes);
    if (!connection.open()) return false;
    connection.input.append(bytes.substr(used));
    return true;
}

/// The row of a command. Most requests are of the same one as the request before.
const CommandRow* Server::look_up(std::string_view name) {
    if (name == last_name_) return last_row_;
    const CommandRow* row = find_command(name);
    if (row != nullptr) {
        last_name_ = name;
        last_row_ = row;
    }
    return row;
}

/// Executes the requests at the front of `bytes`; returns how many bytes they took. What is left is an incomplete request
/// (connection.partial) or one that has to wait.
size_t Server::consume(Connection& connection, std::string_view bytes) {
    size_t used = 0;
    // While reads are only collected nothing changes that may_execute() looks at.
    while (used < bytes.size() && (!pending_reads_.empty() || may_execute(connection))) {
        if (connection.linked && connection.partial == nullptr) [[unlikely]] connection.partial = std::make_unique<RespDecoder>(kLinkedBulkBytesMax);
        RespDecoder& decoder = connection.partial != nullptr ? *connection.partial : decoder_;
        if (connection.partial == nullptr) {
            decoder.reset();
            decoder.set_stranger(is_stranger(connection));
        }
        const RespDecoder::Result result = decoder.decode(bytes.substr(used));
        const Arguments words = result == RespDecoder::Result::request ? decoder.arguments() : Arguments();
        const CommandRow* row = words.empty() ? nullptr : look_up(words[0]);
        if (row != nullptr && queue_direct(connection, *row, words, used)) {
            used += decoder.length();
            if (pending_reads_.size() < kDirectReadsAhead && !decoder.owns_arguments()) {
                connection.partial.reset();
                continue;
            }
        }
        if (!pending_reads_.empty()) {
            const size_t done = run_direct(connection, used);
            if (!connection.open()) return done;
            connection.partial.reset();
            if (done != used) return done;
            continue;  // with this request once more: it may not be executed any longer
        }
        if (result == RespDecoder::Result::need_more) {
            if (connection.partial == nullptr) connection.partial = std::make_unique<RespDecoder>(decoder_);
            return used;
        }
        if (result == RespDecoder::Result::error) {
            counters_.add(IoCounter::protocol_errors);
            reject(connection, "ERR " + decoder.error());
            connection.partial.reset();
            return bytes.size();
        }
        bytes_behind_ = bytes.size() - used - decoder.length();
        const Executed executed = words.empty() ? Executed::yes : execute(connection, row, words);
        if (executed == Executed::closing) return bytes.size();
        if (executed == Executed::not_now) {
            connection.partial.reset();
            return used;
        }
        used += decoder.length();
        connection.partial.reset();
    }
    return pending_reads_.empty() ? used : run_direct(connection, used);
}

namespace {

/// Whether a command is queued between MULTI and EXEC.
bool waits_for_exec(CommandId id) {
    return id != CommandId::exec && id != CommandId::discard && id != CommandId::multi && id != CommandId::watch && id != CommandId::quit &&
           id != CommandId::reset;
}

}  // namespace

/// Answers with an error and ends the connection once it has all its replies.
void Server::reject(Connection& connection, std::string_view error) {
    {
        LocalReply reply(*this, connection);
        reply.out().error(error);
    }
    connection.close_after_replies = true;
}

/// Whether nothing about a request or its connection asks for more than handing it to md: true for almost all of them.
bool Server::is_plain(const Connection& connection, const CommandRow* row, size_t words) const {
    constexpr uint32_t kNeedsCare = command_flag::admin | command_flag::noscript | command_flag::barrier | command_flag::guarded | command_flag::internal;
    return row != nullptr && row->place == CommandPlace::md && !row->is(kNeedsCare) && row->accepts(words) && !restricted_ && connection.transaction == nullptr &&
           !connection.stranger && connection.muted == Muted::no;
}

/// With CLIENT REPLY SKIP the next command is executed alone, so that it is known which reply to leave out.
Server::Executed Server::execute(Connection& connection, const CommandRow* row, Arguments words) {
    if (is_plain(connection, row, words.size())) [[likely]] return execute_in_md(connection, *row, words.subspan(1));
    if (connection.muted == Muted::current) {
        if (connection.replies_owed()) return Executed::not_now;
        connection.muted = Muted::no;
    }
    // CLIENT REPLY says anew what holds from here on, if it is well-formed.
    const bool is_next = connection.muted == Muted::next;
    if (is_next) connection.muted = Muted::current;
    const Executed executed = execute_aloud(connection, row, words);
    if (is_next && executed == Executed::not_now) connection.muted = Muted::next;
    return executed;
}

Server::Executed Server::execute_aloud(Connection& connection, const CommandRow* row, Arguments words) {
    std::string error;
    if (row != nullptr && row->is(command_flag::linked) && !connection.linked) row = nullptr;
    if (row == nullptr && looks_like_http(words[0])) {
        log::warning("client {} speaks HTTP, perhaps through a browser that was tricked into it: closed",
                     connection.client_id);
        close_connection(connection);
        return Executed::closing;
    }
    if (row == nullptr) {
        error = unknown_command(words);
    } else if (words.size() > 1 && (row->place == CommandPlace::container || row->id == CommandId::command || row->id == CommandId::debug)) {
        const CommandRow* subcommand = find_subcommand(*row, words[1]);
        if (row->id == CommandId::debug) row = subcommand != nullptr && is_well_formed_debug(*subcommand, words) ? subcommand : row;
        else if (subcommand == nullptr) error = unknown_subcommand(*row, words[1]);
        else row = subcommand;
    }
    connection.last_command = error.empty() ? static_cast<uint16_t>(row->id) : kCommandCount;  // CLIENT LIST's, also of one that is refused
    if (error.empty() && !row->accepts(words.size()))
        error = fmt::format("ERR wrong number of arguments for '{}' command", row->name);
    if (error.empty() && row->is(command_flag::guarded) && !debug_is_allowed(connection)) error = kDebugNotAllowed;
    if (error.empty() && is_stranger(connection) && !row->is(command_flag::no_auth)) error = "NOAUTH Authentication required.";
    if (error.empty() && (restricted_ || connection.transaction != nullptr)) error = refusal_of(connection, *row);
    if (!error.empty() && row != nullptr && row->id == CommandId::exec) {  // whatever is wrong with EXEC itself ends the transaction
        drop_transaction(connection);
        error = "EXECABORT Transaction discarded because of: " + (error.starts_with("ERR ") ? error.substr(4) : error);
    }
    if (paused_ && error.empty() && waits_for_pause(connection, *row)) return wait_patiently(connection);
    if (connection.transaction != nullptr) {
        if (!error.empty()) connection.transaction->failed = true;
        else if (waits_for_exec(row->id)) return queue_command(connection, *row, words);
    }
    if (error.empty() && row->is(command_flag::barrier) && connection.replies_owed()) return Executed::not_now;
    if (error.empty() && row->id == CommandId::exec) return execute_transaction(connection, *row);
    if (error.empty() && row->id == CommandId::client_kill) return kill_clients(connection, *row, words);
    if (error.empty() && row->id == CommandId::ms_register_slave) return register_replica(connection, *row, words);
    if (error.empty() && row->id == CommandId::save) return save(connection, *row, words);
    if (error.empty() && row->id == CommandId::wait) return wait_for_replicas(connection, *row, words);
    if (error.empty() && row->id == CommandId::watch) return watch(connection, *row, words.subspan(1));
    if (error.empty() && row->place == CommandPlace::md) {
        const Executed executed = execute_in_md(connection, *row, words.subspan(1));
        if (executed == Executed::yes && row->id == CommandId::client_pause) await_pause(connection);
        return executed;
    }
    counters_.add(IoCounter::commands);
    LocalReply reply(*this, connection);
    if (error.empty()) {
        execute_here(connection, *row, words, reply.out());
    } else {
        if (row != nullptr) diagnostics_.reject(row->id);
        reply.out().error(error);
    }
    return connection.close_after_replies ? Executed::closing : Executed::yes;
}

/// Why a command is not executed because of the disk or of the master; empty: it is. While md loads it is not there either, so what needs it waits for its end as well.
std::string Server::refusal_of(const Connection& connection, const CommandRow& row) const {
    const Transaction* transaction = connection.transaction.get();
    if (row.id == CommandId::exec && (transaction == nullptr || transaction->failed)) return {};  // it has an error of its own
    if (refuses_writes_ && (row.is(command_flag::write) || row.id == CommandId::ping)) return write_refusal(link_.log_words());
    if (const std::string_view refusal = refusal_of_replication(connection, row); !refusal.empty()) return std::string(refusal);
    if (loading_ && (row.place == CommandPlace::md || !row.is(command_flag::loading))) return std::string(kLoadingRefusal);
    return {};
}

/// Executes a command that is answered here, and measures it.
void Server::execute_here(Connection& connection, const CommandRow& row, Arguments words, RespWriter& out) {
    meter_.start();
    const unsigned errors = out.errors();
    execute_local(*this, connection, row, words, out);
    if (meter_.end(diagnostics_, row.id, meter_.last(), out.errors() != errors)) note_command(connection, row, words);
}

/// Notes the slow command that has just ended.
void Server::note_command(const Connection& connection, const CommandRow& row, Arguments words) {
    meter_.note(diagnostics_, row, [&] {
        SlowCommand command;
        command.arguments = slow_words(words);
        if (const auto info = read_row(rows_.row(connection.slot))) command.address = info->address.text();
        command.name = connection.names().name;
        return command;
    });
}

Server::Executed Server::execute_in_md(Connection& connection, const CommandRow& row, Arguments arguments) {
    const RequestHeader header{static_cast<uint16_t>(row.id), connection.database, connection.request_flags(),
                               static_cast<uint32_t>(arguments.size()), static_cast<uint32_t>(now_us_)};
    const uint64_t bytes = request_bytes(arguments);
    if (bytes > link_.max_request_bytes() && !assembly_memory_has(bytes)) {
        reject(connection, "OOM request not taken: the memory for requests in progress (assembly-memory) is used up");
        return Executed::closing;
    } else if (bytes > link_.max_request_bytes()) {
        outgoing_bytes_ += bytes;
        connection.outgoing = std::make_unique<OutgoingRequest>();
        connection.outgoing->bytes.resize(bytes);
        write_request(reinterpret_cast<std::byte*>(connection.outgoing->bytes.data()), header, arguments);
        connection.md_remembers = true;
        send_outgoing(connection);
    } else if (link_.send_request(connection.id(), header, arguments, bytes)) {
        ++connection.sent;
        ++batch_;
    } else {
        wait_for_ring(connection);
        return Executed::not_now;
    }
    counters_.add(IoCounter::commands);
    connection.last_command = static_cast<uint16_t>(row.id);
    return Executed::yes;
}

/// Goes on with a large request as far as the ring has room.
void Server::send_outgoing(Connection& connection) {
    OutgoingRequest& outgoing = *connection.outgoing;
    if (outgoing.sent == outgoing.bytes.size()) return;
    while (outgoing.sent < outgoing.bytes.size()) {
        if (outgoing.sent == 0) outgoing.first_at = link_.position();
        const size_t taken = link_.send_fragment(connection.id(), outgoing.bytes, outgoing.sent);
        if (taken == 0) {
            wait_for_ring(connection);
            return;
        }
        outgoing.sent += taken;
    }
    ++connection.sent;
    ++batch_;
}

void Server::drop_outgoing(Connection& connection) {
    if (connection.outgoing != nullptr) outgoing_bytes_ -= connection.outgoing->bytes.size();
    connection.outgoing.reset();
}

/// Whether `bytes` more may be taken for requests that are not yet with md. What waits to be sent to clients is bounded
/// elsewhere and does not count: who does not read must not keep others from sending.
bool Server::assembly_memory_has(uint64_t bytes) const {
    const auto limit = static_cast<uint64_t>(live_.number(OptionId::assembly_memory));
    return input_pool_.held_bytes() + outgoing_bytes_ + bytes <= limit;
}

void Server::wait_for_ring(Connection& connection) {
    if (connection.in_ring_waiters) return;
    connection.in_ring_waiters = true;
    ring_waiters_.push_back(&connection);
}

LocalReply::LocalReply(Server& server, Connection& connection)
    : server_(server), connection_(connection), target_(choose_target()), writer_(target_, connection.resp3, &server.diagnostics_), begins_(target_.size()) {}

Buffer& LocalReply::choose_target() {
    deferred_ = connection_.in_flight() != 0;
    return deferred_ ? server_.deferred_scratch_ : connection_.output;
}

LocalReply::~LocalReply() {
    // What CLIENT REPLY changes is as it was when the reply began: ON answers, OFF and SKIP do not.
    if (connection_.muted != Muted::no) {
        target_.truncate(begins_);
    } else if (deferred_) {
        HeldReplies& held = connection_.make_held();
        std::list<DeferredReply>& waiting = held.deferred;
        if (waiting.empty() || waiting.back().after != connection_.sent) {
            waiting.push_back({connection_.sent, {}});
            held.bytes += sizeof(DeferredReply);
        }
        waiting.back().bytes += target_.bytes();
        held.bytes += target_.size();
        target_.clear();
    }
    if (writer_.errors() != 0) server_.counters_.add(IoCounter::error_replies, writer_.errors());
    server_.make_dirty(connection_);
}

}  // namespace millrace::io_conn
