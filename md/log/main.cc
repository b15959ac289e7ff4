// md_log: the daemon that writes the data to disk. So far it only takes its place in the group: it is started, woken and ended like the others.
#include "common/daemon.h"
#include "common/paths.h"
#include "common/wakeup.h"

int main(int argc, char** argv) {
    return millrace::run_daemon(argc, argv, "md_log", [](millrace::Daemon& daemon) {
        const std::string path = millrace::paths::md_log_fifo(daemon.dir());
        millrace::Fifo fifo(path);
        fifo.prepare_to_wait(path);
        daemon.wake_on_signal(fifo.descriptor());
        daemon.report_ready();
        while (!daemon.stopping() && !daemon.retiring()) {
            daemon.answer_roll_call();
            fifo.wait(-1);
        }
    });
}
