// io_conn: the process that talks to clients. Order of start-up: command line and configuration (common/daemon.h),
// counters, md's segments, the channel, the event loop, the listening sockets, ready. Started by the supervisor only.
#include <malloc.h>
#include <sys/resource.h>

#include "common/daemon.h"
#include "common/log.h"
#include "io_conn/server.h"

namespace {

/// Buffers of this size and more go back to the kernel when they are freed, bytes; see md/main.cc.
constexpr int kOwnPagesFromBytes = 128 * 1024;

/// Descriptors that are no client's: listeners, FIFOs, epoll, log.
constexpr rlim_t kOwnDescriptors = 64;

/// All clients of the group may come to one io_conn, so its limit has to hold maxclients.
void raise_descriptor_limit(const millrace::Options& options) {
    const auto wanted = static_cast<rlim_t>(options.number(millrace::OptionId::maxclients)) + kOwnDescriptors;
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
    const rlim_t hard = limit.rlim_max;
    limit.rlim_cur = limit.rlim_max = wanted;
    if (hard >= wanted || setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        limit = {wanted < hard ? wanted : hard, hard};
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < wanted)
        millrace::log::warning("only {} open files are allowed, {} are needed for maxclients; raise `ulimit -n` or lower "
                               "maxclients",
                               limit.rlim_cur, wanted);
}

}  // namespace

int main(int argc, char** argv) {
    mallopt(M_MMAP_THRESHOLD, kOwnPagesFromBytes);
    mallopt(M_TRIM_THRESHOLD, kOwnPagesFromBytes);
    return millrace::run_daemon(argc, argv, "io_conn", [](millrace::Daemon& daemon) {
        raise_descriptor_limit(daemon.options());
        millrace::io_conn::Server server(daemon);
        server.run();
    });
}
