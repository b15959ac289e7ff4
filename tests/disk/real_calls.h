// The C library's own functions behind those that the disk shim puts in their place. Used in the program under test only.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>

namespace millrace::disk {

/// One row for each function that is called by its own name.
#define MR_REAL_CALLS(X) \
    X(openat) X(fopen64) X(fclose) X(close) X(close_range) X(dup) X(dup2) X(dup3) X(fcntl64) X(chdir) X(fchdir) X(write) X(writev) \
    X(pwrite64) X(pwritev64) X(pwritev64v2) X(ftruncate64) X(truncate64) X(fallocate64) X(posix_fallocate64) X(rename) X(renameat) \
    X(renameat2) X(unlink) X(unlinkat) X(remove) X(rmdir) X(mkdir) X(mkdirat) X(link) X(linkat) X(symlink) X(symlinkat) X(fsync) \
    X(fdatasync) X(sync) X(syncfs)

struct RealCalls {
#define MR_MEMBER(name) decltype(&::name) name;
    MR_REAL_CALLS(MR_MEMBER)
#undef MR_MEMBER
};

/// Looks the functions up at the first call, which may come before any constructor.
const RealCalls& real();

}  // namespace millrace::disk
