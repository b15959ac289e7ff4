// The rules that every byte in shared memory follows, and the hash that tells one layout from another.
//
// All shared structures are fixed-width, trivially copyable, free of pointers and laid out explicitly; the
// header of a segment carries a hash made here from the sizes and offsets of its structures, so that programs
// of different builds refuse each other's memory with a sentence instead of misreading it. Used by every process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace millrace {

/// Bytes kept between words that different processes write: two cache lines, because the adjacent-line
/// prefetcher moves lines in pairs. Our own constant: std::hardware_destructive_interference_size changes with
/// compiler flags, and a layout must not.
inline constexpr size_t kCacheLineDistance = 128;

/// The page size that segments and rings are rounded to, in bytes (x86-64 and common ARM64 configurations).
inline constexpr size_t kPageSize = 4096;

constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/// Hash of a layout: FNV-1a (64 bit, public domain, Fowler/Noll/Vo) over the kind's name and the numbers given:
/// list every size and offset that a reader depends on.
constexpr uint64_t layout_hash(std::string_view kind, std::initializer_list<uint64_t> numbers) {
    uint64_t hash = 14695981039346656037ull;
    auto mix = [&hash](uint8_t byte) { hash = (hash ^ byte) * 1099511628211ull; };
    for (char c : kind) mix(static_cast<uint8_t>(c));
    for (uint64_t number : numbers)
        for (int shift = 0; shift < 64; shift += 8) mix(static_cast<uint8_t>(number >> shift));
    return hash;
}

}  // namespace millrace
