// MULTI, EXEC and WATCH. Part of Server (server.h); see transaction.h.
#include <algorithm>
#include <cstring>

#include "common/log.h"
#include "common/message.h"
#include "common/reply_format.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

namespace {

/// A request for md with these arguments, as EXEC takes it.
std::string encoded(uint16_t command, uint8_t database, uint8_t flags, Arguments arguments) {
    std::string bytes(request_bytes(arguments), '\0');
    write_request(reinterpret_cast<std::byte*>(bytes.data()), {command, database, flags, static_cast<uint32_t>(arguments.size()), 0}, arguments);
    return bytes;
}

/// What EXEC's first argument says of the watched keys.
std::string encoded(const std::vector<WatchedKey>& watched) {
    std::string bytes;
    for (const WatchedKey& key : watched) {
        const WatchHeader header{key.token.value_or(0), static_cast<uint32_t>(key.key.size()), key.database};
        bytes.append(reinterpret_cast<const char*>(&header), sizeof header);
        bytes += key.key;
    }
    return bytes;
}

/// Whether a command that io_conn answers changes something, which is taken back if md does not execute the transaction.
bool changes_the_connection(CommandId id) {
    return id == CommandId::select || id == CommandId::client_setname || id == CommandId::auth || id == CommandId::client_no_evict ||
           id == CommandId::client_no_touch || id == CommandId::client_setinfo || id == CommandId::client_kill || id == CommandId::config_rewrite ||
           id == CommandId::bgsave || id == CommandId::bgrewriteaof;
}

}  // namespace

void Server::drop_transaction(Connection& connection) {
    if (connection.transaction != nullptr) outgoing_bytes_ -= connection.transaction->bytes;
    connection.transaction.reset();
    connection.watched.reset();
    connection.before_exec.reset();
}

/// Answers with an error; EXEC will be refused.
void Server::refuse_queued(Connection& connection, std::string_view error) {
    connection.transaction->failed = true;
    counters_.add(IoCounter::commands);
    LocalReply(*this, connection).out().error(error);
}

Server::Executed Server::queue_command(Connection& connection, const CommandRow& row, Arguments words) {
    Transaction& transaction = *connection.transaction;
    if (row.id == CommandId::hello || row.id == CommandId::client_reply || row.is(command_flag::no_multi)) return refuse_queued(connection, "ERR Command not allowed inside a transaction"), Executed::yes;
    if (row.id == CommandId::swapdb) return refuse_queued(connection, "ERR SWAPDB is not possible inside MULTI in this version"), Executed::yes;
    if (row.place != CommandPlace::md && transaction.local == kQueuedLocalMax)
        return refuse_queued(connection, "ERR too many commands about the server or the connection in a transaction"), Executed::yes;
    QueuedCommand queued{static_cast<uint16_t>(row.id), row.place != CommandPlace::md, {}, {}};
    if (queued.is_local) queued.words.assign(words.begin(), words.end());
    else queued.request = encoded(queued.command, connection.database, connection.request_flags(), words.subspan(1));
    const uint64_t bytes = request_bytes(words) + sizeof queued + queued.words.size() * sizeof(std::string);
    if (!assembly_memory_has(bytes))
        return refuse_queued(connection, "OOM request not taken: the memory for requests in progress (assembly-memory) is used up"), Executed::yes;
    outgoing_bytes_ += bytes;
    transaction.bytes += bytes;
    transaction.local += queued.is_local;
    transaction.writes = transaction.writes || may_write(row);
    transaction.needs_fresh = transaction.needs_fresh || !row.is(command_flag::stale);
    transaction.pauses = transaction.pauses || row.id == CommandId::client_pause;
    transaction.rewrites = transaction.rewrites || row.id == CommandId::config_rewrite;
    transaction.queue.push_back(std::move(queued));
    counters_.add(IoCounter::commands);
    connection.last_command = static_cast<uint16_t>(row.id);
    LocalReply(*this, connection).out().status("QUEUED");
    return Executed::yes;
}

/// Executes what is answered here, and puts EXEC's arguments together. Once, however often the request ring is full.
void Server::prepare_transaction(Connection& connection) {
    Transaction& transaction = *connection.transaction;
    if (!transaction.sent.empty()) return;
    transaction.sent.push_back(connection.watches() ? encoded(*connection.watched) : std::string());
    for (QueuedCommand& queued : transaction.queue) {
        const CommandRow& row = command_row(static_cast<CommandId>(queued.command));
        if (!queued.is_local) {
            // A SELECT before it may have changed the database.
            std::memcpy(queued.request.data() + offsetof(RequestHeader, database), &connection.database, 1);
            transaction.sent.push_back(std::move(queued.request));
            continue;
        }
        Buffer reply(output_pool_);
        RespWriter out(reply, connection.resp3, &diagnostics_);
        const std::vector<std::string_view> words(queued.words.begin(), queued.words.end());
        execute_here(connection, row, words, out);
        counters_.add(IoCounter::error_replies, out.errors());
        const std::string_view bytes = reply.bytes();
        transaction.sent.push_back(encoded(kRawReply, 0, 0, {&bytes, 1}));
    }
}

