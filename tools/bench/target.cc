// Name resolution, sockets and the limit on open files for the load generator; see target.h.
#include "tools/bench/target.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace millrace::bench {

namespace {

constexpr rlim_t kOtherFiles = 64;  // descriptors that are not connections
constexpr uint32_t kLoopbackNet = 0x7f000000;
constexpr uint32_t kLoopbackFirstHost = 1;

}  // namespace

bool Target::resolve(const Options& options, std::string& error) {
    return options.unix_path.empty() ? resolve_tcp(options, error) : resolve_unix(options.unix_path, error);
}

bool Target::resolve_unix(const std::string& path, std::string& error) {
    auto& address = reinterpret_cast<sockaddr_un&>(address_);
    if (path.size() >= sizeof address.sun_path) {
        error = fmt::format("{}: a socket's path has at most {} bytes", path, sizeof address.sun_path - 1);
        return false;
    }
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    address_length_ = sizeof address;
    return true;
}

bool Target::resolve_tcp(const Options& options, std::string& error) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int code = getaddrinfo(options.host.c_str(), std::to_string(options.port).c_str(), &hints, &found);
    if (code != 0) {
        error = fmt::format("cannot find the host '{}': {}; give --host a name or address", options.host,
                            gai_strerror(code));
        return false;
    }
    std::memcpy(&address_, found->ai_addr, found->ai_addrlen);
    address_length_ = found->ai_addrlen;
    freeaddrinfo(found);
    const auto& ipv4 = reinterpret_cast<const sockaddr_in&>(address_);
    is_loopback_ =
        address_.ss_family == AF_INET && (ntohl(ipv4.sin_addr.s_addr) & 0xff000000) == kLoopbackNet;
    return true;
}

bool Target::spread_source(int fd, uint32_t index) const {
    const uint32_t group = index / kConnectionsPerSource;
    if (!is_loopback_ || group == 0) return true;
    const int on = 1;  // the port is chosen at connect(), when the whole pair of addresses is known
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr = htonl(kLoopbackNet + kLoopbackFirstHost + group);
    return bind(fd, reinterpret_cast<const sockaddr*>(&source), sizeof source) == 0;
}

int Target::open_socket(uint32_t index) const {
    const int fd = socket(address_.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (address_.ss_family != AF_UNIX) {
        const int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    const bool is_on_its_way =
        spread_source(fd, index) &&
        (connect(fd, reinterpret_cast<const sockaddr*>(&address_), address_length_) == 0 ||
         errno == EINPROGRESS);
    if (is_on_its_way) return fd;
    const int code = errno;
    close(fd);
    return -code;
}

bool raise_file_limit(uint32_t connections, std::string& error) {
    const rlim_t wanted = connections + kOtherFiles;
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= wanted) return true;
    const rlim_t hard = limit.rlim_max;
    limit.rlim_cur = wanted;
    if (limit.rlim_max < wanted) limit.rlim_max = wanted;  // works for root only
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return true;
    error = fmt::format(
        "{} connections need {} open files, but this process may have {}: raise it (ulimit -n {} as root, "
        "or LimitNOFILE= of the service) or lower --clients",
        connections, wanted, hard, wanted);
    return false;
}

}  // namespace millrace::bench
