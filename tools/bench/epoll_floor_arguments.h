// The command line of millrace-epoll-floor. Apart from the server, because CLI11 is compiled without optimisation (Makefile).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace millrace::bench {

struct FloorArguments {
    uint16_t port = 6390;
    std::optional<size_t> bulk;  ///< bytes of a GET's reply; without: +OK
};

/// Fills `arguments`; returns the exit status to end with, or -1 to go on.
int read_floor_arguments(int argc, char** argv, FloorArguments& arguments);

}  // namespace millrace::bench
