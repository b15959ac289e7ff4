// Which clients CLIENT LIST shows and CLIENT KILL closes, over all io_conn. Runs in io_conn.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/client_rows.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

struct ClientFilter {
    bool none = false;           ///< a type of which there are none
    std::optional<bool> linked;  ///< whether it is the connection to md_repl that is wanted: through that the master's commands come
    std::vector<uint64_t> ids;   ///< empty: all; sorted
    std::optional<std::string> address, local_address;
    uint64_t except = 0;         ///< id of the client that is left out
    bool is_address_only = false;  ///< the old form of CLIENT KILL, which answers otherwise

    bool takes(const ClientInfo& info, const std::string& unix_path) const;
};

/// Read the words of CLIENT LIST and CLIENT KILL. False after an error reply.
bool read_list_filter(const LocalCall& call, ClientFilter& filter);
bool read_kill_filter(const LocalCall& call, ClientFilter& filter);

/// Calls visit(index of its io_conn, info, row) for each client that the filter takes, in no order.
void for_each_client_of_group(Server& server, const ClientFilter& filter,
                              const std::function<void(unsigned, const ClientInfo&, const ClientRow&)>& visit);

/// "127.0.0.1:5000", or the Unix socket's path with ":0".
std::string address_of(const ClientInfo& info, const ClientAddress& address, const std::string& unix_path);

}  // namespace millrace::io_conn
