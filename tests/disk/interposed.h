// The functions of the C library that disk_shim.cc puts in their place, each a line that hands on what it means; names with 64 and __ are what
// programs built with large files or checks call. Part of disk_shim.cc alone.
#pragma once

/// The mode of an open that may create a file.
#define MR_TAKE_MODE(flags) \
    mode_t mode = 0; \
    if (((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) != 0) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

#define MR_OPEN(name) \
    MR_EXPORT int name(const char* path, int flags, ...) { \
        MR_TAKE_MODE(flags) \
        return open_by_flags(AT_FDCWD, path, flags, mode); \
    }
#define MR_OPENAT(name) \
    MR_EXPORT int name(int dirfd, const char* path, int flags, ...) { \
        MR_TAKE_MODE(flags) \
        return open_by_flags(dirfd, path, flags, mode); \
    }
MR_OPEN(open)
MR_OPEN(open64)
MR_OPEN(__open)
MR_OPEN(__open64)
MR_OPENAT(openat)
MR_OPENAT(openat64)
MR_EXPORT int __open_2(const char* path, int flags) { return open_by_flags(AT_FDCWD, path, flags, 0); }
MR_EXPORT int __open64_2(const char* path, int flags) { return open_by_flags(AT_FDCWD, path, flags, 0); }
MR_EXPORT int __openat_2(int dirfd, const char* path, int flags) { return open_by_flags(dirfd, path, flags, 0); }
MR_EXPORT int __openat64_2(int dirfd, const char* path, int flags) { return open_by_flags(dirfd, path, flags, 0); }
MR_EXPORT int creat(const char* path, mode_t mode) { return open_by_flags(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
MR_EXPORT int creat64(const char* path, mode_t mode) { return open_by_flags(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
/// std::ofstream opens like this, and writes with write and writev.
MR_EXPORT FILE* fopen(const char* path, const char* mode) { return open_stream(path, mode); }
MR_EXPORT FILE* fopen64(const char* path, const char* mode) { return open_stream(path, mode); }

MR_EXPORT int close(int fd) { return close_one(fd); }
MR_EXPORT int __close(int fd) { return close_one(fd); }
MR_EXPORT int fclose(FILE* stream) {
    forget_descriptor(fileno(stream));
    return real().fclose(stream);
}
MR_EXPORT int close_range(unsigned first, unsigned last, int flags) noexcept { return close_several(first, last, flags); }
MR_EXPORT void closefrom(int first) noexcept { close_several(static_cast<unsigned>(std::max(first, 0)), ~0u, 0); }
MR_EXPORT int dup(int fd) noexcept { return copied(fd, real().dup(fd)); }
MR_EXPORT int dup2(int fd, int to) noexcept { return copied(fd, real().dup2(fd, to)); }
MR_EXPORT int __dup2(int fd, int to) noexcept { return copied(fd, real().dup2(fd, to)); }
MR_EXPORT int dup3(int fd, int to, int flags) noexcept { return copied(fd, real().dup3(fd, to, flags)); }

#define MR_FCNTL(name) \
    MR_EXPORT int name(int fd, int command, ...) { \
        va_list rest; \
        va_start(rest, command); \
        void* const argument = va_arg(rest, void*); \
        va_end(rest); \
        return control_descriptor(fd, command, argument); \
    }
MR_FCNTL(fcntl)
MR_FCNTL(fcntl64)
MR_FCNTL(__fcntl)
/// A child that closes descriptors shall not do it in its parent's table.
MR_EXPORT pid_t vfork() noexcept { return fork(); }
MR_EXPORT int chdir(const char* path) noexcept { return change_folder(real().chdir(path), Resolved(AT_FDCWD, path).absolute); }
MR_EXPORT int fchdir(int fd) noexcept { return change_folder(real().fchdir(fd), Resolved(fd, ".").absolute); }

#define MR_WRITE(name) \
    MR_EXPORT ssize_t name(int fd, const void* bytes, size_t count) { \
        const iovec part{const_cast<void*>(bytes), count}; \
        return write_parts(fd, &part, 1, -1, [&](const iovec* parts, int) { return real().write(fd, parts->iov_base, parts->iov_len); }); \
    }
#define MR_PWRITE(name) \
    MR_EXPORT ssize_t name(int fd, const void* bytes, size_t count, off64_t offset) { \
        const iovec part{const_cast<void*>(bytes), count}; \
        return write_parts(fd, &part, 1, offset, \
                           [&](const iovec* parts, int) { return real().pwrite64(fd, parts->iov_base, parts->iov_len, offset); }); \
    }
#define MR_PWRITEV(name) \
    MR_EXPORT ssize_t name(int fd, const iovec* given, int count, off64_t offset) { \
        return write_parts(fd, given, count, offset, [&](const iovec* parts, int some) { return real().pwritev64(fd, parts, some, offset); }); \
    }
/// What the flags may ask for is not modelled.
#define MR_PWRITEV2(name) \
    MR_EXPORT ssize_t name(int fd, const iovec* given, int count, off64_t offset, int flags) { \
        if (flags != 0 && watched_file(fd) != nullptr) unmodelled("pwritev2 with flags"); \
        return write_parts(fd, given, count, offset, \
                           [&](const iovec* parts, int some) { return real().pwritev64v2(fd, parts, some, offset, flags); }); \
    }
MR_WRITE(write)
MR_WRITE(__write)
MR_PWRITE(pwrite)
MR_PWRITE(pwrite64)
MR_PWRITE(__pwrite64)
MR_PWRITEV(pwritev)
MR_PWRITEV(pwritev64)
MR_PWRITEV2(pwritev2)
MR_PWRITEV2(pwritev64v2)
MR_EXPORT ssize_t writev(int fd, const iovec* given, int count) {
    return write_parts(fd, given, count, -1, [&](const iovec* parts, int some) { return real().writev(fd, parts, some); });
}

MR_EXPORT int fsync(int fd) { return sync_one(fd, [&] { return real().fsync(fd); }); }
MR_EXPORT int fdatasync(int fd) { return sync_one(fd, [&] { return real().fdatasync(fd); }); }
MR_EXPORT int syncfs(int fd) noexcept {
    const auto call = [&] { return real().syncfs(fd); };
    return find_descriptor(fd) == nullptr ? call() : sync_everything(call);
}
MR_EXPORT void sync() noexcept {
    sync_everything([] { return real().sync(), 0; });
}

#define MR_FTRUNCATE(name) \
    MR_EXPORT int name(int fd, off64_t size) noexcept { return truncate_file(fd, size, [&] { return real().ftruncate64(fd, size); }); }
MR_FTRUNCATE(ftruncate)
MR_FTRUNCATE(ftruncate64)

#define MR_TRUNCATE(name) \
    MR_EXPORT int name(const char* path, off64_t size) noexcept { \
        const auto call = [&] { return real().truncate64(path, size); }; \
        const Resolved where(AT_FDCWD, path); \
        if (!watching || where.below == nullptr) return call(); \
        const Entry entry{.offset = static_cast<uint64_t>(size), .path = where.below}; \
        return do_noted(Call::truncate, Kind::truncate, entry, [&] { return call() == 0; }) ? 0 : -1; \
    }
MR_TRUNCATE(truncate)
MR_TRUNCATE(truncate64)

#define MR_FALLOCATE(name) \
    MR_EXPORT int name(int fd, int mode, off64_t offset, off64_t bytes) { \
        return or_errno(allocate(fd, mode, offset, bytes, [&] { return error_or_zero(real().fallocate64(fd, mode, offset, bytes)); })); \
    }
#define MR_POSIX_FALLOCATE(name) \
    MR_EXPORT int name(int fd, off64_t offset, off64_t bytes) { \
        return allocate(fd, 0, offset, bytes, [&] { return real().posix_fallocate64(fd, offset, bytes); }); \
    }
MR_FALLOCATE(fallocate)
MR_FALLOCATE(fallocate64)
MR_POSIX_FALLOCATE(posix_fallocate)
MR_POSIX_FALLOCATE(posix_fallocate64)

MR_EXPORT int rename(const char* from, const char* to) noexcept {
    return rename_name(AT_FDCWD, from, AT_FDCWD, to, 0, [&] { return real().rename(from, to); });
}
MR_EXPORT int renameat(int from_dirfd, const char* from, int to_dirfd, const char* to) noexcept {
    return rename_name(from_dirfd, from, to_dirfd, to, 0, [&] { return real().renameat(from_dirfd, from, to_dirfd, to); });
}
MR_EXPORT int renameat2(int from_dirfd, const char* from, int to_dirfd, const char* to, unsigned flags) noexcept {
    return rename_name(from_dirfd, from, to_dirfd, to, flags, [&] { return real().renameat2(from_dirfd, from, to_dirfd, to, flags); });
}
MR_EXPORT int unlink(const char* path) noexcept {
    return change_name(Call::unlink, Kind::unlink, AT_FDCWD, path, [&] { return real().unlink(path); });
}
MR_EXPORT int unlinkat(int dirfd, const char* path, int flags) noexcept {
    return change_name(Call::unlink, Kind::unlink, dirfd, path, [&] { return real().unlinkat(dirfd, path, flags); });
}
MR_EXPORT int rmdir(const char* path) noexcept {
    return change_name(Call::unlink, Kind::unlink, AT_FDCWD, path, [&] { return real().rmdir(path); });
}
MR_EXPORT int remove(const char* path) noexcept {
    return change_name(Call::unlink, Kind::unlink, AT_FDCWD, path, [&] { return real().remove(path); });
}
MR_EXPORT int mkdir(const char* path, mode_t mode) noexcept {
    return change_name(Call::mkdir, Kind::make_folder, AT_FDCWD, path, [&] { return real().mkdir(path, mode); });
}
MR_EXPORT int mkdirat(int dirfd, const char* path, mode_t mode) noexcept {
    return change_name(Call::mkdir, Kind::make_folder, dirfd, path, [&] { return real().mkdirat(dirfd, path, mode); });
}
MR_EXPORT int link(const char* from, const char* to) noexcept {
    return make_link(AT_FDCWD, to, [&] { return real().link(from, to); });
}
MR_EXPORT int linkat(int from_dirfd, const char* from, int to_dirfd, const char* to, int flags) noexcept {
    return make_link(to_dirfd, to, [&] { return real().linkat(from_dirfd, from, to_dirfd, to, flags); });
}
MR_EXPORT int symlink(const char* from, const char* to) noexcept {
    return make_link(AT_FDCWD, to, [&] { return real().symlink(from, to); });
}
MR_EXPORT int symlinkat(const char* from, int dirfd, const char* to) noexcept {
    return make_link(dirfd, to, [&] { return real().symlinkat(from, dirfd, to); });
}
