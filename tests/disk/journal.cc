// See journal.h. Runs in the program under test.
#include "tests/disk/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/disk/real_calls.h"

namespace millrace::disk {

namespace {

constexpr int kFirstOwnDescriptor = 700, kOwnDescriptorsMax = 8;
constexpr size_t kPartsMax = 1024;

int own_descriptors[kOwnDescriptorsMax], own_count = 0;
int journal_fd = -1;
pid_t pid = 0;
bool forked = false;
Control* page = nullptr;
char root[kPathBytes];
/// Of whoever holds the lock.
iovec record_parts[kPartsMax];
char chunk[64 * 1024];

/// Adler-32 (RFC 1950), of several pieces.
class Adler {
  public:
    void add(const void* bytes, size_t count) {
        const auto* at = static_cast<const unsigned char*>(bytes);
        while (count > 0) {
            const size_t some = std::min(count, kBeforeOverflow);
            for (size_t i = 0; i < some; ++i) high_ += low_ += at[i];
            low_ %= kModulus;
            high_ %= kModulus;
            at += some;
            count -= some;
        }
    }
    uint32_t value() const { return high_ << 16 | low_; }

  private:
    static constexpr size_t kBeforeOverflow = 5552;
    static constexpr uint32_t kModulus = 65521;
    uint32_t low_ = 1, high_ = 0;
};

void write_record(Kind kind, const Entry& entry) {
    const size_t path = std::strlen(entry.path), other = std::strlen(entry.other);
    RecordHead head{.magic = kRecordMagic,
                    .check = 0,
                    .bytes = static_cast<uint32_t>(sizeof head + path + other + entry.bytes),
                    .kind = static_cast<uint32_t>(kind),
                    .id = entry.id,
                    .offset = entry.offset,
                    .token = entry.token,
                    .flags = entry.flags,
                    .pid = static_cast<uint32_t>(pid),
                    .path_bytes = static_cast<uint32_t>(path),
                    .other_bytes = static_cast<uint32_t>(other)};
    size_t count = 0;
    record_parts[count++] = {&head, sizeof head};
    if (path > 0) record_parts[count++] = {const_cast<char*>(entry.path), path};
    if (other > 0) record_parts[count++] = {const_cast<char*>(entry.other), other};
    size_t left = entry.bytes;
    for (const iovec* part = entry.parts; left > 0; ++part) {
        if (part->iov_len == 0) continue;
        if (count == kPartsMax) give_up("a write has too many parts");
        record_parts[count] = {part->iov_base, std::min(left, part->iov_len)};
        left -= record_parts[count++].iov_len;
    }
    Adler adler;
    adler.add(&head.bytes, sizeof head - offsetof(RecordHead, bytes));
    for (size_t i = 1; i < count; ++i) adler.add(record_parts[i].iov_base, record_parts[i].iov_len);
    head.check = adler.value();
    const ssize_t written = real().writev(journal_fd, record_parts, static_cast<int>(count));
    if (written != static_cast<ssize_t>(head.bytes)) give_up("the journal cannot be written");
}

/// The file at a path of the folder, for looking only; -1 when there is none.
int look_at(const char* path) {
    char whole[2 * kPathBytes];
    std::snprintf(whole, sizeof whole, "%s/%s", root, path);
    const int fd = real().openat(AT_FDCWD, whole, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT && errno != ENOTDIR) give_up("a killed process was in the middle of an operation that cannot be looked at");
    return fd;
}

/// Records the bytes that lie where a killed process was about to write: written or not, they are what a successor has found.
void record_what_is_there(int fd, const Pending& pending, uint64_t size) {
    const uint64_t end = std::min(size, pending.offset + pending.bytes);
    for (uint64_t at = pending.offset; at < end;) {
        const ssize_t got = pread(fd, chunk, std::min<uint64_t>(sizeof chunk, end - at), static_cast<off_t>(at));
        if (got <= 0) give_up("a killed process was in the middle of a write that cannot be read");
        const iovec part{chunk, static_cast<size_t>(got)};
        write_record(Kind::write, {.id = pending.id, .offset = at, .parts = &part, .bytes = part.iov_len});
        at += static_cast<uint64_t>(got);
    }
}

void settle_file(int fd, const Pending& pending) {
    struct stat state {};
    if (fd < 0) return;  // never made, or unlinked since: nobody will read it
    if (fstat(fd, &state) != 0) give_up("fstat");
    if (!S_ISREG(state.st_mode)) return;
    const auto id = static_cast<uint64_t>(state.st_ino), size = static_cast<uint64_t>(state.st_size);
    const auto kind = static_cast<Kind>(pending.kind);
    if (kind == Kind::open) {
        const uint32_t flags = size == 0 ? pending.flags : pending.flags & ~kEmpties;
        return write_record(kind, {.id = id, .offset = size, .flags = flags, .path = pending.path});
    }
    if (pending.id != 0 && id != pending.id)
        return write_record(Kind::unmodelled, {.path = "killed in the middle of an operation on a file that has another name since"});
    if (kind == Kind::write) return record_what_is_there(fd, pending, size);
    write_record(Kind::truncate, {.id = id, .offset = size});
}

/// J4: the process that held the lock is gone; what of its operation has happened is what the disk shows.
void settle(const Pending& pending) {
    const int fd = look_at(pending.path);
    switch (static_cast<Kind>(pending.kind)) {
        case Kind::rename:
            if (fd < 0) write_record(Kind::rename, {.path = pending.path, .other = pending.other});
            break;
        case Kind::unlink:
            if (fd < 0) write_record(Kind::unlink, {.path = pending.path});
            break;
        case Kind::make_folder:
            if (fd >= 0) write_record(Kind::make_folder, {.path = pending.path});
            break;
        default:
            settle_file(fd, pending);
    }
    if (fd >= 0) real().close(fd);
}

void copy_path(char (&to)[kPathBytes], const char* from) {
    if (std::snprintf(to, sizeof to, "%s", from) >= static_cast<int>(sizeof to)) give_up("a path is too long");
}

void make_lock(pthread_mutex_t& lock) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&lock, &attributes);
}

