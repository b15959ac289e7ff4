// See dump_format.h. Runs in md.
//
// Format: a type byte (0: string), a string (common/redis_format.h), the version in 2 bytes, the checksum of all before in 8, little-endian.
#include "md/dump_format.h"

#include <cstring>

#include "common/redis_format.h"

namespace millrace::md {

namespace {

constexpr uint16_t kVersion = 10;  ///< of Redis 7.0; what a later one writes is not read
constexpr size_t kFooterBytes = sizeof(uint16_t) + sizeof(uint64_t);
constexpr char kTypeString = 0;

}  // namespace

std::string dump_string(std::string_view value, bool compress) {
    std::string out(1, kTypeString);
    redis::append_string(out, value, compress);
    out.append(reinterpret_cast<const char*>(&kVersion), sizeof kVersion);
    const uint64_t checksum = redis::crc64(out);
    return out.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
}

DumpFault read_dump(std::string_view dump, uint64_t bytes_max, std::string& value) {
    if (dump.size() < kFooterBytes) return DumpFault::version_or_checksum;
    uint16_t version;
    uint64_t checksum;
    std::memcpy(&version, dump.data() + dump.size() - kFooterBytes, sizeof version);
    std::memcpy(&checksum, dump.data() + dump.size() - sizeof checksum, sizeof checksum);
    if (version > kVersion || checksum != redis::crc64(dump.substr(0, dump.size() - sizeof checksum))) return DumpFault::version_or_checksum;
    redis::MemoryInput in(dump.substr(0, dump.size() - kFooterBytes));
    uint8_t type;
    // Redis does not mind bytes behind the value either.
    return in.take_byte(type) && type == kTypeString && in.take_string(bytes_max, value) ? DumpFault::none : DumpFault::format;
}

}  // namespace millrace::md
