// Which key a request touches. Three distributions over key numbers 0 .. keys-1:
//   uniform     every key equally often
//   zipf:THETA  rank r with weight 1 / (r+1)^THETA, the hot ranks scattered over the key space
//   sequential  0, 1, 2, … round and round; worker w of n takes every n-th key, so together they cover all
// The zipf draw is rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates
// from monotone discrete distributions", 1996): exact for any THETA > 0, constant time, no table.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/bench/random.h"

namespace millrace::bench {

enum class DistKind { kUniform, kZipf, kSequential };

struct DistSpec {
    DistKind kind = DistKind::kUniform;
    double theta = 0;  // zipf only
};

// Reads "uniform", "zipf:0.99" or "sequential". Returns false and says what would be right on anything else.
bool parse_dist(std::string_view text, DistSpec& spec, std::string& error);

class ZipfRank {
  public:
    ZipfRank(uint64_t keys, double theta);
    uint64_t draw(Random& random) const;  // a rank in 0 .. keys-1, 0 is the most frequent

  private:
    double weight(double x) const;  // x^-theta
    double area(double x) const;    // integral of weight from 1 to x
    double area_inverse(double area) const;

    uint64_t keys_;
    double theta_;
    double area_first_;
    double area_last_;
    double sure_accept_;
};

class KeyChooser {
  public:
    KeyChooser(DistSpec spec, uint64_t keys, uint64_t worker, uint64_t workers);

    uint64_t next(Random& random) {
        if (spec_.kind == DistKind::kUniform) return random.below(keys_);
        if (spec_.kind == DistKind::kZipf) return scatter(zipf_.draw(random));
        return next_sequential();
    }

    // A bijection on 0 .. keys-1, so that hot keys are not neighbours.
    uint64_t scatter(uint64_t rank) const {
        return static_cast<uint64_t>(static_cast<unsigned __int128>(rank) * scatter_factor_ % keys_);
    }

  private:
    uint64_t next_sequential();

    DistSpec spec_;
    uint64_t keys_;
    uint64_t scatter_factor_;  // coprime to keys_
    uint64_t position_;        // sequential only
    uint64_t stride_;
    ZipfRank zipf_;
};

}  // namespace millrace::bench
