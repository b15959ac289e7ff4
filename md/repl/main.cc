// md_repl: the helper of md that feeds those who follow this server, and follows its master. Order of start-up: command line and configuration
// (common/daemon.h), the segments that md has made, the door at which io_conn hand connections over, the filter on system calls, ready. Started by the
// supervisor only.
#include "md/repl/confinement.h"
#include "md/repl/replicator.h"

int main(int argc, char** argv) {
    return millrace::run_daemon(argc, argv, "md_repl", [](millrace::Daemon& daemon) {
        millrace::md_repl::Replicator replicator(daemon);
        millrace::md_repl::confine(daemon);
        replicator.run();
    });
}
