// Handlers of the commands that io_conn answers itself. Runs in io_conn; one function a row of commands.def with place
// `io`, named local_<identifier>; a missing one does not link.
#pragma once

#include "io_conn/server.h"

namespace millrace::io_conn {

/// What a handler works with.
struct LocalCall {
    Server& server;
    Connection& connection;
    const CommandRow& row;
    Arguments words;  ///< with the command's name, and the subcommand's if there is one
    RespWriter& out;
};

using LocalHandler = void (*)(const LocalCall&);

/// Answers INFO's text for the sections asked for; no section = the default ones (local_info.cc).
std::string info_text(const LocalCall& call, Arguments sections);

}  // namespace millrace::io_conn
