// millrace-convert: does the work of 'millrace import', 'export', 'backup' and 'restore', which look after the instance and its folder: files of
// Redis's become a snapshot and back, data folders are copied. It asks nobody, and writes only where it is told to.
// Exit status: 0 done, 1 failed (one sentence on standard error), 2 bad usage.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "common/version.h"
#include "tools/convert/copies.h"
#include "tools/convert/export.h"
#include "tools/convert/import.h"
#include "tools/convert/progress.h"
#include "tools/convert/snapshot_output.h"
#include "tools/convert/tally.h"
#include "tools/oplogdump/dump.h"

namespace {

using namespace millrace;
using namespace millrace::convert;

struct Arguments {
    std::string from, into, instance = "0", to_time;
    uint64_t to_number = UINT64_MAX;

    uint64_t instance_number() const { return std::stoull(instance, nullptr, 16); }
};

void say(const std::string& line) { fmt::print("millrace: {}\n", line); }

std::string keys_of(const disk::DataImage& image) {
    const auto used = std::count_if(image.databases().begin(), image.databases().end(), [](const auto& database) { return !database.empty(); });
    return fmt::format("{} in {}", counted(image.keys(), "key"), counted(static_cast<uint64_t>(used), "database"));
}

disk::DataImage image_of(const std::string& data, const disk::Until& until) {
    if (disk::snapshot_files(data).empty() && disk::numbered_logs(data).empty()) throw Error(fmt::format("{} holds no snapshot and no log", data));
    Progress progress("reading " + data);
    return disk::DataImage::of_folder(data, until, [&](uint64_t done, uint64_t total) { progress.show(done, total); });
}

void run_import(const Arguments& arguments) {
    Tally tally;
    const disk::DataImage image = read_redis(arguments.from, wall_ms(), tally);
    write_snapshot(image, arguments.into, arguments.instance_number(), kImportedNumber);
    say(fmt::format("read {}: {}", arguments.from, keys_of(image)));
    for (const std::string& line : tally.lines()) say(line);
}

void run_export(const Arguments& arguments) {
    disk::DataImage image = image_of(oplogdump::data_folder_of(arguments.from), {});
    const uint64_t expired = image.remove_expired(wall_ms());
    write_rdb(image, arguments.into);
    for (const std::string& remark : image.remarks()) say(remark);
    say(fmt::format("wrote {}: {}, as of record {}", arguments.into, keys_of(image), image.number()));
    if (expired > 0) say(fmt::format("expired, and left out: {}", counted(expired, "key")));
}

void run_backup(const Arguments& arguments) {
    const uint64_t number = copy_live(oplogdump::data_folder_of(arguments.from), arguments.into);
    say(fmt::format("copied and verified, up to record {}", number));
}

int64_t time_of(const std::string& text) {
    const std::optional<int64_t> at = parse_time(text);
    if (!at) throw Error(fmt::format("there is no time '{}': it has to be one like 2026-11-26T14:00:00, with .123 and Z or without", text));
    return *at;
}

void run_restore(const Arguments& arguments) {
    const std::string data = oplogdump::data_folder_of(arguments.from);
    disk::Until until{arguments.to_number, INT64_MAX};
    if (arguments.to_number == UINT64_MAX && arguments.to_time.empty()) return copy_verified(data, arguments.into);
    if (!arguments.to_time.empty()) until.wall_ms = time_of(arguments.to_time);
    const disk::DataImage image = image_of(data, until);
    write_snapshot(image, arguments.into, image.instance(), image.number());
    if (const std::string id = data + "/instance"; std::filesystem::exists(id)) std::filesystem::copy_file(id, arguments.into + "/instance");
    for (const std::string& remark : image.remarks()) say(remark);
    say(fmt::format("the data as of record {}: {}", image.number(), keys_of(image)));
}

/// A subcommand with its two paths, and what it does.
CLI::App* add(CLI::App& app, Arguments& arguments, const char* name, const char* sentence, void (*run)(const Arguments&)) {
    CLI::App* const command = app.add_subcommand(name, sentence);
    command->add_option("FROM", arguments.from, "What is read")->required();
    command->add_option("INTO", arguments.into, "What is made, or an empty folder that is filled")->required();
    command->final_callback([&arguments, run] { run(arguments); });
    return command;
}

int run(int argc, char** argv) {
    Arguments arguments;
    CLI::App app{"Makes snapshots of Redis's files and the reverse, and copies data folders, for 'millrace import', 'export', 'backup' and 'restore'.", "millrace-convert"};
    app.set_version_flag("--version", fmt::format("millrace {}", kVersion));
    app.require_subcommand(1);
    add(app, arguments, "import", "An RDB or AOF becomes a snapshot in a folder", run_import)
        ->add_option("--instance", arguments.instance, "The id of the instance")
        ->check([](const std::string& id) { return !id.empty() && id.size() <= 16 && id.find_first_not_of("0123456789abcdef") == std::string::npos ? "" : "no id"; });
    add(app, arguments, "export", "A data folder becomes an RDB", run_export);
    add(app, arguments, "backup", "A data folder that may be in use is copied", run_backup);
    CLI::App* const restore = add(app, arguments, "restore", "A data folder that is not in use is verified and copied", run_restore);
    CLI::Option* const number = restore->add_option("--to-number", arguments.to_number, "As of this record");
    restore->add_option("--to-time", arguments.to_time, "As of this time")->excludes(number);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const int status = run(argc, argv);
        if (std::fflush(stdout) != 0) throw Error(fmt::format("cannot write: {}", errno_text(errno)));
        return status;
    } catch (const std::bad_alloc&) {
        fmt::print(stderr, "millrace: there is not enough memory: it has to hold the whole data\n");
    } catch (const std::exception& error) {
        fmt::print(stderr, "millrace: {}\n", error.what());
    }
    return 1;
}
