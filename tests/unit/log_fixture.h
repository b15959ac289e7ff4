// A log for unit tests: writes records into a folder, and reads back what a reader makes of it. Include it behind all headers of the project.
#pragma once

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "common/disk/log_reader.h"
#include "common/disk/log_writer.h"
#include "common/effects.h"
#include "tests/unit/folder.h"

namespace millrace::unit {

inline std::string content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream content;
    content << file.rdbuf();
    return std::move(content).str();
}

/// Gives a file another content. It is not cut to nothing before: some file systems make such a file durable when it is closed.
inline void rewrite(const std::string& path, const std::string& content) {
    {
        std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
        file << content;
    }
    std::filesystem::resize_file(path, content.size());
}

/// What a record of this number says in the tests: SET key<number> <length bytes>.
inline std::string effects_of(uint64_t number, size_t length) {
    std::string value(length, 0), bytes;
    for (size_t i = 0; i < length; ++i) value[i] = static_cast<char>('a' + (number + i / 7) % 26);
    append_effect(bytes, {EffectKind::set, static_cast<uint8_t>(number % 16), 0, 0, 0, -1}, "key" + std::to_string(number), value);
    return bytes;
}

inline void add(disk::LogWriter& writer, uint64_t number, std::string_view effects) {
    const std::string_view pieces[] = {effects};
    writer.add(number, pieces);
}

inline bool add_large(disk::LogWriter& writer, uint64_t number, std::string_view effects) {
    const std::string_view pieces[] = {effects.substr(0, effects.size() / 3), effects.substr(effects.size() / 3)};
    return writer.add_large(number, pieces);
}

struct ReadRecord {
    uint64_t number;
    std::string effects;
    bool operator==(const ReadRecord&) const = default;
};

/// A frame of a file that is whole, for what is to be expected when it is not any more.
struct KnownFrame {
    uint64_t begin, end;     ///< offsets
    uint64_t meaningful;     ///< where the zeros behind the body begin
    uint64_t last_number;    ///< of the last record up to its end
    uint64_t synced;         ///< of a mark, else 0
};

inline std::vector<KnownFrame> frames_of(const std::string& path) {
    const std::string content = content_of(path);
    disk::LogFileReader reader;
    std::vector<KnownFrame> frames;
    if (reader.open(path) != disk::LogFileReader::Opened::yes) return frames;
    uint64_t number = reader.header().after;
    for (disk::LogFileReader::Outcome outcome; (outcome = reader.next()) <= disk::LogFileReader::Outcome::mark;) {
        const bool mark = outcome == disk::LogFileReader::Outcome::mark;
        if (!mark) number = reader.number();
        uint64_t body;
        content.copy(reinterpret_cast<char*>(&body), sizeof body, reader.offset() + offsetof(disk::FrameHeader, bytes));
        if (!frames.empty() && frames.back().begin == reader.offset()) frames.pop_back();  // one more record of a packed frame
        frames.push_back({reader.offset(), reader.end_offset(), reader.offset() + sizeof(disk::FrameHeader) + body, number, mark ? reader.mark().synced : 0});
    }
    return frames;
}

/// Calls `action` in a process that may take so much memory more than it has, and says whether it came to its end.
template <class Survives, class Action>
bool survives_with(uint64_t bytes, Survives survives, Action action) {
    return survives([&] {
        uint64_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        const rlim_t limit = pages * 4096 + bytes;
        const rlimit both{limit, limit};
        setrlimit(RLIMIT_AS, &both);
        action();
    });
}

/// No file can become longer than this while it lives: writes are short, then fail with EFBIG.
class FileSizeLimit {
  public:
    explicit FileSizeLimit(uint64_t bytes) {
        signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
    FileSizeLimit(const FileSizeLimit&) = delete;

  private:
    rlimit before_{};
};

/// All that a reader gives, up to an end that is one.
struct ReadLog {
    std::vector<ReadRecord> records;
    std::vector<disk::LogReader::Outcome> outcomes;  ///< that were not records
    std::vector<std::string> sentences;
    disk::LogPosition position;
    uint64_t number = 0, number_in_file = 0, bytes = 0;

    ReadLog(const std::string& folder, uint64_t from) {
        disk::LogReader reader(folder, from);
        for (;;) {
            const disk::LogReader::Outcome outcome = reader.next();
            if (outcome == disk::LogReader::Outcome::record) {
                records.push_back({reader.number(), std::string(reader.effects())});
                continue;
            }
            outcomes.push_back(outcome);
            sentences.push_back(reader.sentence());
            if (outcome != disk::LogReader::Outcome::gap) break;
        }
        position = reader.position();
        number = reader.number();
        number_in_file = reader.number_in_file();
        bytes = reader.bytes_read();
    }
    disk::LogReader::Outcome last() const { return outcomes.back(); }
    std::vector<uint64_t> numbers() const {
        std::vector<uint64_t> all;
        for (const ReadRecord& record : records) all.push_back(record.number);
        return all;
    }
};

}  // namespace millrace::unit
