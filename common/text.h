// Small text helpers shared by the programs: comparing without case, Redis's numbers, glob patterns.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

constexpr bool equals_ignoring_case(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); ++i)
        if (lower(a[i]) != lower(b[i])) return false;
    return true;
}

std::string lowered(std::string_view text);

/// A client's word as Redis's error texts repeat it: up to its first NUL byte.
constexpr std::string_view until_nul(std::string_view word) { return word.substr(0, word.find('\0')); }

/// A word of any bytes for a line of a log or an error: what is not printable as \xNN; of a longer one the first `bytes_max`, and dots.
std::string printable(std::string_view word, size_t bytes_max = 64);

/// The integer that `text` is, exactly as Redis demands it: no spaces, no plus sign, no leading zeros, no "-0".
/// False when it is not one or does not fit 64 bits.
bool parse_integer(std::string_view text, int64_t& value);

/// The number that a text is, as Redis reads it: all that strtold() takes but spaces in front and what is no number.
bool parse_float(std::string_view text, long double& number);
/// As people write it: 17 digits behind the point, without the zeroes at the end.
std::string float_text(long double number);

/// Whether `text` matches a glob pattern with * ? [a-z] [^a] and backslash escapes, as Redis's KEYS and CONFIG GET do.
/// The work is bounded by pattern length x text length.
bool glob_match(std::string_view pattern, std::string_view text, bool ignore_case);

}  // namespace millrace
