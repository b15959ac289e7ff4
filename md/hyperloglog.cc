// See hyperloglog.h. Runs in md.
#include "md/hyperloglog.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace millrace::md {

namespace {

constexpr std::string_view kMagic = "HYLL";
constexpr unsigned kRegisterBits = 6;
constexpr uint8_t kRegisterMax = (1u << kRegisterBits) - 1;
constexpr unsigned kShortZeroesMax = 64, kLongZeroesMax = HyperLogLog::kRegisters, kValueRunMax = 4, kSparseValueMax = 32;
constexpr unsigned kRunsJoined = 5;  ///< runs that are looked at after a change for neighbours of the same value

/// 1 / (2 ln 2), the factor for infinitely many registers.
constexpr double kAlphaInfinity = 0.721347520444481703680;

/// MurmurHash64A of Austin Appleby (public domain), in the byte order of little-endian machines: sketches depend on it.
uint64_t murmur_hash(std::string_view bytes) {
    constexpr uint64_t kSeed = 0xadc83b19, kMultiplier = 0xc6a4a7935bd1e995;
    constexpr int kShift = 47;
    uint64_t hash = kSeed ^ (bytes.size() * kMultiplier);
    size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
        uint64_t word;
        std::memcpy(&word, bytes.data() + at, sizeof word);
        word *= kMultiplier;
        word ^= word >> kShift;
        hash = (hash ^ word * kMultiplier) * kMultiplier;
    }
    if (at < bytes.size()) {
        uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at, bytes.size() - at);
        hash = (hash ^ word) * kMultiplier;
    }
    hash ^= hash >> kShift;
    hash *= kMultiplier;
    return hash ^ hash >> kShift;
}

char* write_zeroes(char* at, unsigned count) {
    if (count <= kShortZeroesMax) {
        *at++ = static_cast<char>(count - 1);
        return at;
    }
    *at++ = static_cast<char>(0x40 | (count - 1) >> 8);
    *at++ = static_cast<char>(count - 1);
    return at;
}

char* write_values(char* at, unsigned value, unsigned count) {
    *at++ = static_cast<char>(0x80 | (value - 1) << 2 | (count - 1));
    return at;
}

/// Ertl's sigma and tau: what registers at zero, and those at their highest, add to the estimate.
double sigma(double x) {
    if (x == 1) return std::numeric_limits<double>::infinity();
    double sum = x, before, factor = 1;
    do {
        x *= x;
        before = sum;
        sum += x * factor;
        factor += factor;
    } while (sum != before);
    return sum;
}

double tau(double x) {
    if (x == 0 || x == 1) return 0;
    double sum = 1 - x, before, factor = 1;
    do {
        x = std::sqrt(x);
        before = sum;
        factor *= 0.5;
        sum -= (1 - x) * (1 - x) * factor;
    } while (sum != before);
    return sum / 3;
}

using Histogram = std::array<uint32_t, kRegisterMax + 1>;

uint64_t estimate_from(const Histogram& registers_with) {
    constexpr double m = HyperLogLog::kRegisters;
    double z = m * tau((m - registers_with[HyperLogLog::kHashBits + 1]) / m);
    for (unsigned value = HyperLogLog::kHashBits; value >= 1; --value) {
        z += registers_with[value];
        z *= 0.5;
    }
    z += m * sigma(registers_with[0] / m);
    return static_cast<uint64_t>(std::llround(kAlphaInfinity * m * m / z));
}

}  // namespace

/// One run of a sparse sketch.
struct HyperLogLog::Run {
    uint8_t value;
    uint16_t registers;
    uint8_t bytes;
};

HyperLogLog::HyperLogLog() : bytes_(kHeaderBytes, '\0') {
    bytes_.replace(0, kMagic.size(), kMagic);
    bytes_[kEncodingAt] = kSparse;
    char zeroes[2];
    bytes_.append(zeroes, write_zeroes(zeroes, kRegisters));
}

bool HyperLogLog::is_sketch(std::string_view bytes) {
    return bytes.size() >= kHeaderBytes && bytes.starts_with(kMagic) && (bytes[kEncodingAt] == kSparse || (bytes[kEncodingAt] == kDense && bytes.size() == kDenseBytes));
}

