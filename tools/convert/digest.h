// A checksum of keys in the order in which they were written, to compare with what is read back. Used by millrace-convert.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <string_view>

namespace millrace::convert {

class Digest {
  public:
    void add(uint64_t database, std::string_view key, std::string_view value, int64_t expire_at_ms) {
        const uint64_t numbers[] = {state_, database, key.size(), value.size(), static_cast<uint64_t>(expire_at_ms)};
        state_ = XXH3_64bits(numbers, sizeof numbers);
        state_ = XXH3_64bits_withSeed(key.data(), key.size(), state_);
        state_ = XXH3_64bits_withSeed(value.data(), value.size(), state_);
        ++items_;
    }
    bool operator==(const Digest&) const = default;

  private:
    uint64_t state_ = 0, items_ = 0;
};

}  // namespace millrace::convert
