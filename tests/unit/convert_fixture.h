// RDBs and AOFs for unit tests, written byte by byte, and what an import makes of them. Include it behind all headers of the project.
#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <vector>

#include "common/redis_format.h"
#include "tests/unit/folder.h"
#include "tools/convert/import.h"

namespace millrace::unit {

using namespace std::string_literals;

inline std::string rdb_string(std::string_view text) {
    std::string bytes;
    redis::append_string(bytes, text);
    return bytes;
}

template <class Integer>
std::string little_endian(Integer number) {
    return {reinterpret_cast<const char*>(&number), sizeof number};
}

/// An RDB of a version around these elements.
inline std::string rdb(const std::string& elements, unsigned version = 10) {
    const std::string bytes = fmt::format("REDIS{:04}", version) + elements + "\xff"s;
    return version < 5 ? bytes : bytes + little_endian(redis::crc64(bytes));
}

inline std::string rdb_key(std::string_view key, std::string_view value) { return "\0"s + rdb_string(key) + rdb_string(value); }

inline std::string aof(const std::vector<std::vector<std::string>>& commands) {
    std::string bytes;
    for (const std::vector<std::string>& words : commands) {
        bytes += fmt::format("*{}\r\n", words.size());
        for (const std::string& word : words) bytes += fmt::format("${}\r\n{}\r\n", word.size(), word);
    }
    return bytes;
}

/// What an import has read: "0:key=value@expiry 3:other=x", in order.
struct Imported {
    convert::Tally tally;
    disk::DataImage image;
    std::string text;

    static constexpr int64_t kNow = 1'700'000'000'000;

    explicit Imported(const std::string& path) : image(convert::read_redis(path, kNow, tally)) {
        std::map<std::string, std::string> sorted;
        for (size_t database = 0; database < kEffectDatabases; ++database)
            for (const auto& [key, entry] : image.databases()[database])
                sorted[fmt::format("{}:{}", database, key)] = entry.value + (entry.expire_at_ms == -1 ? "" : fmt::format("@{}", entry.expire_at_ms));
        for (const auto& [key, value] : sorted) text += (text.empty() ? "" : " ") + key + "=" + value;
    }
    static Imported of(const std::string& bytes) {
        const Folder folder;
        return Imported(folder.write("file", bytes));
    }
    static Imported of_commands(const std::vector<std::vector<std::string>>& commands) { return of(aof(commands)); }
};

}  // namespace millrace::unit
