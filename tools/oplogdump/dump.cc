// See dump.h. Runs in oplogdump.
#include "tools/oplogdump/dump.h"

#include <fmt/format.h>

#include <filesystem>

#include "common/check.h"
#include "common/disk/log_reader.h"

namespace millrace::oplogdump {

namespace {

using disk::LogFileReader;

/// Prints the effects of the record that the reader has. False: they are none.
bool dump_record(const LogFileReader& reader, int64_t wall_ms, const Style& style, const Printer& print) {
    EffectReader effects(reader.body());
    Effect effect;
    while (effects.next(effect)) print(line_of({reader.path(), reader.offset(), reader.number(), wall_ms}, effect, style), false);
    if (effects.faulty()) print(fmt::format("{}: at offset {}: the effects of record {} cannot be told", reader.path(), reader.offset(), reader.number()), true);
    return !effects.faulty();
}

/// Goes on behind what is no frame. False: there is nothing more in the file. `durable`: what was there may not be missing.
bool pass_over(LogFileReader& reader, const Printer& print, bool& durable) {
    const uint64_t offset = reader.offset();
    disk::PlacedMark mark;
    durable = reader.find_mark(offset + 1, offset, mark);
    const bool more = reader.find_mark(offset + 1, 0, mark);
    print(fmt::format("{}: at offset {}: {}; {}", reader.path(), offset, reader.fault(),
                      more ? fmt::format("reading goes on at offset {}, behind record {}", mark.offset, mark.number)
                           : fmt::format("the {} bytes from there on cannot be told", reader.file_bytes() - offset)),
          true);
    if (more) reader.seek(mark.offset);
    return more;
}

bool dump_log(const std::string& path, bool last, const Selection& selection, const Style& style, const Printer& print) {
    LogFileReader reader;
    bool fine = reader.open(path) == LogFileReader::Opened::yes;
    if (!fine) {
        print(fmt::format("{}: {}", path, reader.fault()), true);
        return false;
    }
    const disk::LogHeader& header = reader.header();
    print(fmt::format("{}: file {} of instance {:016x}, made {}, behind record {}{}", path, header.sequence, header.instance, time_text(header.created_ms), header.after,
                      (header.flags & disk::kLogContinues) != 0 ? "" : ", does not go on with another"),
          true);
    int64_t wall_ms = 0;
    for (bool durable = false;;) {
        switch (reader.next()) {
            case LogFileReader::Outcome::mark: wall_ms = reader.mark().wall_ms; break;
            case LogFileReader::Outcome::record:
                if (reader.number() > selection.to) return fine;
                if (selection.has(reader.number())) fine = dump_record(reader, wall_ms, style, print) && fine;
                break;
            case LogFileReader::Outcome::end: return fine;
            case LogFileReader::Outcome::bad:
                if (!pass_over(reader, print, durable)) return fine && last && !durable;
                fine = false;
                break;
            default: print(fmt::format("{}: at offset {}: {}", path, reader.offset(), reader.fault()), true); return false;
        }
    }
}

bool dump_snapshot(const std::string& path, const Selection& selection, const Style& style, const Printer& print) {
    disk::SnapshotReader reader(path);
    disk::SnapshotReader::Item item{};
    disk::SnapshotReader::Outcome outcome = disk::SnapshotReader::Outcome::damage;
    if (reader.open()) {
        print(fmt::format("{}: {} items of instance {:016x} at record {}, complete with the log up to {}, made {}", path, reader.items(), reader.instance(), reader.start(),
                          reader.end(), time_text(reader.created_ms())),
              true);
        while ((outcome = reader.next(item)) == disk::SnapshotReader::Outcome::item)
            if (selection.has(item.stamp)) print(line_of(path, item, style), false);
    }
    if (outcome == disk::SnapshotReader::Outcome::damage) print(reader.sentence(), true);
    return outcome == disk::SnapshotReader::Outcome::end;
}

bool dump_folder(const std::string& folder, const Selection& selection, const Style& style, const Printer& print) {
    const std::vector<disk::NumberedFile> files = disk::numbered_logs(folder);
    bool fine = true;
    for (size_t i = 0; i < files.size(); ++i) {
        const bool last = i + 1 == files.size();
        const bool wanted = files[i].number < selection.to && (last || files[i + 1].number >= selection.from);
        if (wanted) fine = dump_log(files[i].path, last, selection, style, print) && fine;
    }
    return fine;
}

}  // namespace

std::string data_folder_of(const std::string& folder) {
    if (!std::filesystem::is_directory(folder)) throw Error(fmt::format("{}: there is no such folder", folder));
    const std::string data = disk::data_folder(folder);
    return std::filesystem::is_directory(data) ? data : folder;
}

bool dump(const std::string& path, const Selection& selection, const Style& style, const Printer& print) {
    uint64_t number = 0;
    if (std::filesystem::is_directory(path)) return dump_folder(data_folder_of(path), selection, style, print);
    if (disk::is_log(path, number)) return dump_log(path, true, selection, style, print);
    if (disk::is_snapshot(path, number)) return dump_snapshot(path, selection, style, print);
    throw Error(fmt::format("{}: neither a folder, nor named as a log or a snapshot", path));
}

}  // namespace millrace::oplogdump
