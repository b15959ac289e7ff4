// CLIENT KILL. Part of Server (server.h); see client_orders.h.
#include <utility>

#include "io_conn/client_filter.h"
#include "io_conn/server.h"

namespace millrace::io_conn {

/// Closes the clients of this io_conn, and says which others are to be closed; nothing is answered yet but an error, false then. Without `kill`, in
/// a transaction, it is answered, and done when EXEC is executed.
bool Server::begin_kill(const LocalCall& call, KillUnderWay* kill) {
    ClientFilter filter;
    if (!read_kill_filter(call, filter)) return false;
    std::vector<uint64_t> own, others;
    for_each_client_of_group(*this, filter, [&](unsigned index, const ClientInfo& info, const ClientRow&) {
        (index == daemon_.arguments().index ? own : others).push_back(info.id);
    });
    if (kill == nullptr) {
        KillUnderWay answer;
        answer.killed = static_cast<int64_t>(own.size() + others.size());
        answer.answers_with_count = !filter.is_address_only;
        answer_kill(answer, call.out);
        std::vector<uint64_t>& to_kill = call.connection.before_exec->to_kill;
        to_kill.insert(to_kill.end(), own.begin(), own.end());
        to_kill.insert(to_kill.end(), others.begin(), others.end());
        return true;
    }
    close_clients(own, &call.connection);
    KillUnderWay& started = *kill;
    started.killed = static_cast<int64_t>(own.size() + others.size());
    started.to_order = std::move(others);
    started.give_up_at_us = now_us_ + kPeerPatienceUs;
    started.answers_with_count = !filter.is_address_only;
    return true;
}

/// What CLIENT KILL in a transaction has answered for is done now, as far as there is room for orders; nobody waits for it.
void Server::kill_after_exec(const Connection& connection, std::span<const uint64_t> clients) {
    close_clients(clients, &connection);
    orders_.issue(clients);
}

void Server::issue_orders(KillUnderWay& kill) {
    const size_t issued = orders_.issue(kill.to_order);
    kill.to_order.erase(kill.to_order.begin(), kill.to_order.begin() + static_cast<std::ptrdiff_t>(issued));
    kill.orders = orders_.issued();
}

void Server::answer_kill(const KillUnderWay& kill, RespWriter& out) {
    if (!kill.to_order.empty()) out.error("ERR an io_conn that does not answer has more of these clients: see millrace status, and try again");
    else if (kill.answers_with_count) out.integer(kill.killed);
    else if (kill.killed == 0) out.error("ERR No such client");
    else out.ok();
}

/// Answers once all connections are closed, or others have had the time for it.
Server::Executed Server::kill_clients(Connection& connection, const CommandRow& row, Arguments words) {
    if (connection.replies_owed()) return Executed::not_now;
    if (connection.kill == nullptr) {
        auto kill = std::make_unique<KillUnderWay>();
        LocalReply reply(*this, connection);
        counters_.add(IoCounter::commands);
        if (!begin_kill({*this, connection, row, words, reply.out()}, kill.get())) return Executed::yes;
        kill->kills_itself = connection.close_after_replies;
        connection.close_after_replies = false;  // it has to go on until it has its answer
        connection.kill = std::move(kill);
        ++kills_under_way_;
    }
    KillUnderWay& kill = *connection.kill;
    issue_orders(kill);
    const bool done = kill.to_order.empty() && orders_.are_carried_out(kill.orders);
    if (!done && now_us_ < kill.give_up_at_us) return wait_patiently(connection);
    {
        LocalReply reply(*this, connection);
        answer_kill(kill, reply.out());
    }
    connection.close_after_replies = kill.kills_itself;
    connection.kill.reset();
    --kills_under_way_;
    return connection.close_after_replies ? Executed::closing : Executed::yes;
}

}  // namespace millrace::io_conn
