// Reads an RDB, a snapshot of Redis's, of version 1 to 11 (Redis 1.0 to 7.2): gives its strings, and tells of everything else that it steps over. Used by
// millrace-convert and md_repl. What is read is input: anything may stand there. Throws Error: one sentence with the file and the offset.
//
// An RDB is "REDIS", the version in four digits, and elements, each with a byte that says what it is: the value of a key (its type, below 0xf0),
// or something about the next key or the whole file. From version 5 on a checksum ends it, which is 0 if its writer made none.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "common/redis/file_input.h"

namespace millrace::redis {

inline constexpr std::string_view kRdbMagic = "REDIS";
inline constexpr unsigned kRdbVersionMax = 11;

struct RdbString {
    uint8_t database;
    std::string key, value;
    int64_t expire_at_ms;  ///< -1: none; it may be over
};

/// Who is told what an RDB holds; each may throw.
struct RdbSinks {
    std::function<void(RdbString&& item)> string;
    /// A value of another type, or a part of the file that is no key's and whose loss matters (then without a key). `name`: "list|lists", of one and of more.
    std::function<void(const char* name, uint64_t database, std::string_view key)> other;
    /// What the file says of itself; may be empty.
    std::function<void(std::string_view name, std::string_view value)> fact = {};
};

class RdbReader {
  public:
    RdbReader(FileInput& input, RdbSinks sinks) : in_(input), sinks_(std::move(sinks)) {}

    /// Reads to the end of the RDB; in an AOF something may follow.
    void read() {
        while (step()) {}
    }
    /// Reads one element. False: that was the end.
    bool step();

  private:
    void read_header();
    bool read_element();
    void read_value(uint8_t type);
    void read_string();
    void read_expiry(bool in_ms);
    void read_fact();
    void pass_over(uint8_t what);
    void check_end();
    void step_over(std::string_view shape);
    void repeat(std::string_view group);
    void step_over_module();
    void need(bool had) const;

    FileInput& in_;
    const RdbSinks sinks_;
    std::string key_;
    unsigned version_ = 0;
    uint64_t database_ = 0, element_at_ = 0;
    int64_t expire_at_ms_ = -1;
};

}  // namespace millrace::redis
