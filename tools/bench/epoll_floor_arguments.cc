// See epoll_floor_arguments.h. Compiled without optimisation (Makefile).
#include "tools/bench/epoll_floor_arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

namespace millrace::bench {

namespace {

constexpr size_t kBulkMax = 64 << 10;  // bytes of a GET's reply

// "ok" or "bulk:N". False: neither.
bool choose_reply(const std::string& text, FloorArguments& arguments) {
    size_t size = 0;
    if (text == "ok") return true;
    if (!text.starts_with("bulk:") || !CLI::detail::lexical_cast(text.substr(5), size) || size > kBulkMax)
        return false;
    arguments.bulk = size;
    return true;
}

}  // namespace

int read_floor_arguments(int argc, char** argv, FloorArguments& arguments) {
    CLI::App app{"The least a server can do: counts RESP requests and answers them, keeps nothing.",
                 "millrace-epoll-floor"};
    std::string reply = "bulk:64";
    app.add_option("-p,--port", arguments.port, "port on 127.0.0.1")->capture_default_str();
    app.add_option("--reply", reply, "to a GET: ok, or bulk:N for a value of N bytes")->capture_default_str();
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& bad) {
        return app.exit(bad) ? 2 : 0;
    }
    if (choose_reply(reply, arguments)) return -1;
    fmt::print(stderr, "millrace-epoll-floor: --reply '{}': use ok, or bulk:N with N up to {}\n", reply,
               kBulkMax);
    return 2;
}

}  // namespace millrace::bench
