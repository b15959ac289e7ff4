// A log for unit tests: writes records into a folder, and reads back what a reader makes of it. Include it behind all headers of the project.
#pragma once

#include <algorithm>
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
