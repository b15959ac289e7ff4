// See format.h. Runs in viewstats.
#include "tools/viewstats/format.h"

#include <fmt/format.h>
#include <time.h>

namespace millrace::viewstats {

namespace {

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }
bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

}  // namespace

std::string short_number(double value) {
    if (value < 9.995 && value != static_cast<double>(static_cast<int64_t>(value))) return fmt::format("{:.2f}", value);
    if (value < 9999.5) return fmt::format("{:.0f}", value);
    static constexpr std::string_view kSuffixes = "kMGTPE";
    for (const char suffix : kSuffixes) {
        value /= 1000;
        if (value < 9.995) return fmt::format("{:.2f}{}", value, suffix);
        if (value < 99.95) return fmt::format("{:.1f}{}", value, suffix);
        if (value < 999.5) return fmt::format("{:.0f}{}", value, suffix);
    }
    return "huge";
}

std::string duration(int64_t seconds) {
    const int64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
    if (minutes == 0) return fmt::format("{} s", seconds);
    if (hours == 0) return fmt::format("{} min {:02} s", minutes, seconds % 60);
    if (days == 0) return fmt::format("{} h {:02} min", hours, minutes % 60);
    return fmt::format("{} d {} h", days, hours % 24);
}

std::string time_of_day(int64_t seconds_since_1970) {
    const time_t moment = static_cast<time_t>(seconds_since_1970);
    tm parts{};
    localtime_r(&moment, &parts);
    return fmt::format("{:02}:{:02}:{:02}", parts.tm_hour, parts.tm_min, parts.tm_sec);
}

size_t columns_of(std::string_view text) {
    size_t columns = 0;
    for (const char c : text) columns += !continues_character(c);
    return columns;
}

std::string cut(std::string_view text, size_t columns) {
    const bool too_long = columns_of(text) > columns;
    const size_t kept = too_long && columns > 0 ? columns - 1 : columns;
    std::string result;
    size_t used = 0;
    for (const char c : text) {
        if (!continues_character(c) && used++ == kept) break;
        result += is_control(c) ? '?' : c;
    }
    if (too_long && columns > 0) result += '~';
    return result;
}

}  // namespace millrace::viewstats
