// See copies.h. Runs in millrace-convert. System calls: openat, copy_file_range or pread and pwritev, fsync.
#include "tools/convert/copies.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <thread>
#include <vector>

#include "common/check.h"
#include "common/disk/data_folder.h"
#include "common/disk/file_io.h"
#include "common/disk/log_reader.h"
#include "common/disk/snapshot_reader.h"
#include "common/segment.h"
#include "tools/convert/progress.h"
#include "tools/oplogdump/verify.h"

namespace millrace::convert {

namespace {

namespace fs = std::filesystem;

constexpr mode_t kFileMode = 0600;
constexpr uint64_t kPartBytes = 1024 * 1024;
constexpr unsigned kTriesMax = 20;
constexpr std::chrono::milliseconds kBetweenTries{100};
constexpr const char* kInstanceFile = "instance";

/// What is to be copied of the files of a folder.
struct Plan {
    struct Part {
        std::string path;
        uint64_t bytes;  ///< from the file's beginning
    };
    std::vector<Part> parts;
    uint64_t number = 0;  ///< of the last record

    uint64_t bytes() const {
        uint64_t sum = 0;
        for (const Part& part : parts) sum += part.bytes;
        return sum;
    }
};

/// A file was removed, or a new one made, while the folder was looked at.
struct Changed {};

std::string name_of(const std::string& path) { return fs::path(path).filename().string(); }

/// The newest snapshot that can be read; its path is empty if there is none.
struct Base {
    std::string path;
    uint64_t start = 0, end = 0, bytes = 0;
};

Base newest_snapshot(const std::string& data) {
    for (const std::string& path : disk::snapshot_files(data)) {
        disk::SnapshotReader reader(path);
        if (reader.open()) return {path, reader.start(), reader.end(), reader.file_bytes()};
        if (reader.newer()) throw Error(reader.sentence());
        if (!fs::exists(path)) throw Changed();
    }
    return {};
}

/// Reads the log behind a snapshot to its end, as a start would. Gives where that is.
disk::LogPosition end_of_log(const std::string& data, const Base& base, uint64_t& number) {
    disk::LogReader log(data, base.start);
    Progress progress("examining the log");
    for (;;) {
        const disk::LogReader::Outcome outcome = log.next();
        progress.show(log.bytes_read(), log.bytes_read() + kPartBytes);
        if (outcome == disk::LogReader::Outcome::record) continue;
        number = log.number();
        if (outcome == disk::LogReader::Outcome::end || outcome == disk::LogReader::Outcome::tail) return log.position();
        if (newest_snapshot(data).path != base.path || (!log.position().path.empty() && !fs::exists(log.position().path))) throw Changed();
        if (outcome == disk::LogReader::Outcome::gap && base.path.empty())
            throw Error(fmt::format("{} holds no snapshot, and the log does not reach back to the beginning: run BGSAVE first", data));
        throw Error(log.sentence());
    }
}

/// The files of the log from the one that has `start` up to where the log ends.
void add_logs(const std::string& data, uint64_t start, const disk::LogPosition& end, Plan& plan) {
    std::vector<disk::NumberedFile> logs = disk::numbered_logs(data);
    const auto behind = std::find_if(logs.begin(), logs.end(), [&](const disk::NumberedFile& log) { return log.number > start; });
    for (auto log = behind == logs.begin() ? behind : behind - 1; log != logs.end(); ++log) {
        if (log->path == end.path) return plan.parts.push_back({log->path, end.offset});
        std::error_code error;
        const uint64_t bytes = fs::file_size(log->path, error);
        if (error) throw Changed();
        plan.parts.push_back({log->path, bytes});
    }
    if (!end.path.empty()) throw Changed();
}

Plan plan_of(const std::string& data) {
    Plan plan;
    const Base base = newest_snapshot(data);
    const disk::LogPosition end = end_of_log(data, base, plan.number);
    if (base.path.empty() && end.path.empty()) throw Error(fmt::format("{} holds no snapshot and no log: there is nothing to copy; run BGSAVE first", data));
    if (plan.number < base.end) throw Changed();  // the writer of the log is not as far yet
    add_logs(data, base.start, end, plan);
    if (!base.path.empty()) plan.parts.push_back({base.path, base.bytes});
    return plan;
}

[[noreturn]] void fail(const std::string& action, const std::string& path) { throw Error(fmt::format("cannot {} {}: {}", action, path, errno_text(errno))); }

/// Copies the first bytes of a file, and makes the copy durable. False: there is no such file any more.
bool copy_file(const Plan::Part& part, const std::string& into, Progress& progress, uint64_t& done, uint64_t total) {
    const Descriptor from(open(part.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!from.open() && errno == ENOENT) return false;
    if (!from.open()) fail("open", part.path);
    const std::string path = into + "/" + name_of(part.path);
    const Descriptor to(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kFileMode));
    if (!to.open()) fail("make", path);
    std::string bytes(std::min(kPartBytes, part.bytes), 0);
    for (uint64_t at = 0; at < part.bytes; at += bytes.size()) {
        bytes.resize(std::min(kPartBytes, part.bytes - at));
        const int64_t got = disk::read_at(from.get(), bytes.data(), bytes.size(), at);
        if (got < 0) fail("read", part.path);
        if (static_cast<uint64_t>(got) < bytes.size()) return false;  // it was cut, or is another one
        if (!disk::write_at(to.get(), bytes.data(), bytes.size(), at)) fail("write", path);
        progress.show(done += bytes.size(), total);
    }
    if (fsync(to.get()) != 0) fail("sync", path);
    return true;
}

bool copy_files(const Plan& plan, const std::string& into) {
    Progress progress("copying");
    uint64_t done = 0;
    for (const Plan::Part& part : plan.parts)
        if (!copy_file(part, into, progress, done, plan.bytes())) return false;
    if (!disk::sync_folder(into)) fail("sync", into);
    return true;
}

void remove_copies(const std::string& into) {
    for (const fs::directory_entry& entry : fs::directory_iterator(into)) fs::remove(entry.path());
}

/// Throws the first problem, if there is one.
void require_verified(const std::string& folder) {
    Progress progress("verifying");
    for (const oplogdump::Finding& finding : oplogdump::verify(folder))
        if (finding.problem) throw Error(fmt::format("{}: {}: {}", folder, finding.name, finding.text));
}

/// A number of a time like "14:00"; false: there are no two digits.
bool digits_are(const std::string& text, size_t from, size_t count, long& value) {
    if (from + count > text.size()) return false;
    value = 0;
    for (size_t i = from; i < from + count; ++i) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + (text[i] - '0');
    }
    return true;
}

/// What follows the seconds: nothing, ".123", either with a Z.
bool parse_rest(std::string rest, long& ms, bool& utc) {
    utc = rest.ends_with('Z');
    if (utc) rest.pop_back();
    ms = 999;
    if (rest.empty()) return true;
    if (rest.front() != '.' || rest.size() < 2 || rest.size() > 4 || !digits_are(rest, 1, rest.size() - 1, ms)) return false;
    for (size_t digits = rest.size() - 1; digits < 3; ++digits) ms *= 10;
    return true;
}

}  // namespace

