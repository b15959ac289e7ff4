// See options.h. Runs in every program.
#include "common/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <sstream>
#include <charconv>
#include <fstream>
#include <optional>

#include "common/check.h"
#include "common/command_line.h"
#include "common/text.h"

namespace millrace {

namespace {

constexpr OptionRow kRows[] = {
#define MR_OPTION(identifier, name, type, fallback, lowest, highest, unit, sentence) \
    {OptionId::identifier, name, OptionType::type, fallback, lowest, highest, unit, sentence},
#include "common/options.def"
#undef MR_OPTION
};

/// Of a number in a rule of `save`.
constexpr int64_t kSaveRuleMax = 2'147'483'647;

template <class Number>
bool parse_whole(std::string_view text, Number& number, int base = 10) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
    return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::string what_would_be_right(const OptionRow& row) {
    switch (row.type) {
        case OptionType::integer:
        case OptionType::bytes: return fmt::format("{} to {} ({})", row.lowest, row.highest, row.unit);
        case OptionType::octal: return fmt::format("an octal mode up to {:o}", row.highest);
        case OptionType::choice: return fmt::format("one of: {}", row.unit == "|" ? "(empty)" : row.unit);
        case OptionType::text: return std::string(row.unit);
    }
    return {};
}

bool has_control_characters(std::string_view text) {
    return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

/// The number of a choice, counted from 0, and its name as the table spells it.
bool find_choice(std::string_view choices, std::string_view value, int64_t& number, std::string& text) {
    number = 0;
    for (size_t start = 0; start <= choices.size(); ++number) {
        const size_t end = std::min(choices.find('|', start), choices.size());
        if (equals_ignoring_case(choices.substr(start, end - start), value)) {
            text = choices.substr(start, end - start);
            return true;
        }
        start = end + 1;
    }
    return false;
}

/// Pairs of seconds and changes, separated by blanks, as CONFIG GET shows them. As in Redis what stands between two blanks is 0.
bool read_save_rules(std::string_view value, std::string& text) {
    text.clear();
    bool is_seconds = true;
    for (size_t at = 0; at <= value.size() && !value.empty(); is_seconds = !is_seconds) {
        const size_t end = std::min(value.find(' ', at), value.size());
        const std::string_view word = value.substr(at, end - at);
        int64_t number = 0;
        if (!word.empty() && !parse_whole(word, number)) return false;
        if (number < (is_seconds ? 1 : 0) || number > kSaveRuleMax) return false;
        text += fmt::format("{}{}", text.empty() ? "" : " ", number);
        at = end + 1;
    }
    return is_seconds;
}

/// Empty, or a host and a port.
bool read_master(std::string_view value, std::string& text) {
    std::string host, port;
    std::istringstream words{std::string(value)};
    words >> host >> port;
    if (std::string more; words >> more) return false;
    int64_t number = 0;
    text = host.empty() ? "" : host + " " + port;
    return host.empty() || (parse_whole(port, number) && number >= 1 && number <= 65535);
}

/// The number of a value and its canonical text; false when it is not valid.
bool interpret(const OptionRow& row, std::string_view value, int64_t& number, std::string& text) {
    text = value;
    switch (row.type) {
        case OptionType::text:
            if (row.id == OptionId::save && !read_save_rules(value, text)) return false;
            if (row.id == OptionId::replicaof && !read_master(value, text)) return false;
            return row.highest == 0 || (value.size() <= static_cast<size_t>(row.highest) && !has_control_characters(value));
        case OptionType::choice: return find_choice(row.unit, value, number, text);
        case OptionType::octal: return parse_whole(value, number, 8) && number >= row.lowest && number <= row.highest;
        case OptionType::bytes:
            if (!parse_bytes(value, number)) return false;
            break;
        case OptionType::integer:
            if (!parse_whole(value, number)) return false;
            break;
    }
    text = std::to_string(number);
    if (row.id == OptionId::ring_size && !std::has_single_bit(static_cast<uint64_t>(number))) return false;
    return number >= row.lowest && number <= row.highest;
}

std::string trimmed(std::string_view text) {
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
    return std::string(text);
}

/// What an error repeats of somebody's words: not too much of it, and nothing that a terminal would obey.
std::string shown(std::string_view text) {
    constexpr size_t kShownBytesMax = 80;
    std::string result(text.substr(0, kShownBytesMax));
    for (char& c : result)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return text.size() > kShownBytesMax ? result + "..." : result;
}

/// The line up to a number sign that stands outside of double quotes.
std::string_view without_comment(std::string_view line) {
    bool quoted = false;
    for (size_t i = 0; i < line.size(); ++i) {
        if (quoted && line[i] == '\\' && i + 1 < line.size() && (line[i + 1] == '"' || line[i + 1] == '\\')) ++i;
        else if (line[i] == '"') quoted = !quoted;
        if (line[i] == '#' && !quoted) return line.substr(0, i);
    }
    return line;
}

/// A text in double quotes, with \" and \\ for these two characters inside of it, as millrace-conf writes it; empty for any other.
std::optional<std::string> unquoted(std::string_view text) {
    if (text.size() < 2 || text.front() != '"') return std::nullopt;
    std::string result;
    for (size_t i = 1; i < text.size(); ++i) {
        if (text[i] == '"') return i + 1 == text.size() ? std::optional(result) : std::nullopt;
        if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '"' || text[i + 1] == '\\')) ++i;
        result += text[i];
    }
    return std::nullopt;
}

}  // namespace

