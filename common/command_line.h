// What CLI11 does for daemons and for the reader of options. CLI11's headers take several seconds to compile: they are kept to files that do nothing else.
// Runs in every daemon.
#pragma once

#include <string>
#include <vector>

namespace millrace {

struct DaemonArguments;

/// Fills `arguments`; returns the exit status to end with, or -1 to go on.
int read_command_line(int argc, char** argv, const char* role, DaemonArguments& arguments);

/// The values of a configuration file's line `key = value`, which has no comment.
std::vector<std::string> values_of_line(const std::string& line);

}  // namespace millrace
