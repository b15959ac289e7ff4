// The checksum of a database: the sum, modulo 2^64, of what each of its keys adds, so that one who changes a key has to know what it was and what it is, and
// nothing else. What a key adds is again a sum: of its expiry and length, and of each block of its value; so a change of few bytes of a large value costs
// their blocks. It is of the data alone: two servers that have the same keys, values and expiries have the same one, wherever they keep them.
//
// The hash is XXH3 (Collet), which finds what has happened by accident; it does not withstand somebody who wants to deceive.
#pragma once

#include <xxhash.h>

#include <array>
#include <cstdint>
#include <string_view>

namespace millrace {

class KeyChecksum {
  public:
    static constexpr uint64_t kBlockBytes = 4096;

    static constexpr uint64_t blocks_in(uint64_t length) { return (length + kBlockBytes - 1) / kBlockBytes; }

    explicit KeyChecksum(std::string_view key) : seed_(XXH3_64bits(key.data(), key.size())) {}

    /// Expiry and length of a value.
    uint64_t of_frame(uint64_t length, int64_t expire_at_ms) const {
        const std::array<uint64_t, 2> words{length, static_cast<uint64_t>(expire_at_ms)};
        return XXH3_64bits_withSeed(words.data(), sizeof words, seed_ ^ kFrame);
    }
    /// Block `index` of a value: kBlockBytes, or what is left at its end.
    uint64_t of_block(uint64_t index, std::string_view bytes) const { return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed_ + (index + 1) * kOdd); }

  private:
    static constexpr uint64_t kFrame = 0x6a09e667f3bcc909, kOdd = 0x9e3779b97f4a7c15;
    uint64_t seed_;
};

/// One number for all databases, of which each counts at its place.
template <size_t count>
uint64_t checksum_of_databases(const std::array<uint64_t, count>& checksums) {
    return XXH3_64bits(checksums.data(), sizeof checksums);
}

}  // namespace millrace
