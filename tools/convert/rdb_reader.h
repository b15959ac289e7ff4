// Reads an RDB, a snapshot of Redis's, of version 1 to 11 (Redis 1.0 to 7.2): gives its strings, and steps over everything else. Used by
// millrace-convert. What is read is input: anything may stand there. Throws Error: one sentence with the file and the offset.
//
// An RDB is "REDIS", the version in four digits, and elements, each with a byte that says what it is: the value of a key (its type, below 0xf0),
// or something about the next key or the whole file. From version 5 on a checksum ends it, which is 0 if its writer made none.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "tools/convert/file_input.h"
#include "tools/convert/tally.h"

namespace millrace::convert {

inline constexpr std::string_view kRdbMagic = "REDIS";
inline constexpr unsigned kRdbVersionMax = 11;

struct RdbString {
    uint8_t database;
    std::string key, value;
    int64_t expire_at_ms;  ///< -1: none; it may be over
};

class RdbReader {
  public:
    using Sink = std::function<void(RdbString&& item)>;

    RdbReader(FileInput& input, Tally& tally, Sink sink) : in_(input), tally_(tally), sink_(std::move(sink)) {}

    /// Reads to the end of the RDB; in an AOF something may follow.
    void read();

  private:
    void read_header();
    bool read_element();
    void read_value(uint8_t type);
    void read_string();
    void read_expiry(bool in_ms);
    void pass_over(uint8_t what);
    void check_end();
    void step_over(std::string_view shape);
    void repeat(std::string_view group);
    void step_over_module();
    void need(bool had) const;

    FileInput& in_;
    Tally& tally_;
    const Sink sink_;
    unsigned version_ = 0;
    uint64_t database_ = 0, element_at_ = 0;
    int64_t expire_at_ms_ = -1;
};

}  // namespace millrace::convert
