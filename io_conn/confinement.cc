// See confinement.h. Runs in io_conn.
#include "io_conn/confinement.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/call_filter.h"
#include "common/check.h"
#include "common/paths.h"
#include "common/roster.h"

namespace millrace::io_conn {

namespace {

/// What a segment of its own may grow to, bytes: more than the clients of the highest maxclients take.
constexpr uint64_t kSegmentBytesMax = 512ull << 20;

/// Memory of the process's own, as malloc takes and returns it (X2).
void allow_memory(CallFilter& filter) {
    constexpr uint32_t kWithoutReserve = ~static_cast<uint32_t>(MAP_NORESERVE);
    filter.allow({SCMP_SYS(brk)});
    filter.allow_if(SCMP_SYS(mmap), {word_is(0, 0), int_is(2, 0, ~static_cast<uint32_t>(PROT_READ | PROT_WRITE)), int_is(3, MAP_PRIVATE | MAP_ANONYMOUS, kWithoutReserve)});
    filter.allow_if(SCMP_SYS(mmap), {word_is(0, 0), int_is(2, PROT_READ), int_is(3, MAP_SHARED, kWithoutReserve)});
    filter.allow_if(SCMP_SYS(munmap), {at_least(0, kProtectedEnd)});
    filter.allow_if(SCMP_SYS(mremap), {at_least(0, kProtectedEnd), int_is(3, MREMAP_MAYMOVE)});
    filter.allow_if(SCMP_SYS(madvise), {at_least(0, kProtectedEnd), int_is(2, MADV_DONTNEED)});
    filter.forbid_otherwise({SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap)});
}

void allow_files(CallFilter& filter, const ProtectedNames& names) {
    const auto name_of = [&](unsigned argument, NameUse use) { return word_is(argument, names.area(use).begin, names.area(use).mask()); };
    constexpr auto kHere = static_cast<uint32_t>(AT_FDCWD);
    constexpr uint32_t kHarmless = O_CLOEXEC | O_NONBLOCK;
    filter.allow_if(SCMP_SYS(openat), {int_is(0, kHere), name_of(1, NameUse::look), int_is(2, O_RDONLY, ~kHarmless)});
    filter.allow_if(SCMP_SYS(openat), {int_is(0, kHere), name_of(1, NameUse::wake), int_is(2, O_RDWR, ~kHarmless)});
    for (const NameUse use : {NameUse::look, NameUse::wake}) {
        filter.allow_if(SCMP_SYS(newfstatat), {int_is(0, kHere), name_of(1, use), int_is(3, 0)});
        filter.allow_if(SCMP_SYS(stat), {name_of(0, use)});  // what older C libraries call
    }
    filter.allow_if(SCMP_SYS(fallocate), {int_is(1, 0), word_is(2, 0), at_most(3, kSegmentBytesMax)});
    filter.allow({SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(close)});
}

void allow_sockets(CallFilter& filter, const ProtectedNames& names) {
    const NameArea& addresses = names.area(NameUse::connect);
    filter.allow({SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
                  SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(poll), SCMP_SYS(ppoll)});
    filter.allow_if(SCMP_SYS(sendmsg), {int_is(2, MSG_NOSIGNAL)});
    filter.allow_if(SCMP_SYS(socket), {int_is(0, AF_UNIX), int_is(1, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC), int_is(2, 0)});
    filter.allow_if(SCMP_SYS(connect), {word_is(1, addresses.begin, addresses.mask()), int_is(2, sizeof(sockaddr_un))});
    filter.allow_if(SCMP_SYS(setsockopt), {int_is(1, SOL_SOCKET), int_is(2, SO_KEEPALIVE)});
    for (const uint32_t option : {TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT})
        filter.allow_if(SCMP_SYS(setsockopt), {int_is(1, IPPROTO_TCP), int_is(2, option)});
}

/// Its own signals, limits and end, and the time.
void allow_process(CallFilter& filter) {
    filter.allow({SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
                  SCMP_SYS(getrandom), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
                  SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group)});
    filter.allow_if(SCMP_SYS(prlimit64), {int_is(0, 0), int_is(1, RLIMIT_NOFILE)});
    filter.allow_if(SCMP_SYS(rt_sigaction), {int_is(0, SIGABRT)});
    filter.allow_if(SCMP_SYS(tgkill), {int_is(0, static_cast<uint32_t>(getpid())), int_is(2, SIGABRT)});
    filter.forbid_otherwise({SCMP_SYS(tgkill), SCMP_SYS(prlimit64)});
}

}  // namespace

ProtectedNames names_of_group(const std::string& dir, std::span<const sockaddr_un> doors) {
    ProtectedNames names;
    for_each_place([&](const char* role, unsigned index) {
        names.add(NameUse::look, paths::counters(dir, role, index));
        names.add(NameUse::look, paths::diagnostics(dir, role, index));
    });
    for (unsigned index = 0; index < kMaxIoConns; ++index) {
        names.add(NameUse::look, paths::clients(dir, index));
        names.add(NameUse::wake, paths::io_conn_fifo(dir, index));
    }
    for (const std::string& path : {paths::store(dir), paths::roster(dir), paths::marks(dir)}) names.add(NameUse::look, path);
    for (const sockaddr_un& address : doors) names.add(address);
    return names;
}

void load_call_filter(const ProtectedNames& names) {
    CallFilter filter(Forbidden::ends_by_kernel);
    allow_memory(filter);
    allow_files(filter, names);
    allow_sockets(filter, names);
    allow_process(filter);
    filter.forbid_foreign_business();
    filter.forbid({SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(kill), SCMP_SYS(shutdown), SCMP_SYS(pidfd_open),
                   SCMP_SYS(process_madvise), SCMP_SYS(mprotect), SCMP_SYS(pkey_mprotect), SCMP_SYS(remap_file_pages), SCMP_SYS(shmat)});
    filter.load();
}

void confine(const Daemon& daemon, std::span<const sockaddr_un> doors) {
    load_if_wanted(daemon.options(), [&] {
        ProtectedNames names = names_of_group(daemon.dir(), doors);
        names.seal();
        load_call_filter(names);
    });
}

}  // namespace millrace::io_conn