std::span<const OptionRow> option_rows() { return kRows; }

const OptionRow* find_option(std::string_view name) {
    for (const OptionRow& row : kRows)
        if (equals_ignoring_case(row.name, name)) return &row;
    return nullptr;
}

bool parse_bytes(std::string_view text, int64_t& bytes) {
    size_t digits = 0;
    while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
    int64_t count;
    if (!parse_whole(text.substr(0, digits), count)) return false;
    static constexpr struct { std::string_view unit; int64_t factor; } kUnits[] = {
        {"", 1}, {"b", 1}, {"k", 1000}, {"kb", 1024}, {"m", 1000'000}, {"mb", 1024 * 1024},
        {"g", 1000'000'000}, {"gb", 1024 * 1024 * 1024}};
    for (const auto& [unit, factor] : kUnits)
        if (equals_ignoring_case(text.substr(digits), unit)) return !__builtin_mul_overflow(count, factor, &bytes);
    return false;
}

bool parse_option(const OptionRow& row, std::string_view value, int64_t& number) {
    std::string text;
    return interpret(row, value, number, text);
}

bool parse_option(const OptionRow& row, std::string_view value, int64_t& number, std::string& text) { return interpret(row, value, number, text); }

std::string option_text(const OptionRow& row, int64_t number) {
    if (row.type != OptionType::choice) return std::to_string(number);
    size_t start = 0;
    for (; number > 0 && start < row.unit.size(); --number) start = std::min(row.unit.find('|', start), row.unit.size() - 1) + 1;
    return std::string(row.unit.substr(start, row.unit.find('|', start) - start));
}

Options::Options() {
    for (const OptionRow& row : kRows) {
        const auto index = static_cast<size_t>(row.id);
        CHECK(interpret(row, row.fallback, numbers_[index], texts_[index]));
    }
}

void Options::set(std::string_view name, std::string_view value) {
    const OptionRow* row = find_option(name);
    if (row == nullptr)
        throw Error(fmt::format("'{}' is no option; `millrace-conf --describe` lists them all", shown(name)));
    int64_t number = 0;
    std::string text;
    if (!interpret(*row, value, number, text))
        throw Error(fmt::format("'{}' is no value for {}; right would be {}", shown(value), row->name, what_would_be_right(*row)));
    numbers_[static_cast<size_t>(row->id)] = number;
    texts_[static_cast<size_t>(row->id)] = std::move(text);
}

void Options::read_file(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw Error(fmt::format("cannot read the configuration {}: {}", path, errno_text(errno)));
    std::string line;
    for (unsigned number = 1; std::getline(file, line); ++number) {
        const std::string content = trimmed(without_comment(line));
        if (content.empty()) continue;
        try {
            read_assignment(content);
        } catch (const std::exception& error) {
            throw Error(fmt::format("{} line {}: {}", path, number, error.what()));
        }
    }
}

void Options::read_assignment(const std::string& content) {
    const size_t equals = content.find('=');
    if (equals == std::string::npos) throw Error(fmt::format("'{}' is not of the form key = value", shown(content)));
    // CLI11's reader knows sections and dotted keys; here a key is an option's name and nothing else.
    const std::string name = trimmed(std::string_view(content).substr(0, equals));
    if (find_option(name) == nullptr)
        throw Error(fmt::format("'{}' is no option; `millrace-conf --describe` lists them all", shown(name)));
    if (const auto text = unquoted(trimmed(std::string_view(content).substr(equals + 1)))) return set(name, *text);
    for (const std::string& value : values_of_line(content)) set(name, value);
}

void Options::set_from_argument(std::string_view assignment) {
    const size_t equals = assignment.find('=');
    if (equals == std::string_view::npos)
        throw Error(fmt::format("--set {}: it is not of the form KEY=VALUE", assignment));
    try {
        set(trimmed(assignment.substr(0, equals)), trimmed(assignment.substr(equals + 1)));
    } catch (const Error& error) {
        throw Error(fmt::format("--set {}: {}", assignment, error.what()));
    }
}

}  // namespace millrace
