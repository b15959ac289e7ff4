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

/// Text without spaces and what is beyond ASCII, as names of clients have to be.
bool is_plain_text(std::string_view text);
inline constexpr std::string_view kBadClientName = "ERR Client names cannot contain spaces, newlines or special characters.";
void set_client_name(const LocalCall& call, std::string_view name);

using LocalHandler = void (*)(const LocalCall&);

/// Answers INFO's text for the sections asked for; no section = the default ones (local_info.cc).
std::string info_text(const LocalCall& call, Arguments sections);

}  // namespace millrace::io_conn
