// What md gives up before it looks at the first word that an io_conn has written: rings are hostile input, and what they might make of md shall
// not get beyond the data that it owns. Runs in md.
//
// Invariants:
//   Y1  Starts no program and no process, talks to no network, traces nobody, executes no memory that was not there at its start.
//   Y2  Sends no signal but SIGKILL, as the watchdog of another md, and those of its own abort().
//   Y3  Files it may open, make and remove by name: segments come and go with their io_conn, and a successor makes what is missing. What it may
//       touch is its user's affair.
//   Y4  What Y1 and Y2 exclude ends md by abort() instead of the kernel's hand: then it counts as an attempt of the request that it was
//       executing (poison.h), and the third one is the last.
#pragma once

#include "common/daemon.h"

namespace millrace::md {

/// Puts the filter on. Throws Error.
void load_call_filter();

/// The same if the configuration wants it. Without success the log says so, and the process goes on.
void confine(const Daemon& daemon);

}  // namespace millrace::md
