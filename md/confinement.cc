// See confinement.h. Runs in md.
#include "md/confinement.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/call_filter.h"

namespace millrace::md {

void load_call_filter() {
    CallFilter filter(Forbidden::ends_by_abort);
    filter.allow({SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise)});
    filter.allow_if(SCMP_SYS(mmap), {int_is(2, 0, ~static_cast<uint32_t>(PROT_READ | PROT_WRITE))});
    // Segments, FIFOs, /proc of a dying md; the data folder, while it is loaded.
    filter.allow({SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(close), SCMP_SYS(stat), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(access),
                  SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
                  SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(fstatfs), SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pread64),
                  SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(lseek), SCMP_SYS(getdents64), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(fadvise64), SCMP_SYS(link),
                  SCMP_SYS(linkat)});
    filter.allow({SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(futex), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(clock_nanosleep),
                  SCMP_SYS(nanosleep), SCMP_SYS(sched_yield), SCMP_SYS(restart_syscall), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getrusage), SCMP_SYS(getrandom),
                  SCMP_SYS(sysinfo), SCMP_SYS(setpriority), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
                  SCMP_SYS(exit), SCMP_SYS(exit_group)});
    filter.allow_if(SCMP_SYS(prlimit64), {int_is(0, 0), word_is(2, 0)});
    filter.allow_if(SCMP_SYS(kill), {int_is(1, SIGKILL)});
    filter.allow_if(SCMP_SYS(kill), {int_is(1, 0)});
    filter.allow_if(SCMP_SYS(tgkill), {int_is(0, static_cast<uint32_t>(getpid()))});
    filter.forbid_otherwise({SCMP_SYS(kill), SCMP_SYS(tgkill), SCMP_SYS(mmap)});
    filter.forbid_foreign_business();
    filter.forbid({SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(pidfd_open), SCMP_SYS(mprotect), SCMP_SYS(pkey_mprotect),
                   SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4)});
    filter.load();
}

void confine(const Daemon& daemon) { load_if_wanted(daemon.options(), load_call_filter); }

}  // namespace millrace::md
