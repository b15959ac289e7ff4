// HyperLogLog sketches in a string, byte for byte as Redis 7.0 keeps them, so that they move to and from Redis. Runs in md; knows
// nothing of the store.
//
// A sketch estimates the number of different elements it was given: each element is hashed, 14 bits of the hash choose a register,
// and the register keeps the longest run of zeroes (plus one) that the other 50 bits of any such element began with (Flajolet,
// Fusy, Gandouet, Meunier 2007; the estimate from the registers' histogram: Ertl 2017, arXiv:1702.01284).
//
//   16 bytes   "HYLL", encoding (0 dense, 1 sparse), three zero bytes, the last estimate (64 bits, little-endian; top bit: out of date)
//   dense      16384 registers of 6 bits, the lowest bits of a byte first
//   sparse     runs of registers, in order:  00llllll           l + 1 registers (1 .. 64) that are zero
//                                            01llllll llllllll  l + 1 registers (1 .. 16384) that are zero
//                                            1vvvvvll           l + 1 registers (1 .. 4) that have the value v + 1 (1 .. 32)
// A sparse sketch becomes dense when a register's value does not fit or it would grow beyond a limit.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::md {

class HyperLogLog {
  public:
    static constexpr unsigned kIndexBits = 14;
    static constexpr unsigned kRegisters = 1u << kIndexBits;
    static constexpr unsigned kHashBits = 64 - kIndexBits;  ///< that a register's run is looked for in
    static constexpr size_t kHeaderBytes = 16;
    static constexpr size_t kDenseBytes = kHeaderBytes + kRegisters * 6 / 8;
    static constexpr size_t kSparseBytesMax = 3000;  ///< as hll-sparse-max-bytes in Redis

    using Registers = std::array<uint8_t, kRegisters>;
    enum class Change { none, made, corrupt };

    /// An empty sketch.
    HyperLogLog();
    /// REQUIRES: is_sketch(bytes).
    explicit HyperLogLog(std::string_view bytes) : bytes_(bytes) {}

    /// Whether a string has the head of a sketch and the length of one; a sparse one may still be corrupt.
    static bool is_sketch(std::string_view bytes);

    const std::string& bytes() const { return bytes_; }
    bool is_dense() const { return bytes_[kEncodingAt] == kDense; }

    Change add(std::string_view element);
    /// Raises a register to a value, if it is lower.
    Change raise(unsigned index, uint8_t value);
    /// False when it is corrupt.
    bool make_dense();

    /// The estimate that was kept, if nothing has changed since.
    std::optional<uint64_t> kept_estimate() const;
    void keep_estimate(uint64_t count);
    void forget_estimate() { bytes_[kEstimateAt + 7] = static_cast<char>(bytes_[kEstimateAt + 7] | 0x80); }
    /// Empty when it is corrupt.
    std::optional<uint64_t> estimate() const;

    /// Raises registers to those of this sketch. False, after some of them, when it is corrupt.
    bool merge_into(Registers& registers) const;
    static uint64_t estimate_of(const Registers& registers);

    /// The runs of a sparse sketch for people: "z:64 Z:16000 v:3,2". Empty if there are more than there can be registers.
    std::optional<std::string> runs_text() const;

  private:
    static constexpr char kDense = 0, kSparse = 1;
    static constexpr size_t kEncodingAt = 4, kEstimateAt = 8;

    struct Run;
    Run run_at(size_t at) const;
    Change raise_dense(unsigned index, uint8_t value);
    Change raise_sparse(unsigned index, uint8_t value);
    Change promote(unsigned index, uint8_t value);
    void join_runs(size_t at);
    uint8_t dense_register(unsigned index) const;
    void set_dense_register(unsigned index, uint8_t value);
    /// Calls visit(first register, count, value) for each run that is not zero; false when they do not make up all registers.
    template <class Visit>
    bool for_each_run(const Visit& visit) const;

    std::string bytes_;
};

}  // namespace millrace::md
