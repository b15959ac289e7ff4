// md: the daemon that owns the data. Order of start-up: command line and configuration (common/daemon.h), a process that reads the snapshot if there
// is one to be loaded, the filter on system
// calls, the lease, which a standby waits for, the store, counters and roster, the FIFO, the channels of all io_conn, ready. Started by the
// supervisor only.
#include <malloc.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "common/daemon.h"
#include "common/disk/data_folder.h"
#include "common/paths.h"
#include "md/confinement.h"
#include "md/loop.h"

namespace {

/// Values of this size and more get pages of their own from the kernel and go back to it when they are freed, bytes. Set
/// once, because glibc would otherwise raise the limit with each one freed and keep the memory.
constexpr int kOwnPagesFromBytes = 128 * 1024;

/// Amnesia mode, for tests: md forgets all that it knows and hands over to the standby after so many milliseconds, again and
/// again. Whatever a client could miss has to be in the store then. 0: it never does.
uint64_t amnesia_microseconds() {
    const char* text = std::getenv("MILLRACE_AMNESIA_MS");
    return text == nullptr ? 0 : static_cast<uint64_t>(std::atol(text)) * 1000;
}

/// A store that has to be made will be filled from the newest snapshot: what helps with that md cannot start later.
millrace::md::LoadHelpers load_helpers(const millrace::Daemon& daemon) {
    if (access(millrace::paths::store(daemon.dir()).c_str(), F_OK) == 0) return {};
    const auto snapshots = millrace::disk::snapshot_files(millrace::disk::data_folder(daemon.dir()));
    if (snapshots.empty()) return {};
    auto reader = millrace::md::ReadAhead::start(snapshots.front());
    return {std::move(reader), millrace::md::BackAhead::start()};
}

}  // namespace

int main(int argc, char** argv) {
    mallopt(M_MMAP_THRESHOLD, kOwnPagesFromBytes);
    mallopt(M_TRIM_THRESHOLD, kOwnPagesFromBytes);
    mallopt(M_ARENA_MAX, 1);  // an arena for another thread would be made by calls that md gives up
    return millrace::run_daemon(argc, argv, "md", [](millrace::Daemon& daemon) {
        auto helpers = load_helpers(daemon);
        millrace::md::confine(daemon);
        const uint64_t amnesia_us = amnesia_microseconds();
        if (amnesia_us != 0 && daemon.arguments().index != 0) daemon.report_standby();  // whoever has the lease just now
        for (millrace::md::Lease lease(daemon); lease.acquire(); lease.hand_over()) {
            millrace::md::Loop(daemon, lease, std::move(helpers)).run(amnesia_us);
            if (daemon.stopping() || amnesia_us == 0) return;
        }
    });
}