uint64_t copy_live(const std::string& data, const std::string& into) {
    for (unsigned tries = 0; tries < kTriesMax; ++tries) {
        if (tries > 0) std::this_thread::sleep_for(kBetweenTries);
        try {
            Plan plan = plan_of(data);
            if (const std::string id = data + "/" + kInstanceFile; fs::exists(id)) plan.parts.push_back({id, fs::file_size(id)});
            remove_copies(into);
            if (!copy_files(plan, into)) continue;
            require_verified(into);
            return plan.number;
        } catch (const Changed&) {
        }
    }
    throw Error(fmt::format("the files of {} change too fast, or the log does not reach what the newest snapshot needs: try again, and see what 'oplogdump --verify' says", data));
}

void copy_verified(const std::string& data, const std::string& into) {
    require_verified(data);
    Plan plan;
    const auto add = [&](const std::string& path) { plan.parts.push_back({path, fs::file_size(path)}); };
    for (const disk::NumberedFile& log : disk::numbered_logs(data)) add(log.path);
    for (const std::string& path : disk::snapshot_files(data)) add(path);
    if (plan.parts.empty()) throw Error(fmt::format("{} holds no snapshot and no log", data));
    if (const std::string id = data + "/" + kInstanceFile; fs::exists(id)) add(id);
    if (!copy_files(plan, into)) throw Error(fmt::format("the files of {} changed while they were copied: make a copy of a running instance with 'millrace backup'", data));
    require_verified(into);
}

std::optional<int64_t> parse_time(const std::string& text) {
    constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd";
    struct tm fields {};
    long year, month, day, hour, minute, second, ms;
    bool utc;
    if (text.size() < kForm.size()) return std::nullopt;
    for (size_t i = 0; i < kForm.size(); ++i)
        if (kForm[i] != 'd' && text[i] != kForm[i]) return std::nullopt;
    if (!digits_are(text, 0, 4, year) || !digits_are(text, 5, 2, month) || !digits_are(text, 8, 2, day) || !digits_are(text, 11, 2, hour) || !digits_are(text, 14, 2, minute) ||
        !digits_are(text, 17, 2, second) || !parse_rest(text.substr(kForm.size()), ms, utc))
        return std::nullopt;
    fields.tm_year = static_cast<int>(year - 1900), fields.tm_mon = static_cast<int>(month - 1), fields.tm_mday = static_cast<int>(day);
    fields.tm_hour = static_cast<int>(hour), fields.tm_min = static_cast<int>(minute), fields.tm_sec = static_cast<int>(second);
    fields.tm_isdst = -1;
    const struct tm asked = fields;
    const time_t at = utc ? timegm(&fields) : mktime(&fields);
    // What is no day of the calendar became another one.
    if (fields.tm_mday != asked.tm_mday || fields.tm_mon != asked.tm_mon || fields.tm_min != asked.tm_min || fields.tm_sec != asked.tm_sec) return std::nullopt;
    return int64_t{at} * 1000 + ms;
}

}  // namespace millrace::convert
