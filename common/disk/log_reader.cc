// See log_reader.h. Runs in starts, in whoever follows the log while it is written, and in tools.
#include "common/disk/log_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace millrace::disk {

std::vector<LogFileInfo> log_files(const std::string& folder) {
    std::vector<LogFileInfo> infos;
    for (const NumberedFile& file : numbered_logs(folder)) {
        LogFileReader reader;
        const LogFileReader::Opened opened = reader.open(file.path);
        LogFileInfo info{file.path, reader.header(), reader.file_bytes(), reader.fault(), opened == LogFileReader::Opened::refused, file.number};
        if (info.newer) info.header = {};
        if (info.fault.empty() && info.header.after != file.number) {
            info.fault = fmt::format("its name is not its own: its header says {}", info.header.after);
            info.header = {};
        }
        infos.push_back(std::move(info));
    }
    return infos;
}

bool log_reaches_back(const std::string& folder, uint64_t number) {
    const auto files = log_files(folder);
    // The first that is needed: the last that begins at the number or before.
    const auto needed = std::find_if(files.rbegin(), files.rend(), [number](const LogFileInfo& file) { return file.after <= number; });
    if (needed == files.rend() || !needed->fault.empty()) return false;
    return std::all_of(needed.base(), files.end(), [](const LogFileInfo& file) { return file.fault.empty() && (file.header.flags & kLogContinues) != 0; });
}

LogReader::LogReader(std::string folder, uint64_t from) : folder_(std::move(folder)), from_(from), number_(from) { choose_first(); }

/// The newest file that begins at `from` or before; if all are younger, the oldest.
void LogReader::choose_first() {
    const std::vector<NumberedFile> files = numbered_logs(folder_);
    if (files.empty()) return;
    chosen_ = files.front();
    for (const NumberedFile& file : files)
        if (file.number <= from_) chosen_ = file;
    to_open_ = true;
}

/// Looks for the file behind the one that is open.
bool LogReader::find_successor() {
    const std::vector<NumberedFile> files = numbered_logs(folder_);
    const auto next = std::find_if(files.begin(), files.end(), [&](const NumberedFile& file) { return file.number > chosen_.number; });
    successor_ = next == files.end() ? NumberedFile() : *next;
    return next != files.end();
}

void LogReader::go_on_in_successor() {
    chosen_ = std::exchange(successor_, {});
    to_open_ = true;
}

LogReader::Outcome LogReader::end_with(Outcome outcome, std::string sentence) {
    sentence_ = std::move(sentence);
    final_ = outcome == Outcome::damage || outcome == Outcome::refused;
    final_outcome_ = outcome;
    return outcome;
}

LogReader::Outcome LogReader::next() {
    if (final_) return final_outcome_;
    if (!to_open_ && !file_.is_open()) choose_first();  // there was no file yet
    if (!to_open_ && !file_.is_open()) return end_with(Outcome::end, fmt::format("there is no log file in {}", folder_));
    for (;;) {
        if (to_open_) {
            if (const Outcome outcome = open_chosen(); outcome != Outcome::record) return outcome;
        }
        if (const Outcome outcome = read(); !to_open_) return outcome;
    }
}

/// `record` if the records of the file may be read.
LogReader::Outcome LogReader::open_chosen() {
    bytes_before_ = bytes_read();
    to_open_ = false;
    settled_at_ = 0;
    const LogFileReader::Opened opened = file_.open(chosen_.path);
    if (opened != LogFileReader::Opened::yes) {
        file_.seek(0);
        return end_with(opened == LogFileReader::Opened::refused ? Outcome::refused : Outcome::damage, fmt::format("{}: {}", chosen_.path, file_.fault()));
    }
    number_in_file_ = file_.header().after;
    if (file_.header().after != chosen_.number) {
        file_.seek(0);
        return end_with(Outcome::damage, fmt::format("{}: its name is not its own: its header says {}", chosen_.path, number_in_file_));
    }
    return judge_gap(file_.header());
}

