// See stream_socket.h. Runs in md_repl.
#include "md/repl/stream_socket.h"

#include <sys/socket.h>

#include <cerrno>

namespace millrace::md_repl {

namespace {

/// What a large message has taken goes; what usual ones take stays for the next.
void empty(std::string& bytes) {
    constexpr size_t kKeptBytesMax = 16 * 1024 * 1024;
    bytes.clear();
    if (bytes.capacity() > kKeptBytesMax) std::string().swap(bytes);
}

}  // namespace

bool StreamSocket::flush() {
    while (unsent() > 0) {
        const ssize_t count = send(fd_.get(), out_.data() + sent_, unsent(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0) return errno == EAGAIN || errno == EINTR;
        sent_ += static_cast<size_t>(count);
        bytes_sent_ += static_cast<uint64_t>(count);
    }
    empty(out_);
    sent_ = 0;
    return true;
}

bool StreamSocket::read(size_t limit) {
    if (in_.size() - looked_at_ >= limit) return true;
    static char bytes[kReadBytes];  // of the one thread that there is; mostly a few bytes come
    const ssize_t count = recv(fd_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (count <= 0) return count < 0 && (errno == EAGAIN || errno == EINTR);
    in_.erase(0, looked_at_);
    looked_at_ = 0;
    in_.append(bytes, static_cast<size_t>(count));
    return true;
}

void StreamSocket::drop(size_t bytes) {
    looked_at_ += bytes;
    if (looked_at_ < in_.size()) return;
    empty(in_);
    looked_at_ = 0;
}

}  // namespace millrace::md_repl
