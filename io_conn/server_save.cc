// SAVE, which waits for md_log. Part of Server (server.h).
#include "io_conn/server.h"

namespace millrace::io_conn {

/// Answers once a snapshot that has begun after the request is on disk, or has failed. Nothing else of the connection is executed meanwhile. It waits for as
/// long as that takes, also for the end of another snapshot before it, where Redis gives an error.
Server::Executed Server::save(Connection& connection, const CommandRow& row, Arguments words) {
    if (connection.replies_owed()) return Executed::not_now;
    if (connection.save_ticket == 0) {
        counters_.add(IoCounter::commands);
        connection.save_ticket = link_.want_save();
    }
    if (link_.outcome_of_save(connection.save_ticket) == SaveOutcome::none) return wait_patiently(connection);
    {
        LocalReply reply(*this, connection);
        execute_here(connection, row, words, reply.out());
    }
    connection.save_ticket = 0;
    return Executed::yes;
}

}  // namespace millrace::io_conn
