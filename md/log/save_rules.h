// The rules of the option `save`: pairs of seconds and changes. Used by md_log.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace millrace::md_log {

struct SaveRule {
    uint64_t seconds, changes;
};

/// The pairs of a text that the options have checked; what is no number ends it.
inline std::vector<SaveRule> parse_save_rules(std::string_view text) {
    std::vector<SaveRule> rules;
    uint64_t pair[2];
    for (unsigned part = 0;; part ^= 1) {
        while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
        if (text.empty() || text.front() < '0' || text.front() > '9') return rules;
        for (pair[part] = 0; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1))
            pair[part] = pair[part] * 10 + static_cast<uint64_t>(text.front() - '0');
        if (part == 1) rules.push_back({pair[0], pair[1]});
    }
}

}  // namespace millrace::md_log