HyperLogLog::Run HyperLogLog::run_at(size_t at) const {
    const auto first = static_cast<uint8_t>(bytes_[at]);
    if ((first & 0x80) != 0) return {static_cast<uint8_t>((first >> 2 & 0x1f) + 1), static_cast<uint16_t>((first & 3) + 1), 1};
    if ((first & 0x40) == 0) return {0, static_cast<uint16_t>((first & 0x3f) + 1), 1};
    const unsigned second = at + 1 < bytes_.size() ? static_cast<uint8_t>(bytes_[at + 1]) : 0;
    return {0, static_cast<uint16_t>(((first & 0x3fu) << 8 | second) + 1), 2};
}

template <class Visit>
bool HyperLogLog::for_each_run(const Visit& visit) const {
    unsigned index = 0;
    for (size_t at = kHeaderBytes; at < bytes_.size();) {
        const Run run = run_at(at);
        if (at + run.bytes > bytes_.size() || index + run.registers > kRegisters) return false;
        if (run.value != 0) visit(index, run.registers, run.value);
        index += run.registers;
        at += run.bytes;
    }
    return index == kRegisters;
}

uint8_t HyperLogLog::dense_register(unsigned index) const {
    const size_t at = kHeaderBytes + index * kRegisterBits / 8;
    const unsigned shift = index * kRegisterBits % 8;
    unsigned bits = static_cast<uint8_t>(bytes_[at]);
    if (shift > 8 - kRegisterBits) bits |= static_cast<unsigned>(static_cast<uint8_t>(bytes_[at + 1])) << 8;
    return static_cast<uint8_t>(bits >> shift & kRegisterMax);
}

void HyperLogLog::set_dense_register(unsigned index, uint8_t value) {
    const size_t at = kHeaderBytes + index * kRegisterBits / 8;
    const unsigned shift = index * kRegisterBits % 8;
    const auto put = [&](size_t where, unsigned mask, unsigned bits) { bytes_[where] = static_cast<char>((static_cast<uint8_t>(bytes_[where]) & ~mask) | bits); };
    put(at, static_cast<unsigned>(kRegisterMax) << shift & 0xff, static_cast<unsigned>(value) << shift & 0xff);
    if (shift > 8 - kRegisterBits) put(at + 1, static_cast<unsigned>(kRegisterMax) >> (8 - shift), static_cast<unsigned>(value) >> (8 - shift));
}

HyperLogLog::Change HyperLogLog::add(std::string_view element) {
    const uint64_t hash = murmur_hash(element);
    const uint64_t rest = hash >> kIndexBits | 1ull << kHashBits;
    return raise(hash % kRegisters, static_cast<uint8_t>(std::countr_zero(rest) + 1));
}

HyperLogLog::Change HyperLogLog::raise(unsigned index, uint8_t value) {
    return is_dense() ? raise_dense(index, value) : raise_sparse(index, value);
}

HyperLogLog::Change HyperLogLog::raise_dense(unsigned index, uint8_t value) {
    if (dense_register(index) >= value) return Change::none;
    set_dense_register(index, value);
    return Change::made;
}

HyperLogLog::Change HyperLogLog::promote(unsigned index, uint8_t value) {
    return make_dense() ? raise_dense(index, value) : Change::corrupt;
}

HyperLogLog::Change HyperLogLog::raise_sparse(unsigned index, uint8_t value) {
    if (value > kSparseValueMax) return promote(index, value);
    // The run that has the register.
    size_t at = kHeaderBytes, before = kHeaderBytes;
    unsigned first = 0;
    Run run{};
    for (;; first += run.registers, before = at, at += run.bytes) {
        if (at >= bytes_.size()) return Change::corrupt;
        run = run_at(at);
        if (index < first + run.registers) break;
    }
    if (at + run.bytes > bytes_.size()) return Change::corrupt;
    if (run.value >= value) return Change::none;
    // It is split into what stands before the register, the register, and what stands behind it.
    char pieces[5];
    const auto write_run = [&run](char* to, unsigned count) { return count == 0 ? to : run.value == 0 ? write_zeroes(to, count) : write_values(to, run.value, count); };
    char* end = write_run(pieces, index - first);
    end = write_values(end, value, 1);
    end = write_run(end, first + run.registers - 1 - index);
    const auto bytes = static_cast<size_t>(end - pieces);
    if (bytes > run.bytes && bytes_.size() + bytes - run.bytes > kSparseBytesMax) return promote(index, value);
    bytes_.replace(at, run.bytes, pieces, bytes);
    join_runs(before);
    forget_estimate();
    return Change::made;
}

