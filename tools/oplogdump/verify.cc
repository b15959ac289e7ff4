// See verify.h. Runs in oplogdump.
#include "tools/oplogdump/verify.h"

#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "common/disk/log_reader.h"
#include "common/disk/snapshot_reader.h"
#include "common/effects.h"
#include "tools/oplogdump/dump.h"

namespace millrace::oplogdump {

namespace {

using disk::LogFileReader;
using disk::LogReader;
using disk::SnapshotReader;

/// What of the newest good snapshot the log has to fit.
struct Base {
    uint64_t start, end;
};

std::string label(const std::string& path) {
    const std::filesystem::path name(path);
    return (name.parent_path().filename() / name.filename()).string();
}

Finding finding_of(const std::string& path, const std::vector<std::string>& problems, const std::string& fine) {
    if (problems.empty()) return {false, label(path), fine};
    return {true, label(path), fmt::format("{}; {}", fmt::join(problems, "; "), fine)};
}

/// One file of the log, from its header to its end.
class LogCheck {
  public:
    /// `successor`: the `after` of the next file, if there is one.
    LogCheck(const std::string& path, std::optional<uint64_t> successor) : path_(path), successor_(successor) {}

    Finding run() {
        if (reader_.open(path_) != LogFileReader::Opened::yes) return {true, label(path_), fmt::format("offset 0: {}; all of it is lost", reader_.fault())};
        uint64_t named = 0;
        last_ = reader_.header().after;
        if (disk::is_log(path_, named) && named != last_) problems_.push_back(fmt::format("its header says that it begins after record {}", last_));
        while (step()) {}
        return finding_of(path_, problems_, summary());
    }

  private:
    /// Looks at a frame. False: it was the last one.
    bool step() {
        switch (reader_.next()) {
            case LogFileReader::Outcome::mark: return true;
            case LogFileReader::Outcome::record: take_record(); return true;
            case LogFileReader::Outcome::end: return false;
            case LogFileReader::Outcome::bad: return take_bad();
            default: problems_.push_back(fmt::format("offset {}: {}; what is behind record {} is lost", reader_.offset(), reader_.fault(), last_)); return false;
        }
    }

    void take_record() {
        EffectReader effects(reader_.body());
        for (Effect effect; effects.next(effect);) ++effects_;
        if (effects.faulty()) problems_.push_back(fmt::format("offset {}: the effects of record {} cannot be told", reader_.offset(), reader_.number()));
        // The first record of a file may follow one that only the files before have.
        if (reader_.previous() < last_ || (reader_.previous() > last_ && records_ > 0))
            problems_.push_back(fmt::format("offset {}: record {} follows record {}, and the one before it there is {}", reader_.offset(), reader_.number(), reader_.previous(), last_));
        last_ = reader_.number();
        ++records_;
    }

    bool take_bad() {
        const uint64_t offset = reader_.offset();
        disk::PlacedMark mark;
        if (successor_ && *successor_ <= last_) {
            remark_ = fmt::format("; what is at offset {} and behind was not durable, and is in the next file", offset);
            return false;
        }
        if (!successor_ && !reader_.find_mark(offset + 1, offset, mark)) {
            remark_ = fmt::format("; {} bytes at offset {} were never durable, a start cuts them ({})", reader_.file_bytes() - offset, offset, reader_.fault());
            return false;
        }
        const bool more = reader_.find_mark(offset + 1, 0, mark);
        if (!more) {
            problems_.push_back(fmt::format("offset {}: {}; lost: all behind record {}, {} bytes", offset, reader_.fault(), last_, reader_.file_bytes() - offset));
            return false;
        }
        problems_.push_back(fmt::format("offset {}: {}; lost: what is behind record {} up to record {}, {} bytes", offset, reader_.fault(), last_, mark.number,
                                        mark.offset - offset));
        last_ = mark.number;
        reader_.seek(mark.offset);
        return true;
    }

    std::string summary() const {
        return fmt::format("{} records, {} effects, from behind {} to {}, {} bytes{}", records_, effects_, reader_.header().after, last_, reader_.file_bytes(), remark_);
    }

    const std::string path_;
    const std::optional<uint64_t> successor_;
    LogFileReader reader_;
    uint64_t last_ = 0, records_ = 0, effects_ = 0;
    std::vector<std::string> problems_;
    std::string remark_;
};

Finding check_snapshot(const std::string& path, std::optional<Base>& base) {
    SnapshotReader reader(path);
    SnapshotReader::Item item{};
    SnapshotReader::Outcome outcome = SnapshotReader::Outcome::damage;
    if (reader.open())
        while ((outcome = reader.next(item)) == SnapshotReader::Outcome::item) {}
    if (outcome != SnapshotReader::Outcome::end) {
        const std::string what = reader.sentence().substr(path.size() + 2);
        return {true, label(path), fmt::format("{}; lost: {} of {} items", what, reader.items() - reader.items_read(), reader.items())};
    }
    if (!base) base = Base{reader.start(), reader.end()};
    return {false, label(path), fmt::format("{} items at record {}, complete with the log up to {}, {} bytes", reader.items(), reader.start(), reader.end(), reader.file_bytes())};
}

/// Whether the log goes on from the newest good snapshot, or from nothing, to its end.
Finding check_chain(const std::string& folder, const std::optional<Base>& base) {
    const std::string origin = base ? fmt::format("the snapshot at record {}", base->start) : "an empty store";
    LogReader reader(folder, base ? base->start : 0);
    std::vector<std::string> problems;
    for (;;) {
        const LogReader::Outcome outcome = reader.next();
        if (outcome == LogReader::Outcome::record) continue;
        if (outcome == LogReader::Outcome::end || outcome == LogReader::Outcome::tail) break;
        problems.push_back(reader.sentence());
        if (outcome != LogReader::Outcome::gap) break;
    }
    if (base && reader.number() < base->end)
        problems.push_back(fmt::format("the newest snapshot needs the log up to record {}, which ends with {}", base->end, reader.number()));
    return finding_of(folder, problems, fmt::format("{} and the log make the data up to record {}", origin, reader.number()));
}

}  // namespace

std::vector<Finding> verify(const std::string& folder) {
    const std::string data = std::filesystem::path(data_folder_of(folder)).lexically_normal().string();
    const std::string path = data.size() > 1 && data.ends_with('/') ? data.substr(0, data.size() - 1) : data;
    std::vector<Finding> findings;
    std::optional<Base> base;
    for (const std::string& snapshot : disk::snapshot_files(path)) findings.push_back(check_snapshot(snapshot, base));
    const std::vector<disk::NumberedFile> logs = disk::numbered_logs(path);
    for (size_t i = 0; i < logs.size(); ++i)
        findings.push_back(LogCheck(logs[i].path, i + 1 < logs.size() ? std::optional(logs[i + 1].number) : std::nullopt).run());
    for (const std::string& partial : disk::partial_files(path)) findings.push_back({false, label(partial), "half made, of no use"});
    findings.push_back(check_chain(path, base));
    findings.back().name = std::filesystem::path(path).filename().string();
    return findings;
}

}  // namespace millrace::oplogdump
