// The address of the server and how a socket to it is opened. Resolved once, then used for every connection.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "tools/bench/options.h"

namespace millrace::bench {

// A TCP connection is named by both ends, and one source address has about 28,000 free ports (the kernel's
// default ip_local_port_range). On loopback every 127.x.y.z is ours, so each group of connections takes an
// address of its own.
inline constexpr uint32_t kConnectionsPerSource = 25'000;

class Target {
  public:
    // Returns false and one sentence if the name means nothing.
    bool resolve(const Options& options, std::string& error);

    // A non-blocking socket on its way to the server, for connection number `index`; -errno if that failed at
    // once. -EAGAIN: a Unix socket whose queue is full, try again later.
    int open_socket(uint32_t index) const;

  private:
    bool resolve_unix(const std::string& path, std::string& error);
    bool resolve_tcp(const Options& options, std::string& error);
    bool spread_source(int fd, uint32_t index) const;

    sockaddr_storage address_{};
    socklen_t address_length_ = 0;
    bool is_loopback_ = false;  // IPv4 only
};

// Makes sure that `connections` can be open at once. Returns false and one sentence if the system does not
// allow it.
bool raise_file_limit(uint32_t connections, std::string& error);

}  // namespace millrace::bench
