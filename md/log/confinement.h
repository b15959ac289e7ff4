// What md_log gives up before it serves: a filter on system calls (common/call_filter.h). Runs in md_log.
//
// It keeps what files need, threads for fdatasync, processes for snapshots, and SIGKILL for those. It talks to no network, starts no other
// program, traces nobody.
#pragma once

#include "common/daemon.h"

namespace millrace::md_log {

/// Puts the filter on if the configuration wants it. Without success the log says so, and the process goes on. Before any thread is there.
void confine(const Daemon& daemon);

}  // namespace millrace::md_log
