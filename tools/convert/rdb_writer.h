// Writes an RDB of version 10, as Redis 7.0 reads and writes it: strings only. Used by millrace-convert. Throws Error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/segment.h"

namespace millrace::convert {

class RdbWriter {
  public:
    /// Writes into PATH.<pid>.partial.
    explicit RdbWriter(std::string path);
    /// Removes it, if it was not finished.
    ~RdbWriter();
    RdbWriter(const RdbWriter&) = delete;

    /// The keys that follow belong to this database; so many, and so many with an expiry.
    void begin_database(uint64_t database, uint64_t keys, uint64_t expiring);
    /// `expire_at_ms` -1: none.
    void add(std::string_view key, std::string_view value, int64_t expire_at_ms);
    /// Ends the file and makes it durable under partial(). The name follows by publish().
    void finish();
    /// Gives the file its name, in the place of one that has it.
    void publish();

    const std::string& partial() const { return partial_; }

  private:
    void write();
    void put_remark(std::string_view name, std::string_view value);
    [[noreturn]] void fail(const char* action) const;

    const std::string path_, partial_;
    Descriptor fd_;
    std::string buffer_;
    uint64_t at_ = 0, crc_ = 0;
    bool published_ = false;
};

}  // namespace millrace::convert
