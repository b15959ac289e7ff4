// What a client says of itself; most say nothing. Runs in io_conn.
#pragma once

#include <string>

namespace millrace::io_conn {

struct ClientNames {
    std::string name;                      ///< CLIENT SETNAME
    std::string library, library_version;  ///< CLIENT SETINFO
};

}  // namespace millrace::io_conn
