// viewstats: shows what the processes of an instance count, from shared memory alone. It asks nobody, so it works while
// processes are busy, stopped or dead, and says which are. Exit status: 0 done, 1 failed, 2 bad usage.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>

#include "common/check.h"
#include "common/paths.h"
#include "common/version.h"
#include "tools/viewstats/format.h"
#include "tools/viewstats/json.h"
#include "tools/viewstats/live.h"
#include "tools/viewstats/prometheus.h"
#include "tools/viewstats/table.h"
#include "tools/viewstats/terminal.h"

namespace {

using namespace millrace;
using namespace millrace::viewstats;

struct Arguments {
    std::string dir = "./instance";
    bool once = false, json = false, prom = false;
    double interval_s = 1;
    bool interval_given = false;

    bool repeats() const { return !once && (interval_given || !(json || prom)); }
    int interval_ms() const { return static_cast<int>(interval_s * 1000); }
};

/// False when the program is to end with `status`: after --help, or on bad usage.
bool parse(int argc, char** argv, Arguments& arguments, int& status) {
    CLI::App app{"Shows the counters of every process of a millrace instance, from shared memory alone.", "viewstats"};
    app.set_version_flag("--version", fmt::format("millrace {}", kVersion));
    app.add_option("--dir", arguments.dir, "The instance folder")->capture_default_str();
    app.add_flag("--once", arguments.once, "Print a table and end");
    CLI::Option* json = app.add_flag("--json", arguments.json, "Print a line of JSON");
    CLI::Option* prom = app.add_flag("--prom", arguments.prom, "Print Prometheus's text format");
    json->excludes(prom);
    CLI::Option* interval = app.add_option("--interval", arguments.interval_s,
                                           "Seconds between two looks; with --json or --prom: print again and again");
    interval->check(CLI::Range(0.01, 86400.0))->capture_default_str();
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        status = app.exit(error) == 0 ? 0 : 2;
        return false;
    }
    if (!std::isfinite(arguments.interval_s)) {  // a range check lets "nan" through
        fmt::print(stderr, "viewstats: --interval takes a number of seconds\n");
        status = 2;
        return false;
    }
    arguments.interval_given = interval->count() > 0;
    return true;
}

/// Throws Error when there is nothing to show.
void require_something(const Snapshot& snapshot) {
    if (!snapshot.processes.empty()) return;
    if (!std::filesystem::is_directory(snapshot.dir)) throw Error(fmt::format("{}: there is no such folder", snapshot.dir));
    if (snapshot.problems.empty())
        throw Error(fmt::format("nothing is running in {}: start it with 'millrace start'", snapshot.dir));
    throw Error(fmt::format("no counters of {} can be read: {}", snapshot.dir, snapshot.problems.front()));
}

Printer printer_of(const Arguments& arguments) {
    if (arguments.json) return [](const Snapshot& now, const Snapshot*) { return to_json(now); };
    if (arguments.prom) return [](const Snapshot& now, const Snapshot*) { return to_prometheus(now); };
    if (!arguments.repeats()) return [](const Snapshot& now, const Snapshot*) { return to_table(now); };
    return [](const Snapshot& now, const Snapshot* before) {
        return fmt::format("---- {}\n{}\n", time_of_day(now.wall_clock_s), to_table(now, before));
    };
}

void run(const Arguments& arguments) {
    const Snapshot first = take_snapshot(arguments.dir);
    require_something(first);
    if (!arguments.repeats()) {
        print(printer_of(arguments)(first, nullptr));
        if (arguments.prom)  // the other forms have room for them
            for (const std::string& problem : first.problems) fmt::print(stderr, "viewstats: {}\n", problem);
    } else if (!arguments.json && !arguments.prom && can_draw()) {
        show_screen(arguments.dir, arguments.interval_ms());
    } else {
        print_repeatedly(arguments.dir, arguments.interval_ms(), printer_of(arguments));
    }
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    int status = 0;
    if (!parse(argc, argv, arguments, status)) return status;
    try {
        run(arguments);
        return 0;
    } catch (const std::exception& error) {
        fmt::print(stderr, "viewstats: {}\n", error.what());
        return 1;
    }
}
