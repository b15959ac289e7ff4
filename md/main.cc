// md: the daemon that owns the data. Order of start-up: command line and configuration (common/daemon.h), the lease, which
// a standby waits for, the store, counters and roster, the FIFO, the channels of all io_conn, ready. Started by the
// supervisor only.
#include <malloc.h>

#include "common/daemon.h"
#include "md/loop.h"

namespace {

/// Values of this size and more get pages of their own from the kernel and go back to it when they are freed, bytes. Set
/// once, because glibc would otherwise raise the limit with each one freed and keep the memory.
constexpr int kOwnPagesFromBytes = 128 * 1024;

}  // namespace

int main(int argc, char** argv) {
    mallopt(M_MMAP_THRESHOLD, kOwnPagesFromBytes);
    mallopt(M_TRIM_THRESHOLD, kOwnPagesFromBytes);
    return millrace::run_daemon(argc, argv, "md", [](millrace::Daemon& daemon) {
        millrace::md::Lease lease(daemon);
        if (!lease.acquire()) return;
        millrace::md::Loop loop(daemon, lease);
        loop.run();
    });
}
