// INFO's sections commandstats, errorstats and latencystats, over all processes. Runs in io_conn.
#pragma once

#include <string>

namespace millrace::io_conn {

class Server;

std::string commandstats_text(const Server& server);
std::string errorstats_text(const Server& server);
/// Percentiles are upper bounds of buckets that are powers of two.
std::string latencystats_text(const Server& server);

}  // namespace millrace::io_conn
