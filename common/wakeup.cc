// See wakeup.h. Runs in every daemon.
#include "common/wakeup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/check.h"
#include "common/protected_names.h"

namespace millrace {

namespace {

/// More than one byte for each of the producers; a rest is a spurious wake-up (W3).
constexpr size_t kDrainBytes = 256;

}  // namespace

Fifo::Fifo(const std::string& path) : fd_(::open(name_to_open(path), O_RDWR | O_NONBLOCK | O_CLOEXEC)) {
    struct stat info;
    if (fd_ < 0 || stat(name_to_open(path), &info) != 0)
        throw Error(fmt::format("cannot open the FIFO {}: {}; the supervisor makes it: use `millrace start`", path,
                                errno_text(errno)));
    if (!S_ISFIFO(info.st_mode)) {
        close(fd_);
        throw Error(fmt::format("{} is not a FIFO; remove it and start again", path));
    }
}

Fifo::~Fifo() {
    if (fd_ >= 0) close(fd_);
    if (blocking_fd_ >= 0) close(blocking_fd_);
}

Fifo::Fifo(Fifo&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), blocking_fd_(std::exchange(other.blocking_fd_, -1)) {}

Fifo& Fifo::operator=(Fifo&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(blocking_fd_, other.blocking_fd_);
    return *this;
}

void Fifo::wake() const noexcept {
    const int saved = errno;
    const char byte = 'w';
    [[maybe_unused]] ssize_t written = write(fd_, &byte, 1);  // EAGAIN: a wake-up is already there (W3)
    errno = saved;
}

void Fifo::drain() const noexcept {
    char bytes[kDrainBytes];
    [[maybe_unused]] ssize_t taken = read(fd_, bytes, sizeof bytes);
}

void Fifo::prepare_to_wait(const std::string& path) {
    blocking_fd_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (blocking_fd_ < 0) throw Error(fmt::format("cannot open the FIFO {}: {}", path, errno_text(errno)));
}

bool Fifo::wait(int timeout_ms) const noexcept {
    if (timeout_ms < 0 && blocking_fd_ >= 0) {
        char bytes[kDrainBytes];
        return read(blocking_fd_, bytes, sizeof bytes) > 0;
    }
    pollfd waiting{fd_, POLLIN, 0};
    if (poll(&waiting, 1, timeout_ms) <= 0) return false;
    drain();
    return true;
}

}  // namespace millrace
