// See data_owner.h. Runs in md. System calls: openat, pread, fstat, getdents.
#include "common/disk/data_owner.h"

#include <fmt/format.h>

#include <vector>

#include "common/disk/data_folder.h"
#include "common/disk/log_reader.h"
#include "common/disk/snapshot_reader.h"

namespace millrace::disk {

namespace {

/// How far one kind of file goes, and whose the newest one is.
struct Reach {
    std::string path;
    uint64_t instance = 0;
    uint64_t number = 0;
};

/// A log that is damaged counts as far as it is whole.
Reach reach_of_log(const std::string& folder) {
    const std::vector<disk::LogFileInfo> files = disk::log_files(folder);
    if (files.empty() || !files.back().fault.empty()) return {};
    Reach reach{files.back().path, files.back().header.instance, files.back().after};
    disk::LogReader log(folder, files.back().after);
    while (log.next() == disk::LogReader::Outcome::record) reach.number = log.number();
    return reach;
}

Reach reach_of_snapshots(const std::string& folder) {
    for (const std::string& path : disk::snapshot_files(folder)) {
        disk::SnapshotReader snapshot(path);
        if (snapshot.open()) return {path, snapshot.instance(), snapshot.end()};
    }
    return {};
}

}  // namespace

std::string why_not_its_data(const std::string& folder, uint64_t instance, uint64_t number, uint64_t loaded) {
    constexpr const char* kWaysOn = "'millrace stop --force' gives up what is in shared memory, and the next start loads the folder; or put the folder's own files back to go on with it";
    for (const Reach& reach : {reach_of_log(folder), reach_of_snapshots(folder)}) {
        if (reach.path.empty()) continue;
        // A store may have been loaded from another instance's files, and those are there until it has enough of its own.
        if (reach.instance != instance && reach.number > loaded)
            return fmt::format("{} is of another instance ({:016x}) than the data in shared memory ({:016x}): {}", reach.path, reach.instance, instance, kWaysOn);
        if (reach.number > number)
            return fmt::format("{} goes up to record {}, and the data in shared memory only to {}: the folder has been changed meanwhile; {}", reach.path, reach.number, number, kWaysOn);
    }
    return {};
}

}  // namespace millrace::disk
