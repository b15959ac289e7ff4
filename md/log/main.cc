// md_log: the helper of md that brings the data to disk. Order of start-up: command line and configuration (common/daemon.h), the filter on
// system calls, the segments that md has made, the end of md's loading, the log's last file, ready. Started by the supervisor only.
#include "md/log/confinement.h"
#include "md/log/keeper.h"

int main(int argc, char** argv) {
    return millrace::run_daemon(argc, argv, "md_log", [](millrace::Daemon& daemon) {
        millrace::md_log::confine(daemon);
        millrace::md_log::Keeper(daemon).run();
    });
}
