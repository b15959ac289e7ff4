// How numbers and texts look on a screen: short numbers, durations, cutting to a width. Pure functions, used by viewstats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::viewstats {

/// At most five characters: 0 .. 9999, then 12.3k, 456k, 7.89M and so on, in powers of 1000.
std::string short_number(double value);
/// "41 s", "3 min 12 s", "5 h 07 min", "12 d 3 h".
std::string duration(int64_t seconds);
/// "14:03:22", local time.
std::string time_of_day(int64_t seconds_since_1970);
/// Characters that `text` takes on a screen; UTF-8 counted as one column a code point.
size_t columns_of(std::string_view text);
/// `text` without control characters, cut to `columns`; a cut text ends with '~'.
std::string cut(std::string_view text, size_t columns);

}  // namespace millrace::viewstats
