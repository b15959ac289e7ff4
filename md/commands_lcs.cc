// LCS: the longest common subsequence of two strings, as Redis 7.0 answers it. Runs in md; handlers only (see handlers.h).
//
// The classic table of lengths (Wagner and Fischer 1974): time and memory grow with the product of both lengths, and the memory is bounded
// by proto-max-bulk-len as in Redis.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "common/text.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

struct LcsOptions {
    bool only_length = false, indices = false, match_lengths = false;
    int64_t shortest_match = 0;
};

/// False after an error reply.
bool parse_options(Plan& plan, Arguments words, LcsOptions& options) {
    for (size_t i = 0; i < words.size(); ++i) {
        if (equals_ignoring_case(words[i], "IDX")) options.indices = true;
        else if (equals_ignoring_case(words[i], "LEN")) options.only_length = true;
        else if (equals_ignoring_case(words[i], "WITHMATCHLEN")) options.match_lengths = true;
        else if (equals_ignoring_case(words[i], "MINMATCHLEN") && i + 1 < words.size()) {
            if (!parse_integer(words[++i], options.shortest_match)) return plan.reply().error(error_text::kNotAnInteger), false;
            options.shortest_match = std::max<int64_t>(options.shortest_match, 0);
        } else return plan.reply().error(error_text::kSyntax), false;
    }
    if (options.indices && options.only_length)
        return plan.reply().error("ERR If you want both the length and indexes, please just use IDX."), false;
    return true;
}

/// A run that both strings have: where it begins and ends in each, ends included.
struct Match {
    uint32_t first_begin, first_end, second_begin, second_end;
    uint32_t length() const { return first_end - first_begin + 1; }
};

/// Lengths of the longest common subsequences of all pairs of beginnings.
class Table {
  public:
    Table(Plan& plan, std::string_view first, std::string_view second) : width_(second.size() + 1), lengths_((first.size() + 1) * width_) {
        for (size_t i = 1; i <= first.size(); ++i, plan.tick())
            for (size_t j = 1; j <= second.size(); ++j)
                lengths_[i * width_ + j] = first[i - 1] == second[j - 1] ? at(i - 1, j - 1) + 1 : std::max(at(i - 1, j), at(i, j - 1));
    }
    uint32_t at(size_t i, size_t j) const { return lengths_[i * width_ + j]; }

  private:
    size_t width_;
    std::vector<uint32_t> lengths_;
};

/// Walks back through the table: the subsequence, and its runs from the last to the first.
void trace(const Table& table, std::string_view first, std::string_view second, std::string& common, std::vector<Match>& matches) {
    size_t i = first.size(), j = second.size(), left = table.at(i, j);
    common.resize(left);
    bool open = false;
    Match run{};
    const auto close = [&] {
        if (open) matches.push_back(run);
        open = false;
    };
    while (i > 0 && j > 0) {
        if (first[i - 1] == second[j - 1]) {
            common[--left] = first[i - 1];
            const auto at_first = static_cast<uint32_t>(i - 1), at_second = static_cast<uint32_t>(j - 1);
            if (open && run.first_begin == at_first + 1 && run.second_begin == at_second + 1) {
                run.first_begin = at_first;
                run.second_begin = at_second;
            } else {
                close();
                run = {at_first, at_first, at_second, at_second};
                open = true;
            }
            --i;
            --j;
        } else if (table.at(i - 1, j) > table.at(i, j - 1)) {
            --i;
        } else {
            --j;
        }
    }
    close();
}

void reply_matches(Plan& plan, const LcsOptions& options, const std::vector<Match>& matches, uint32_t length) {
    std::vector<Match> shown;
    for (const Match& match : matches)
        if (options.shortest_match == 0 || match.length() >= options.shortest_match) shown.push_back(match);
    plan.reply().map(2);
    plan.reply().bulk("matches");
    plan.reply().array(static_cast<uint32_t>(shown.size()));
    for (const Match& match : shown) {
        plan.reply().array(options.match_lengths ? 3 : 2);
        for (const auto& [begin, end] : {std::pair(match.first_begin, match.first_end), std::pair(match.second_begin, match.second_end)}) {
            plan.reply().array(2);
            plan.reply().integer(begin);
            plan.reply().integer(end);
        }
        if (options.match_lengths) plan.reply().integer(match.length());
    }
    plan.reply().bulk("len");
    plan.reply().integer(length);
}

}  // namespace

void handle_lcs(Plan& plan, Arguments arguments) {
    const std::array<std::string_view, 2> texts{plan.bytes(plan.read(arguments[0])), plan.bytes(plan.read(arguments[1]))};
    LcsOptions options;
    if (!parse_options(plan, arguments.subspan(2), options)) return;
    const __int128 bytes = __int128{texts[0].size() + 1} * (texts[1].size() + 1) * sizeof(uint32_t);
    if (bytes > static_cast<__int128>(plan.value_bytes_max()))
        return plan.reply().error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    const Table table(plan, texts[0], texts[1]);
    const uint32_t length = table.at(texts[0].size(), texts[1].size());
    if (options.only_length) return plan.reply().integer(length);
    std::string common;
    std::vector<Match> matches;
    trace(table, texts[0], texts[1], common, matches);
    if (options.indices) reply_matches(plan, options, matches, length);
    else plan.reply().bulk(common);
}

}  // namespace millrace::md
