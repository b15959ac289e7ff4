// See file_io.h. System calls: preadv, pwritev, openat, fsync, fstat.
#include "common/disk/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/segment.h"

namespace millrace::disk {

namespace {

/// Takes `count` bytes off the front of the parts.
void advance(iovec*& parts, int& left, uint64_t count) {
    while (left > 0 && count >= parts->iov_len) {
        count -= parts->iov_len;
        ++parts;
        --left;
    }
    if (left == 0) return;
    parts->iov_base = static_cast<char*>(parts->iov_base) + count;
    parts->iov_len -= count;
}

}  // namespace

int64_t read_at(int fd, char* bytes, uint64_t count, uint64_t offset) {
    uint64_t done = 0;
    while (done < count) {
        const ssize_t got = pread(fd, bytes + done, count - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        done += static_cast<uint64_t>(got);
    }
    return static_cast<int64_t>(done);
}

bool write_at(int fd, iovec* parts, int count, uint64_t offset) {
    constexpr int kPartsMax = 64;
    advance(parts, count, 0);
    while (count > 0) {
        const ssize_t put = pwritev(fd, parts, std::min(count, kPartsMax), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            if (put == 0) errno = EIO;
            return false;
        }
        offset += static_cast<uint64_t>(put);
        advance(parts, count, static_cast<uint64_t>(put));
    }
    return true;
}

bool write_at(int fd, const char* bytes, uint64_t count, uint64_t offset) {
    iovec part{const_cast<char*>(bytes), count};
    return write_at(fd, &part, 1, offset);
}

bool sync_folder(const std::string& folder) {
    const Descriptor fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return fd.open() && fsync(fd.get()) == 0;
}

int64_t length_of(int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 ? info.st_size : -1;
}

}  // namespace millrace::disk
