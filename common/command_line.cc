// See command_line.h. Compiled without optimisation (Makefile).
#include "common/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <exception>
#include <sstream>

#include "common/daemon.h"
#include "common/version.h"

namespace millrace {

namespace {

uint64_t parse_instance(const std::string& text) {
    size_t used = 0;
    const uint64_t instance = std::stoull(text, &used, 16);
    if (used != text.size() || instance == 0) throw CLI::ValidationError("--instance", "16 hex digits, not zero");
    return instance;
}

}  // namespace

int read_command_line(int argc, char** argv, const char* role, DaemonArguments& arguments) {
    CLI::App app{fmt::format("{} of millrace; started by `millrace start`, not by hand.", role)};
    std::string instance;
    app.set_version_flag("--version", fmt::format("millrace {}", kVersion));
    app.add_option("--dir", arguments.dir, "Instance folder")->required();
    app.add_option("--config", arguments.config, "File with all options (millrace-conf --effective)")->required();
    app.add_option("--instance", instance, "Id of the instance, 16 hex digits")->required();
    app.add_option("--index", arguments.index, "Which of its role");
    app.add_option("--generation", arguments.generation, "Number of this process in its instance, > 0")->required();
    app.add_option("--restarts", arguments.restarts, "How often this role and index was restarted");
    app.add_flag("--repair", arguments.repair, "Cut off what is damaged at the end of the data files (md)");
    app.add_option("--ready-fd", arguments.ready_fd, "Descriptor for the word 'ready'");
    app.add_option("--listen-fd", arguments.listen_fds, "Inherited listening socket");
    try {
        app.parse(argc, argv);
        arguments.instance = parse_instance(instance);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception&) {
        fmt::print(stderr, "{}: --instance takes 16 hex digits\n", role);
        return 2;
    }
    return -1;
}

std::vector<std::string> values_of_line(const std::string& line) {
    CLI::ConfigBase reader;
    reader.comment('\x01');  // comments are gone already, with regard to quotes
    std::istringstream one_line(line);
    std::vector<std::string> values;
    for (const CLI::ConfigItem& item : reader.from_config(one_line)) values.push_back(CLI::detail::join(item.inputs, " "));
    return values;
}

}  // namespace millrace
