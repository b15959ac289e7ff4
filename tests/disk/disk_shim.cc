// A library for LD_PRELOAD that journals what a program does to the files of one folder, so that power_loss.py can make the folder as a disk might
// have it after a power loss, and that makes chosen calls fail. A test tool; runs in the program under test.
//
//     LD_PRELOAD=disk_shim.so
//     MILLRACE_SHIM_PROGRAM   the name of the program's file: in any other program nothing happens
//     MILLRACE_SHIM_FOLDER    the folder, absolute; all that lies below it
//     MILLRACE_SHIM_JOURNAL   the journal, outside of the folder; it goes on where it ends
//     MILLRACE_SHIM_CONTROL   the page shared with the test (default: the journal's name + ".control"): counts of calls, and standing orders
//     MILLRACE_SHIM_FAULT     CALL:N:WHAT[:COUNT],...: the N-th CALL (1 = first) since the control file was made, and COUNT - 1 more, or "forever"
//
// CALL is write, sync (fsync and fdatasync of a file, sync, syncfs), dirsync (fsync of a folder), open (with O_CREAT), rename, truncate, allocate,
// unlink (and rmdir) or mkdir. WHAT is the name of an error (the call is not made), short (half of the bytes are written), slow:MS (before the
// call), kill-before, kill-after, or kill-inside (SIGKILL to itself; inside means: after the operation and before its record, see J4). A standing
// order is "CALL WHAT, ..." in the control file, at a place of its own (journal_format.h).
//
// Invariants:
//   J1  An operation that has succeeded is in the journal before its caller learns of it; one that has failed is not. A record is written by one
//       writev to a file opened for appending. A record that is cut short by SIGKILL fails its checksum and is nothing.
//   J2  The order of the records is the order of the operations: one lock of all processes and threads is held from before the operation until its
//       record is written. Only a sync is made without it.
//   J3  A sync has two records. It covers what had been recorded before the first, once the second says that it has succeeded. After one that has
//       failed no later one covers that: the kernel reports an error once and takes the pages for clean.
//   J4  An operation is noted in the control file before it is made. Who finds the lock of a dead process there looks what has become of the noted
//       operation and writes the missing record: what a successor finds on the disk is in the journal.
//   J5  After the constructor the shim itself asks nothing of the kernel but what the program asks as well: write, writev, lseek, fstat, read, and
//       futex for threads. What descriptors and relative paths mean it knows from a table of its own. Paths are handed on by the caller's pointer.
//       J4 alone opens and reads files, at the start or when another process of the program was killed.
//   J6  SIGKILL to itself and waiting are a write and reads (faults.cc); a forked child needs kill.
//   J7  What the shim cannot model it does not pass over: it writes a record that power_loss.py refuses, or ends the program.
//
// Not seen: writes through mmap, FILE (fwrite), sendfile, copy_file_range, io_uring, or system calls made without the C library; mkstemp; changes
// by other programs. `power_loss.py --check` finds them: everything in the journal has to make the folder that there is. Symbolic links below the
// folder are not followed; the folder is one file system, and its own name is outside of it.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/disk/faults.h"
#include "tests/disk/journal.h"
#include "tests/disk/places.h"
#include "tests/disk/real_calls.h"

#define MR_EXPORT extern "C" __attribute__((visibility("default")))

