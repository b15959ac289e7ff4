// What an io_conn gives up before it reads the first byte of a client: it parses what strangers send, so it may be taken over, and then it shall
// be able to do nothing to its host and to md but what it does anyway. Runs in io_conn.
//
// Invariants:
//   X1  Opens no file but the protected names (common/protected_names.h): those of other processes' counters, notes and clients, of the store,
//       for reading only, and FIFOs of the other io_conn. Makes, renames, removes and lists nothing.
//   X2  Gets no memory that is shared and writable, none that can be executed, none at an address of its own choice, and changes the
//       protection of none. What it has mapped for reading only, the store above all, stays so.
//   X3  Starts no process, signals none but itself (abort() does), and says of no descriptor who is to be signalled: kill() and its kin, F_SETOWN
//       and a limit of CPU time are ways of ending md.
//   X4  Reaches nobody but the clients that it has accepted, the supervisor and md_repl: socket() makes Unix stream sockets, connect() takes the
//       protected addresses of doors.h. Sending needs no condition (F5), because every socket that there is listens or is connected, and sends where it is
//       connected to. For that it must not become unconnected again, as shutdown() does with one that listens: its next message could open a
//       connection (MSG_FASTOPEN), and nobody could accept any more, because listening sockets are shared.
//       The supervisor writes for it what CONFIG SET may change, and ends, restarts or scales the group, as for every process of its user.
//   X5  Learns of other processes what counters tell, and from their CPU clocks whether they live.
// Not among it: memory of its own and CPU time without end, and commands about all data. Whoever has an io_conn can send md any request.
#pragma once

#include <sys/un.h>

#include <span>
#include <string>

#include "common/daemon.h"
#include "common/protected_names.h"

namespace millrace::io_conn {

/// The names that an io_conn of this instance goes on using; `doors`: the addresses to connect to.
ProtectedNames names_of_group(const std::string& dir, std::span<const sockaddr_un> doors);

/// Puts the filter on. REQUIRES: the names are sealed. Throws Error.
void load_call_filter(const ProtectedNames& names);

/// Both, if the configuration wants it. Without success the log says so, and the process goes on.
void confine(const Daemon& daemon, std::span<const sockaddr_un> doors);

}  // namespace millrace::io_conn
