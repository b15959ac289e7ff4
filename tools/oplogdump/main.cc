// oplogdump: prints what the files of a data folder say, or checks them. Reads only, and asks nobody, so it works beside a running group.
// Exit status: 0 fine, 1 damage, 2 bad usage or what cannot be read at all.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "common/check.h"
#include "common/version.h"
#include "tools/oplogdump/dump.h"
#include "tools/oplogdump/verify.h"

namespace {

using namespace millrace;
using namespace millrace::oplogdump;

struct Arguments {
    std::vector<std::string> paths;
    Selection selection;
    Style style;
    bool verify = false;
};

/// False when the program is to end with `status`: after --help, or on bad usage.
bool parse(int argc, char** argv, Arguments& arguments, int& status) {
    CLI::App app{"Prints the log and the snapshots of a millrace instance, or checks them.", "oplogdump"};
    app.set_version_flag("--version", fmt::format("millrace {}", kVersion));
    app.add_option("PATH", arguments.paths, "Log files, snapshots, instance folders or data folders")->required();
    app.add_option("--from", arguments.selection.from, "First record, by its number");
    app.add_option("--to", arguments.selection.to, "Last record");
    app.add_flag("--json", arguments.style.json, "A line of JSON for each effect or item");
    app.add_flag("--full", arguments.style.full, fmt::format("Values of more than {} bytes whole", kShownBytes));
    app.add_flag("--verify", arguments.verify, "Check every file of the folders, and print a line for each");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        status = app.exit(error) == 0 ? 0 : 2;
        return false;
    }
    return true;
}

bool verify_all(const Arguments& arguments) {
    bool fine = true;
    for (const std::string& folder : arguments.paths)
        for (const Finding& finding : verify(folder)) {
            fmt::print("{}\n", finding.line());
            fine = fine && !finding.problem;
        }
    return fine;
}

bool dump_all(const Arguments& arguments) {
    const Printer print = [&](const std::string& line, bool remark) {
        if (remark) fmt::print(stderr, "# {}\n", line);
        else fmt::print("{}\n", line);
    };
    bool fine = true;
    for (const std::string& path : arguments.paths) fine = dump(path, arguments.selection, arguments.style, print) && fine;
    return fine;
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    int status = 0;
    if (!parse(argc, argv, arguments, status)) return status;
    try {
        const bool fine = arguments.verify ? verify_all(arguments) : dump_all(arguments);
        if (std::fflush(stdout) != 0) throw Error(fmt::format("cannot write: {}", errno_text(errno)));
        return fine ? 0 : 1;
    } catch (const std::exception& error) {
        fmt::print(stderr, "oplogdump: {}\n", error.what());
        return 2;
    }
}