/// Makes one run of neighbours that have the same value, among the first few runs from `at`.
void HyperLogLog::join_runs(size_t at) {
    for (unsigned looked_at = 0; at < bytes_.size() && looked_at < kRunsJoined; ++looked_at) {
        const Run run = run_at(at);
        if (run.value != 0 && at + 1 < bytes_.size()) {
            const Run next = run_at(at + 1);
            if (next.value == run.value && run.registers + next.registers <= static_cast<int>(kValueRunMax)) {
                write_values(&bytes_[at + 1], run.value, run.registers + next.registers);
                bytes_.erase(at, 1);
                continue;
            }
        }
        at += run.bytes;
    }
}

bool HyperLogLog::make_dense() {
    if (is_dense()) return true;
    HyperLogLog dense(std::string_view(bytes_).substr(0, kHeaderBytes));
    dense.bytes_.resize(kDenseBytes);
    dense.bytes_[kEncodingAt] = kDense;
    const bool valid = for_each_run([&](unsigned first, unsigned count, uint8_t value) {
        for (unsigned i = 0; i < count; ++i) dense.set_dense_register(first + i, value);
    });
    if (valid) bytes_ = std::move(dense.bytes_);
    return valid;
}

std::optional<uint64_t> HyperLogLog::kept_estimate() const {
    uint64_t count;
    std::memcpy(&count, bytes_.data() + kEstimateAt, sizeof count);
    return count >> 63 == 0 ? std::optional(count) : std::nullopt;
}

void HyperLogLog::keep_estimate(uint64_t count) { bytes_.replace(kEstimateAt, sizeof count, reinterpret_cast<const char*>(&count), sizeof count); }

std::optional<uint64_t> HyperLogLog::estimate() const {
    Histogram histogram{};
    if (is_dense()) {
        for (unsigned index = 0; index < kRegisters; ++index) ++histogram[dense_register(index)];
    } else {
        histogram[0] = kRegisters;
        const bool valid = for_each_run([&](unsigned, unsigned count, uint8_t value) {
            histogram[value] += count;
            histogram[0] -= count;
        });
        if (!valid) return std::nullopt;
    }
    return estimate_from(histogram);
}

bool HyperLogLog::merge_into(Registers& registers) const {
    const auto merge = [&](unsigned index, uint8_t value) { registers[index] = std::max(registers[index], value); };
    if (!is_dense())
        return for_each_run([&](unsigned first, unsigned count, uint8_t value) {
            for (unsigned i = 0; i < count; ++i) merge(first + i, value);
        });
    for (unsigned index = 0; index < kRegisters; ++index) merge(index, dense_register(index));
    return true;
}

uint64_t HyperLogLog::estimate_of(const Registers& registers) {
    Histogram histogram{};
    for (const uint8_t value : registers) ++histogram[value];
    return estimate_from(histogram);
}

std::optional<std::string> HyperLogLog::runs_text() const {
    std::string text;
    unsigned runs = 0;
    for (size_t at = kHeaderBytes; at < bytes_.size();) {
        if (++runs > kRegisters) return std::nullopt;
        const Run run = run_at(at);
        if (!text.empty()) text += ' ';
        if (run.value != 0) text += fmt::format("v:{},{}", run.value, run.registers);
        else text += fmt::format("{}:{}", run.bytes == 1 ? 'z' : 'Z', run.registers);
        at += run.bytes;
    }
    return text;
}

}  // namespace millrace::md
