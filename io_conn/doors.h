// The Unix sockets in DIR/run that an io_conn connects to: those of the supervisor and that of md_repl. Runs in io_conn.
//
// No file is opened after the constructor: the sockets are reached through a descriptor of DIR/run, by addresses that never change
// (confinement.h, X4).
#pragma once

#include <sys/un.h>

#include <array>
#include <span>
#include <string>
#include <string_view>

namespace millrace::io_conn {

enum class Door : unsigned {
    supervisor,          ///< requests and answers (supervisor_link.h)
    supervisor_sockets,  ///< where a new supervisor takes the listening sockets
    md_repl,             ///< where md_repl takes connections: those of replicas, and its own to this io_conn
};
inline constexpr unsigned kDoors = 3;

class Doors {
  public:
    /// `run_folder`: DIR/run.
    explicit Doors(const std::string& run_folder);
    ~Doors();
    Doors(const Doors&) = delete;

    /// A socket that is connected to whoever listens there, or -1 and errno. Does not wait.
    int reach(Door door) const;
    /// All that this connects to.
    std::span<const sockaddr_un> addresses() const { return addresses_; }

  private:
    int folder_;  ///< -1 if it could not be opened
    std::array<sockaddr_un, kDoors> addresses_{};
};

/// Sends bytes and, along with them, copies of descriptors in one message; whether it has gone as a whole. REQUIRES: the socket is fresh.
bool send_message(int fd, std::string_view bytes, std::span<const int> descriptors);

}  // namespace millrace::io_conn
