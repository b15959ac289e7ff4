// The table of local handlers; see local.h. Runs in io_conn.
#include "io_conn/local.h"

#include "common/check.h"

namespace millrace::io_conn {

#define MR_LOCAL_io(identifier) void local_##identifier(const LocalCall&);
#define MR_LOCAL_md(identifier)
#define MR_LOCAL_container(identifier)
#define MR_COMMAND(identifier, name, arity, flags, first, last, step, place, ...) MR_LOCAL_##place(identifier)
#include "common/commands.def"
#undef MR_LOCAL_io
#undef MR_LOCAL_md
#undef MR_LOCAL_container

namespace {

#define MR_LOCAL_io(identifier) local_##identifier,
#define MR_LOCAL_md(identifier) nullptr,
#define MR_LOCAL_container(identifier) nullptr,
constexpr LocalHandler kHandlers[] = {
#include "common/commands.def"
};
#undef MR_COMMAND

}  // namespace

void execute_local(Server& server, Connection& connection, const CommandRow& row, Arguments words, RespWriter& out) {
    const LocalHandler handler = kHandlers[static_cast<unsigned>(row.id)];
    CHECK(handler != nullptr);
    handler({server, connection, row, words, out});
}

}  // namespace millrace::io_conn
