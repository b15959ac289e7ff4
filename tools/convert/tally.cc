// See tally.h. Runs in millrace-convert.
#include "tools/convert/tally.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::convert {

namespace {

/// Of "list|lists" the one that fits.
std::string noun_of(const std::string& name, uint64_t count) {
    const size_t bar = name.find('|');
    if (bar == std::string::npos) return name;
    return count == 1 ? name.substr(0, bar) : name.substr(bar + 1);
}

/// "12 lists, 3 hashes", the most frequent first.
std::string listed(const std::map<std::string, uint64_t>& counts) {
    std::vector<std::pair<std::string, uint64_t>> rows(counts.begin(), counts.end());
    std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    std::string text;
    for (const auto& [name, count] : rows) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, noun_of(name, count));
    return text;
}

}  // namespace

std::string counted(uint64_t count, const std::string& noun) { return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s"); }

std::vector<std::string> Tally::lines() const {
    std::vector<std::string> all = remarks;
    if (expired > 0) all.push_back(fmt::format("expired, and left out: {}", counted(expired, "key")));
    if (commands > 0) all.push_back(fmt::format("applied: {}", counted(commands, "command")));
    if (!types.empty()) all.push_back(fmt::format("skipped: {}", listed(types)));
    if (!skipped.empty()) all.push_back(fmt::format("skipped commands: {}", listed(skipped)));
    if (stale > 0)
        all.push_back(fmt::format("warning: {} of these change strings, whose keys are now as they were before; import an RDB, or the AOF after a BGREWRITEAOF", stale));
    if (refused > 0) all.push_back(fmt::format("not applied, because they do not fit the data: {}", counted(refused, "command")));
    return all;
}

}  // namespace millrace::convert
