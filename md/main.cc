// md: the daemon that owns the data. Order of start-up: command line and configuration (common/daemon.h), counters,
// control and roster segments, the FIFO, the channels of all io_conn, ready. Started by the supervisor only.
#include "common/daemon.h"
#include "md/loop.h"

int main(int argc, char** argv) {
    return millrace::run_daemon(argc, argv, "md", [](millrace::Daemon& daemon) {
        millrace::md::Loop loop(daemon);
        loop.run();
    });
}
