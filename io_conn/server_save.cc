// SAVE, which waits for md_log. Part of Server (server.h).
#include "io_conn/server.h"

namespace millrace::io_conn {

/// Answers once a snapshot that has begun after the request is on disk, or has failed. Nothing else of the connection is executed meanwhile, and it waits as
/// long as it takes: only its client's going ends it sooner.
Server::Executed Server::save(Connection& connection, const CommandRow& row, Arguments words) {
    if (connection.replies_owed()) return Executed::not_now;
    if (connection.save_ticket == 0) {
        counters_.add(IoCounter::commands);
        if (!link_.is_saving()) connection.save_ticket = link_.want_save();
    }
    if (connection.save_ticket != 0 && link_.outcome_of_save(connection.save_ticket) == SaveOutcome::none) return wait_patiently(connection);
    {
        LocalReply reply(*this, connection);
        execute_here(connection, row, words, reply.out());
    }
    connection.save_ticket = 0;
    return Executed::yes;
}

}  // namespace millrace::io_conn