void open_control(const char* name) {
    const int fd = real().openat(AT_FDCWD, name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || flock(fd, LOCK_EX) != 0 || real().ftruncate64(fd, kControlBytes) != 0) give_up("the control file cannot be opened");
    void* const mapped = mmap(nullptr, kControlBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) give_up("the control file cannot be mapped");
    page = static_cast<Control*>(mapped);
    if (page->magic != kControlMagic) make_lock(page->lock);
    page->magic = kControlMagic;
    flock(fd, LOCK_UN);  // the mapping would keep it
    real().close(fd);
}

}  // namespace

void give_up(const char* what) {
    char line[256];
    const int length = std::snprintf(line, sizeof line, "disk_shim: %s (errno %d)\n", what, errno);
    [[maybe_unused]] const ssize_t written = real().write(STDERR_FILENO, line, static_cast<size_t>(length));
    std::abort();
}

int keep_descriptor(int fd) {
    if (fd < 0) give_up("no descriptor");
    const int high = real().fcntl64(fd, F_DUPFD_CLOEXEC, kFirstOwnDescriptor);
    if (high < 0 || own_count == kOwnDescriptorsMax) give_up("no room for the shim's own descriptors");
    real().close(fd);
    return own_descriptors[own_count++] = high;
}

bool is_own_descriptor(int fd) { return std::find(own_descriptors, own_descriptors + own_count, fd) != own_descriptors + own_count; }

unsigned next_own_descriptor(unsigned fd) {
    unsigned found = ~0u;
    for (int i = 0; i < own_count; ++i)
        if (const auto own = static_cast<unsigned>(own_descriptors[i]); own >= fd) found = std::min(found, own);
    return found;
}

pid_t process_id() { return pid; }
bool is_forked() { return forked; }

void open_journal(const char* folder, const char* journal, const char* control_name) {
    copy_path(root, folder);
    pid = getpid();
    pthread_atfork(nullptr, nullptr, [] {
        forked = true;
        pid = std::max(getpid(), 0);
    });
    journal_fd = keep_descriptor(real().openat(AT_FDCWD, journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
    open_control(control_name);
    const Turn turn;  // settles what a killed process has left
}

Control& control() { return *page; }

Turn::Turn() : saved_errno_(errno) {
    const int result = pthread_mutex_lock(&page->lock);
    if (result == EOWNERDEAD) {
        if (page->pending.kind != 0) settle(page->pending);
        page->pending.kind = 0;
        pthread_mutex_consistent(&page->lock);
    } else if (result != 0) {
        give_up("the journal's lock");
    }
    errno = saved_errno_;
}

Turn::~Turn() {
    saved_errno_ = errno;
    pthread_mutex_unlock(&page->lock);
    errno = saved_errno_;
}

void Turn::begin(Kind kind, const Entry& entry) {
    Pending& pending = page->pending;
    pending.flags = entry.flags;
    pending.id = entry.id;
    pending.offset = entry.offset;
    pending.bytes = entry.bytes;
    copy_path(pending.path, entry.path);
    copy_path(pending.other, entry.other);
    __atomic_store_n(&pending.kind, static_cast<uint32_t>(kind), __ATOMIC_RELEASE);
}

void Turn::failed() { __atomic_store_n(&page->pending.kind, 0, __ATOMIC_RELEASE); }

void Turn::done(Kind kind, const Entry& entry) {
    const int saved = errno;
    write_record(kind, entry);
    failed();
    errno = saved;
}

uint64_t Turn::new_token() { return ++page->tokens; }

}  // namespace millrace::disk