Server::Executed Server::execute_transaction(Connection& connection, const CommandRow& exec) {
    Transaction* transaction = connection.transaction.get();
    if (transaction == nullptr || transaction->failed) {
        counters_.add(IoCounter::commands);
        LocalReply(*this, connection).out().error(transaction == nullptr ? "ERR EXEC without MULTI"
                                                                          : "EXECABORT Transaction discarded because of previous errors.");
        if (transaction != nullptr) drop_transaction(connection);
        return Executed::yes;
    }
    // Tokens have to be there, and what is answered here must show what earlier requests have done.
    if ((transaction->local != 0 || connection.watches()) && connection.replies_owed()) return Executed::not_now;
    if (transaction->rewrites && !knows_whether_rewrite_is_possible(connection)) return Executed::not_now;
    const bool changes = std::ranges::any_of(transaction->queue, [](const QueuedCommand& queued) {
        return changes_the_connection(static_cast<CommandId>(queued.command));
    });
    if (changes && connection.before_exec == nullptr)
        connection.before_exec = std::make_unique<ConnectionBefore>(ConnectionBefore{
            connection.database, connection.stranger, connection.flags, connection.names(), {}, false, false});
    prepare_transaction(connection);
    const std::vector<std::string_view> arguments(transaction->sent.begin(), transaction->sent.end());
    outgoing_bytes_ -= transaction->bytes;  // or what is large would count twice
    const Executed executed = execute_in_md(connection, exec, arguments);
    outgoing_bytes_ += transaction->bytes;
    if (executed != Executed::yes) return executed;
    if (transaction->pauses) await_pause(connection);
    std::unique_ptr<ConnectionBefore> before = std::move(connection.before_exec);
    if (transaction->rewrites && transaction->rewrite_obstacle->empty()) before->rewrites = connection.holds_output = true;
    drop_transaction(connection);
    connection.before_exec = std::move(before);
    connection.encoder.first_tag = 0;
    return executed;
}

/// True once the answer to an EXEC is there, after which the connection is as that answer says.
bool Server::exec_is_settled(Connection& connection) {
    if (connection.transaction != nullptr) return true;  // not sent yet
    if (connection.replies_owed()) return false;
    const std::unique_ptr<ConnectionBefore> before = std::move(connection.before_exec);
    if (connection.encoder.first_tag == static_cast<uint8_t>(ReplyTag::array)) {
        if (!before->to_kill.empty()) kill_after_exec(connection, before->to_kill);
        if (before->wants_save) link_.want_save();
        if (before->rewrites) rewrite_after_exec(connection);
        return connection.open() && connection.asking == Asking::nothing;
    }
    if (before->rewrites && !connection.awaits_pause) release_output(connection);
    connection.database = before->database;
    connection.stranger = before->stranger;
    connection.set_names(std::move(before->names));
    connection.flags = before->flags;
    describe(connection);
    return true;
}

/// The answer of CONFIG REWRITE in a transaction has to be there before md executes EXEC, and what it is to write only afterwards: so the supervisor
/// is asked first whether it could write the file, and then to do it.
bool Server::knows_whether_rewrite_is_possible(Connection& connection) {
    std::optional<std::string>& obstacle = connection.transaction->rewrite_obstacle;
    if (obstacle) return true;
    if (connection.asking != Asking::nothing) return false;
    const std::string unasked = ask_supervisor(connection, Asking::rewrite_check, rewrite_request(*this, "rewrite-check"));
    if (!unasked.empty()) obstacle = unasked;
    return obstacle.has_value();
}

void Server::rewrite_after_exec(Connection& connection) {
    look_at_options();  // what the same transaction has set
    const std::string unasked = ask_supervisor(connection, Asking::rewrite_of_exec, rewrite_request(*this, "rewrite"));
    if (!unasked.empty()) end_rewrite_of_exec(connection, unasked);
}

/// The output that is held says that the file is written. If it is not, after all, then the client must not read that.
void Server::end_rewrite_of_exec(Connection& connection, std::string_view obstacle) {
    if (!obstacle.empty()) {
        log::warning("{} after EXEC: {}; client {} is closed, because its answer says otherwise", kRewriteFailed, obstacle, connection.client_id);
        return close_connection(connection);
    }
    if (!connection.awaits_pause) release_output(connection);
    make_ready(connection);
}

Server::Executed Server::watch(Connection& connection, const CommandRow& row, Arguments keys) {
    if (connection.transaction != nullptr) {
        counters_.add(IoCounter::commands);
        LocalReply(*this, connection).out().error("ERR WATCH inside MULTI is not allowed");
        return Executed::yes;
    }
    if (connection.watched == nullptr) connection.watched = std::make_unique<std::vector<WatchedKey>>();
    std::vector<WatchedKey>& watched = *connection.watched;
    std::vector<std::string_view> fresh;
    for (const std::string_view key : keys) {
        const auto is_this = [&](const WatchedKey& other) { return other.database == connection.database && other.key == key; };
        if (std::ranges::none_of(watched, is_this) && std::ranges::find(fresh, key) == fresh.end()) fresh.push_back(key);
        if (watched.size() + fresh.size() <= kWatchedKeysMax) continue;
        counters_.add(IoCounter::commands);
        LocalReply(*this, connection).out().error("ERR too many watched keys");
        return Executed::yes;
    }
    if (fresh.empty()) {
        counters_.add(IoCounter::commands);
        LocalReply(*this, connection).out().ok();
        return Executed::yes;
    }
    const Executed executed = execute_in_md(connection, row, fresh);
    if (executed == Executed::yes)
        for (const std::string_view key : fresh) watched.push_back({std::string(key), connection.database, {}});
    return executed;
}

/// Tokens that md has sent belong to the first keys that have none.
void Server::take_tokens(Connection& connection) {
    const std::unique_ptr<std::vector<uint64_t>> tokens = std::move(connection.encoder.tokens);
    if (!connection.watches()) return;
    auto token = tokens->begin();
    for (WatchedKey& key : *connection.watched)
        if (!key.token && token != tokens->end()) key.token = *token++;
}

}  // namespace millrace::io_conn