namespace millrace::disk {

namespace {

constexpr int kPartsMax = 1000;

bool watching = false;

const char* needed(const char* variable) {
    const char* const value = getenv(variable);
    return value != nullptr && *value != 0 ? value : (give_up(variable), nullptr);
}

bool is_the_program() {
    const char* const wanted = getenv("MILLRACE_SHIM_PROGRAM");
    char path[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (wanted == nullptr || length <= 0) return false;
    path[length] = 0;
    return std::strcmp(std::strrchr(path, '/') + 1, wanted) == 0;
}

__attribute__((constructor)) void start() {
    real();
    if (!is_the_program()) return;
    const char* const journal = needed("MILLRACE_SHIM_JOURNAL");
    const char* control = getenv("MILLRACE_SHIM_CONTROL");
    char beside[PATH_MAX];
    std::snprintf(beside, sizeof beside, "%s.control", journal);
    if (control == nullptr) control = beside;
    prepare_places(needed("MILLRACE_SHIM_FOLDER"));
    open_journal(watched_folder(), journal, control);
    prepare_faults(getenv("MILLRACE_SHIM_FAULT"));
    note_inherited_descriptors();
    watching = true;
}

/// Begins the call. Whether it is to fail: errno is set then.
bool fails(const Fault& fault) {
    before(fault);
    if (fault.what != What::error) return false;
    errno = fault.value;
    return true;
}

/// J7
void unmodelled(const char* what) { Turn().done(Kind::unmodelled, {.path = what}); }

template <class Real>
int open_below(const Resolved& where, int flags, const Fault& fault, Real call) {
    const uint32_t noted = (flags & O_CREAT ? kCreates : 0) | (flags & O_TRUNC ? kEmpties : 0);
    Turn turn;
    turn.begin(Kind::open, {.flags = noted, .path = where.below});
    const int fd = call();
    inside(fault);
    uint64_t size = 0;
    const Descriptor* const made = fd < 0 ? nullptr : note_descriptor(fd, flags, where.below, where.absolute, size);
    if (made == nullptr || made->place != Place::file)
        turn.failed();
    else
        turn.done(Kind::open, {.id = made->id, .offset = size, .flags = noted, .path = made->path});
    return fd;
}

template <class Real>
int open_somewhere(int dirfd, const char* path, int flags, Real call) {
    if (!watching) return call();
    const Resolved where(dirfd, path);
    if (where.below == nullptr) {
        const int fd = call();
        uint64_t size = 0;
        if (fd >= 0) note_descriptor(fd, flags, nullptr, where.absolute, size);
        return fd;
    }
    if ((flags & O_TMPFILE) == O_TMPFILE) unmodelled("O_TMPFILE");
    const Fault fault = flags & O_CREAT ? next_fault(Call::open) : Fault{};
    if (fails(fault)) return -1;
    const int fd = open_below(where, flags, fault, call);
    after(fault);
    return fd;
}

int open_by_flags(int dirfd, const char* path, int flags, mode_t mode) {
    return open_somewhere(dirfd, path, flags, [&] { return real().openat(dirfd, path, flags, mode); });
}

int flags_of_mode(const char* mode) {
    const int access = std::strchr(mode, '+') != nullptr ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    return access | (mode[0] == 'w' ? O_CREAT | O_TRUNC : mode[0] == 'a' ? O_CREAT | O_APPEND : 0);
}

FILE* open_stream(const char* path, const char* mode) {
    FILE* stream = nullptr;
    open_somewhere(AT_FDCWD, path, flags_of_mode(mode), [&] {
        stream = real().fopen64(path, mode);
        return stream == nullptr ? -1 : fileno(stream);
    });
    return stream;
}

int close_one(int fd) {
    if (watching && is_own_descriptor(fd)) return errno = EBADF, -1;
    forget_descriptor(fd);
    return real().close(fd);
}

/// All but the shim's own.
int close_several(unsigned first, unsigned last, int flags) {
    if (!watching || flags != 0) return real().close_range(first, last, flags);
    for (int fd = 0; fd < kDescriptors; ++fd)
        if (static_cast<unsigned>(fd) >= first && static_cast<unsigned>(fd) <= last) forget_descriptor(fd);
    while (first <= last) {
        const unsigned own = next_own_descriptor(first);
        if (own > first && real().close_range(first, std::min(own - 1, last), 0) != 0) return -1;
        if (own >= last) return 0;
        first = own + 1;
    }
    return 0;
}

int copied(int from, int to) {
    if (watching && to >= 0) copy_descriptor(from, to);
    return to;
}

int control_descriptor(int fd, int command, void* argument) {
    const int result = real().fcntl64(fd, command, argument);
    if (!watching || result < 0) return result;
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) copy_descriptor(fd, result);
    Descriptor* const known = find_descriptor(fd);
    if (command == F_SETFL && known != nullptr) known->appends = (reinterpret_cast<intptr_t>(argument) & O_APPEND) != 0;
    return result;
}

Descriptor* watched_file(int fd) {
    Descriptor* const known = watching ? find_descriptor(fd) : nullptr;
    return known != nullptr && known->place == Place::file ? known : nullptr;
}

size_t sum(const iovec* parts, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += parts[i].iov_len;
    return bytes;
}

/// The first `limit` bytes of the parts, and no more parts than a record can have; in room that belongs to the holder of the lock.
const iovec* first_parts(const iovec* parts, int& count, size_t limit) {
    static iovec chosen[kPartsMax];
    int made = 0;
    for (; made < std::min(count, kPartsMax) && limit > 0; ++made) {
        chosen[made] = {parts[made].iov_base, std::min(limit, parts[made].iov_len)};
        limit -= chosen[made].iov_len;
    }
    count = std::max(made, std::min(count, 1));
    return made > 0 ? chosen : parts;
}

/// Where the file offset is, or the end where every write goes to the end.
uint64_t offset_of_write(int fd, const Descriptor& to, off64_t placed) {
    if (!to.appends) return static_cast<uint64_t>(placed >= 0 ? placed : lseek64(fd, 0, SEEK_CUR));
    struct stat state {};
    if (fstat(fd, &state) != 0) give_up("fstat");
    return static_cast<uint64_t>(state.st_size);
}

template <class Real>
ssize_t write_noted(int fd, const Descriptor& to, const iovec* parts, int count, off64_t placed, const Fault& fault, Real call) {
    const size_t bytes = sum(parts, count);
    Turn turn;
    parts = first_parts(parts, count, fault.what == What::cut_short ? std::max<size_t>(bytes / 2, 1) : bytes);
    const uint64_t offset = offset_of_write(fd, to, placed);
    turn.begin(Kind::write, {.id = to.id, .offset = offset, .path = to.path, .bytes = sum(parts, count)});
    const ssize_t written = call(parts, count);
    inside(fault);
    if (written <= 0)
        turn.failed();
    else
        turn.done(Kind::write, {.id = to.id,
                                .offset = offset,
                                .flags = to.durable ? kDurable : 0,
                                .parts = parts,
                                .bytes = static_cast<size_t>(written)});
    return written;
}

/// `placed` is the offset that the caller names, -1 if none.
template <class Real>
ssize_t write_parts(int fd, const iovec* parts, int count, off64_t placed, Real call) {
    const Descriptor* const to = watched_file(fd);
    if (to == nullptr) return call(parts, count);
    const Fault fault = next_fault(Call::write);
    if (fails(fault)) return -1;
    const ssize_t written = write_noted(fd, *to, parts, count, placed, fault, call);
    after(fault);
    return written;
}

template <class Real>
int sync_noted(const Entry& what, const Fault& fault, Real call) {
    Entry entry = what;
    {
        Turn turn;
        entry.token = turn.new_token();
        turn.done(Kind::sync_begins, entry);
    }
    const int result = fails(fault) ? -1 : call();
    inside(fault);
    Turn().done(result == 0 ? Kind::sync_ends : Kind::sync_fails, {.offset = static_cast<uint64_t>(result == 0 ? 0 : errno), .token = entry.token});
    return result;
}

template <class Real>
int sync_one(int fd, Real call) {
    const Descriptor* const known = watching ? find_descriptor(fd) : nullptr;
    const bool folder = known != nullptr && known->place == Place::folder;
    const char* const below = folder ? below_of(known->path) : nullptr;
    if (known == nullptr || (folder && below == nullptr)) return call();
    const Fault fault = next_fault(folder ? Call::dirsync : Call::sync);
    const int result = sync_noted(folder ? Entry{.flags = kFolder, .path = below} : Entry{.id = known->id}, fault, call);
    after(fault);
    return result;
}

template <class Real>
int sync_everything(Real call) {
    if (!watching) return call();
    const Fault fault = next_fault(Call::sync);
    const int result = sync_noted({.flags = kEverything}, fault, call);
    after(fault);
    return result;
}

/// An operation with one record. `call` returns whether it has succeeded.
template <class Real>
bool do_noted(Call counted, Kind kind, const Entry& entry, Real call) {
    const Fault fault = next_fault(counted);
    if (fails(fault)) return false;
    bool done = false;
    {
        Turn turn;
        turn.begin(kind, entry);
        done = call();
        inside(fault);
        if (done)
            turn.done(kind, entry);
        else
            turn.failed();
    }
    after(fault);
    return done;
}

template <class Real>
int truncate_file(int fd, off64_t size, Real call) {
    const Descriptor* const file = watched_file(fd);
    if (file == nullptr) return call();
    const Entry entry{.id = file->id, .offset = static_cast<uint64_t>(size), .path = file->path};
    return do_noted(Call::truncate, Kind::truncate, entry, [&] { return call() == 0; }) ? 0 : -1;
}

/// `call` returns an errno.
template <class Real>
int allocate(int fd, int mode, off64_t offset, off64_t bytes, Real call) {
    const Descriptor* const file = watched_file(fd);
    if (file == nullptr) return call();
    if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0) unmodelled("fallocate with a mode");
    const Entry entry{.id = file->id, .offset = mode & FALLOC_FL_KEEP_SIZE ? 0 : static_cast<uint64_t>(offset + bytes), .path = file->path};
    int error = 0;
    return do_noted(Call::allocate, Kind::extend, entry, [&] { return (error = call()) == 0; }) ? 0 : error != 0 ? error : errno;
}

template <class Real>
int change_name(Call counted, Kind kind, int dirfd, const char* path, Real call) {
    if (!watching) return call();
    const Resolved where(dirfd, path);
    if (where.below == nullptr) return call();
    return do_noted(counted, kind, {.path = where.below}, [&] { return call() == 0; }) ? 0 : -1;
}

template <class Real>
int rename_name(int from_dirfd, const char* from_path, int to_dirfd, const char* to_path, unsigned flags, Real call) {
    if (!watching) return call();
    const Resolved from(from_dirfd, from_path), to(to_dirfd, to_path);
    if (from.below == nullptr && to.below == nullptr) return call();
    if (from.below == nullptr || to.below == nullptr || (flags & ~RENAME_NOREPLACE) != 0) {
        unmodelled("rename into, out of, or with flags");
        return call();
    }
    const bool done = do_noted(Call::rename, Kind::rename, {.path = from.below, .other = to.below}, [&] {
        if (call() != 0) return false;
        rename_descriptors(from.below, to.below);
        return true;
    });
    return done ? 0 : -1;
}

template <class Real>
int make_link(int dirfd, const char* path, Real call) {
    if (watching && Resolved(dirfd, path).below != nullptr) unmodelled("a link");
    return call();
}

int change_folder(int result, const char* absolute) {
    if (watching && result == 0) changed_folder(absolute);
    return result;
}

int error_or_zero(int result) { return result == 0 ? 0 : errno; }

int or_errno(int error) {
    if (error != 0) errno = error;
    return error == 0 ? 0 : -1;
}

}  // namespace

}  // namespace millrace::disk

using namespace millrace::disk;

#include "tests/disk/interposed.h"
