// The generator's random numbers: splitmix64 (a stateless mixing function, used for values that must be a
// function of key and seed) and xoshiro256** (a fast stream, used to choose commands and keys). Both after
// the public-domain reference code of Blackman and Vigna. Repeatable from the seed; not for secrets.
#pragma once

#include <bit>
#include <cstdint>

namespace millrace::bench {

// A bijection on 64-bit words with good avalanche.
constexpr uint64_t mix64(uint64_t x) {
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

class Random {
  public:
    explicit Random(uint64_t seed) {
        for (auto& word : state_) word = mix64(seed++);
    }

    uint64_t next() {
        const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
        const uint64_t t = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= t;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }

    // Evenly in [0, bound), by multiplication instead of division; bound must not be 0.
    uint64_t below(uint64_t bound) {
        return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
    }

    // Evenly in [0, 1).
    double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

  private:
    uint64_t state_[4];
};

}  // namespace millrace::bench
