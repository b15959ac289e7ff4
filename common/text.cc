// See text.h. Used by every program.
#include "common/text.h"

#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace millrace {

namespace {

char folded(char c, bool ignore_case) { return ignore_case ? lower(c) : c; }

/// Matches one [class] at pattern[0] == '['; moves `pattern` behind it.
bool match_class(std::string_view& pattern, char c, bool ignore_case) {
    pattern.remove_prefix(1);
    const bool negated = !pattern.empty() && pattern.front() == '^';
    if (negated) pattern.remove_prefix(1);
    bool found = false;
    while (!pattern.empty() && pattern.front() != ']') {
        if (pattern.front() == '\\' && pattern.size() >= 2) {
            pattern.remove_prefix(1);
            found |= pattern.front() == c;
        } else if (pattern.size() >= 3 && pattern[1] == '-') {
            char low = folded(pattern[0], ignore_case), high = folded(pattern[2], ignore_case);
            if (low > high) std::swap(low, high);
            found |= folded(c, ignore_case) >= low && folded(c, ignore_case) <= high;
            pattern.remove_prefix(2);
        } else {
            found |= folded(pattern.front(), ignore_case) == folded(c, ignore_case);
        }
        pattern.remove_prefix(1);
    }
    if (!pattern.empty()) pattern.remove_prefix(1);  // the closing bracket; a missing one ends the class
    return found != negated;
}

/// Matches the pattern's first element (not '*') against `c`; moves `pattern` behind it.
bool match_one(std::string_view& pattern, char c, bool ignore_case) {
    if (pattern.front() == '[') return match_class(pattern, c, ignore_case);
    if (pattern.front() == '\\' && pattern.size() >= 2) pattern.remove_prefix(1);
    else if (pattern.front() == '?') return pattern.remove_prefix(1), true;
    const bool equal = folded(pattern.front(), ignore_case) == folded(c, ignore_case);
    pattern.remove_prefix(1);
    return equal;
}

}  // namespace

std::string lowered(std::string_view text) {
    std::string result(text);
    for (char& c : result) c = lower(c);
    return result;
}

bool parse_integer(std::string_view text, int64_t& value) {
    if (text.empty() || text.size() > 20) return false;
    const std::string_view digits = text.front() == '-' ? text.substr(1) : text;
    if (digits.empty() || digits.front() < '0' || digits.front() > '9') return false;
    if (digits.front() == '0' && text.size() > 1) return false;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

bool parse_float(std::string_view text, long double& number) {
    constexpr size_t kFloatBytesMax = 5 * 1024;
    if (text.empty() || text.size() >= kFloatBytesMax || std::isspace(static_cast<unsigned char>(text[0]))) return false;
    const std::string terminated(text);
    char* end;
    errno = 0;
    number = std::strtold(terminated.c_str(), &end);
    const bool out_of_range = errno == ERANGE && (std::isinf(number) || std::fpclassify(number) == FP_ZERO);
    return end == terminated.c_str() + terminated.size() && !out_of_range && !std::isnan(number);
}

std::string printable(std::string_view word, size_t bytes_max) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const char c : word.substr(0, bytes_max)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= ' ' && byte < 0x7f) text += c;
        else text.append("\\x").append(1, kDigits[byte >> 4]).append(1, kDigits[byte & 15]);
    }
    return word.size() > bytes_max ? text + "..." : text;
}

std::string float_text(long double number) {
    char digits[5 * 1024];
    const int length = std::snprintf(digits, sizeof digits, "%.17Lf", number);
    std::string text(digits, static_cast<size_t>(length));
    if (text.find('.') != std::string::npos) {
        text.erase(text.find_last_not_of('0') + 1);
        if (text.back() == '.') text.pop_back();
    }
    return text == "-0" ? "0" : text;
}

// Iterative matching with one backtracking point (the last star), so the work stays bounded.
bool glob_match(std::string_view pattern, std::string_view text, bool ignore_case) {
    std::string_view after_star, star_text;
    bool star_seen = false;
    while (true) {
        if (!pattern.empty() && pattern.front() == '*') {
            while (!pattern.empty() && pattern.front() == '*') pattern.remove_prefix(1);
            after_star = pattern, star_text = text, star_seen = true;
            continue;
        }
        if (text.empty() && pattern.empty()) return true;
        if (!text.empty() && !pattern.empty() && match_one(pattern, text.front(), ignore_case)) {
            text.remove_prefix(1);
            continue;
        }
        if (!star_seen || star_text.empty()) return false;
        star_text.remove_prefix(1);
        pattern = after_star, text = star_text;
    }
}

}  // namespace millrace
