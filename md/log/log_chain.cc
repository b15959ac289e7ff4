// See log_chain.h. Runs in md_log.
#include "md/log/log_chain.h"

#include <algorithm>

#include "common/disk/log_reader.h"
#include "common/disk/snapshot_reader.h"

namespace millrace::md_log {

LogEnd end_of_log(const std::string& folder) {
    LogEnd end;
    const auto files = disk::log_files(folder);
    if (files.empty()) return end;
    end.number = end.after = files.back().after;
    end.instance = files.back().header.instance;
    disk::LogReader reader(folder, end.after);
    auto outcome = reader.next();
    while (outcome == disk::LogReader::Outcome::record || outcome == disk::LogReader::Outcome::gap) {
        end.number = std::max(end.number, reader.number());
        outcome = reader.next();
    }
    if (outcome != disk::LogReader::Outcome::end && outcome != disk::LogReader::Outcome::tail) {
        end.fault = reader.sentence();
        return end;
    }
    end.usable = reader.position().path == files.back().path;
    end.path = reader.position().path;
    end.bytes = reader.position().offset;
    end.number = reader.number_in_file();
    return end;
}

bool chain_is_whole(const std::string& folder) {
    uint64_t start = 0;
    for (const std::string& path : disk::snapshot_files(folder)) {
        disk::SnapshotReader snapshot(path);
        if (!snapshot.open()) continue;
        start = snapshot.start();
        break;
    }
    return disk::log_reaches_back(folder, start);
}

}  // namespace millrace::md_log
