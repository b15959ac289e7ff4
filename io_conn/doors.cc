// See doors.h. Runs in io_conn.
#include "io_conn/doors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/protected_names.h"

namespace millrace::io_conn {

Doors::Doors(const std::string& run_folder) : folder_(open(run_folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    // The path of a Unix socket is short, and DIR's may not be.
    constexpr std::array<std::string_view, kDoors> kNames = {"supervisor.sock", "supervisor-sockets.sock", "md_repl.sock"};
    for (unsigned door = 0; door < kDoors; ++door) {
        const std::string path = fmt::format("/proc/self/fd/{}/{}", folder_, kNames[door]);
        addresses_[door].sun_family = AF_UNIX;
        std::memcpy(addresses_[door].sun_path, path.data(), path.size());
    }
}

Doors::~Doors() {
    if (folder_ >= 0) close(folder_);
}

int Doors::reach(Door door) const {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, name_to_connect(addresses_[static_cast<unsigned>(door)]), sizeof(sockaddr_un)) == 0) return fd;
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
}

bool send_message(int fd, std::string_view bytes, std::span<const int> descriptors) {
    constexpr size_t kDescriptorsMax = 64;
    if (descriptors.size() > kDescriptorsMax) return false;
    iovec text{const_cast<char*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char room[CMSG_SPACE(kDescriptorsMax * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &text;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
        message.msg_control = room;
        message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

}  // namespace millrace::io_conn
