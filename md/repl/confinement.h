// What md_repl gives up before it looks at what others send: everything but sockets, files of its instance folder and the segments that it has mapped. Runs in md_repl.
#pragma once

#include "common/daemon.h"

namespace millrace::md_repl {

/// Puts the filter on system calls, unless the option `seccomp` says no. Throws Error.
void confine(const Daemon& daemon);

}  // namespace millrace::md_repl
