// io_conn: the process that talks to clients. Order of start-up: command line and configuration (common/daemon.h),
// counters, md's segments, the channel, the event loop, the listening sockets, the filter on system calls, ready. Started by the
// supervisor only.
#include <malloc.h>

#include "common/daemon.h"
#include "io_conn/confinement.h"
#include "io_conn/server.h"

namespace {

/// Buffers of this size and more go back to the kernel when they are freed, bytes; see md/main.cc.
constexpr int kOwnPagesFromBytes = 128 * 1024;

}  // namespace

int main(int argc, char** argv) {
    mallopt(M_MMAP_THRESHOLD, kOwnPagesFromBytes);
    mallopt(M_TRIM_THRESHOLD, kOwnPagesFromBytes);
    return millrace::run_daemon(argc, argv, "io_conn", [](millrace::Daemon& daemon) {
        millrace::io_conn::Server server(daemon);
        millrace::io_conn::confine(daemon, server.doors().addresses());
        server.run();
    });
}