/// Whether there may be a hole before the file that was just opened (L3).
LogReader::Outcome LogReader::judge_gap(const LogHeader& header) {
    const bool first = !opened_any_, reaches = header.after <= number_, continues = (header.flags & kLogContinues) != 0;
    const uint64_t reached = std::exchange(number_, std::max(number_, header.after));
    opened_any_ = true;
    if (reaches && (first || continues)) return Outcome::record;
    if (reaches) return end_with(Outcome::gap, fmt::format("{} does not go on with the file before: operations may be missing", file_.path()));
    return end_with(Outcome::gap, fmt::format("{} begins after record {}, and {} {}: what was done between is missing", file_.path(), header.after,
                                              first ? "the log is wanted from record" : "the files before end with record", reached));
}

/// The next record that was asked for, or why there is none; or nothing, and the next file is to be opened.
LogReader::Outcome LogReader::read() {
    for (bool give = false;;) {
        switch (file_.next()) {
            case LogFileReader::Outcome::mark: wall_ms_ = file_.mark().wall_ms; break;
            case LogFileReader::Outcome::record:
                if (const Outcome outcome = take_record(give); give) return outcome;
                break;
            case LogFileReader::Outcome::end:
                if (!to_look_again(false)) return judge_end();
                break;
            case LogFileReader::Outcome::bad:
                if (!to_look_again(true)) return judge_bad();
                break;
            case LogFileReader::Outcome::failed:
                return end_with(Outcome::damage, fmt::format("{} cannot be read at offset {}: {}", file_.path(), file_.offset(), file_.fault()));
            case LogFileReader::Outcome::refused:
                return end_with(Outcome::refused, fmt::format("{}: {} at offset {}", file_.path(), file_.fault(), file_.offset()));
        }
    }
}

/// Checks a record against the one before (L2). `give`: the outcome is the caller's, else the record was had before.
LogReader::Outcome LogReader::take_record(bool& give) {
    give = true;
    if (file_.previous() < number_in_file_ || file_.previous() > std::max(number_in_file_, number_))
        return end_with(Outcome::damage, fmt::format("{} is damaged at offset {}: record {} follows record {} there, which is not the one before ({})", file_.path(),
                                                     file_.offset(), file_.number(), file_.previous(), number_in_file_));
    number_in_file_ = file_.number();
    give = number_in_file_ > number_;
    number_ = std::max(number_, number_in_file_);
    return Outcome::record;
}

/// Whether what is at the offset has to be read once more: who follows a log may have looked while it was being written, so only what is
/// read after its writer was seen to be done with it, because there is a successor or a mark behind it, shows what is there for good.
bool LogReader::to_look_again(bool bad) {
    if (settled_at_ == file_.offset()) return false;
    PlacedMark mark;
    if (!find_successor() && !(bad && file_.find_mark(file_.offset() + 1, file_.offset(), mark))) return false;
    settled_at_ = file_.offset();
    file_.seek(settled_at_);
    return true;
}

LogReader::Outcome LogReader::judge_end() {
    if (!successor_.path.empty()) go_on_in_successor();
    return end_with(Outcome::end, fmt::format("the log ends with record {} in {}, offset {}", number_, file_.path(), file_.offset()));
}

/// L5, and L3: what the next file says again is not needed here.
LogReader::Outcome LogReader::judge_bad() {
    const bool settled = settled_at_ == file_.offset();
    if (!successor_.path.empty() && successor_.number <= number_) go_on_in_successor();
    if (to_open_) return Outcome::end;
    return end_with(settled ? Outcome::damage : Outcome::tail,
                    fmt::format("{} {} at offset {}, behind record {}: {}", file_.path(), settled ? "is damaged" : "ends with what was never durable", file_.offset(),
                                number_in_file_, file_.fault()));
}

}  // namespace millrace::disk
