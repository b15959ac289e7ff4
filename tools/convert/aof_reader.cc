// See aof_reader.h. Runs in millrace-convert.
#include "tools/convert/aof_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "common/check.h"
#include "common/effects.h"
#include "common/text.h"

namespace millrace::convert {

namespace {

constexpr size_t kLineMax = 64;
constexpr size_t kRemarkMax = 64 * 1024;
constexpr int64_t kWordsMax = 1024 * 1024 * 1024;
constexpr size_t kReservedMax = 1024;  ///< words, before they have come

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : -1;
}

/// The next word of a manifest's line, which may stand in quotes with escapes; it is taken off. Nothing: there is none, or the quotes are wrong.
std::optional<std::string> next_word(std::string_view& line) {
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    if (line.empty()) return std::nullopt;
    std::string word;
    const bool quoted = line.front() == '"';
    size_t i = quoted ? 1 : 0;
    for (; i < line.size() && line[i] != (quoted ? '"' : ' '); ++i) {
        if (!quoted || line[i] != '\\' || i + 1 == line.size()) {
            word += line[i];
        } else if (const char escape = line[++i]; escape == 'x' && i + 2 < line.size() && hex_digit(line[i + 1]) >= 0 && hex_digit(line[i + 2]) >= 0) {
            word += static_cast<char>(hex_digit(line[i + 1]) * 16 + hex_digit(line[i + 2]));
            i += 2;
        } else {
            word += escape == 'n' ? '\n' : escape == 'r' ? '\r' : escape == 't' ? '\t' : escape == 'b' ? '\b' : escape == 'a' ? '\a' : escape;
        }
    }
    if (quoted && i++ >= line.size()) return std::nullopt;
    line.remove_prefix(std::min(i, line.size()));
    return word;
}

struct ManifestLine {
    std::string file, type;
    int64_t sequence = 0;
};

/// "file NAME seq 1 type b". False: it is something else.
bool parse_manifest_line(std::string_view line, ManifestLine& parsed) {
    while (const std::optional<std::string> key = next_word(line)) {
        const std::optional<std::string> value = next_word(line);
        if (!value) return false;
        if (equals_ignoring_case(*key, "file")) parsed.file = *value;
        else if (equals_ignoring_case(*key, "type")) parsed.type = *value;
        else if (equals_ignoring_case(*key, "seq") && !parse_integer(*value, parsed.sequence)) return false;
    }
    const bool known = parsed.type == "b" || parsed.type == "i" || parsed.type == "h";
    return known && !parsed.file.empty() && parsed.file.find('/') == std::string::npos && line.find_first_not_of(' ') == std::string_view::npos;
}

}  // namespace

AofFiles read_manifest(const std::string& path, std::string_view content) {
    AofFiles files;
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    int64_t sequence = 0;
    for (size_t number = 1; !content.empty(); ++number) {
        std::string_view line = content.substr(0, content.find('\n'));
        content.remove_prefix(std::min(line.size() + 1, content.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.empty() || line.front() == '#') continue;
        ManifestLine parsed;
        const auto fail = [&](const char* what) { throw Error(fmt::format("{}, line {}: {}", path, number, what)); };
        if (!parse_manifest_line(line, parsed)) fail("it is not 'file NAME seq NUMBER type b', i or h");
        if (parsed.type == "h") continue;
        if (parsed.type == "b" && !files.paths.empty()) fail("the base is not the first file");
        if (parsed.type == "i" && parsed.sequence <= sequence) fail("the numbers of the files do not rise");
        if (parsed.type == "b") files.base = true;
        else sequence = parsed.sequence;
        files.paths.push_back((folder / parsed.file).string());
    }
    return files;
}

void AofReader::read(redis::FileInput& in, bool last) {
    replay_.begin_file();
    if (in.begins_with(redis::kRdbMagic)) redis::RdbReader(in, rdb_).read();
    Words words;
    uint64_t whole = in.offset();  ///< where the last whole command or transaction ends
    in_transaction_ = false;
    bool cut = false;
    while (!in.ended() && !(cut = !take_command(in, words))) {
        if (!words.empty()) take(in, words);
        if (!in_transaction_) whole = in.offset();
    }
    if (!cut && !in_transaction_) return;
    const std::string what = cut ? "ends inside of a command" : "ends inside of a transaction";
    if (!last) in.fail(whole, fmt::format("the file {}, and it is not the last one: it is damaged", what));
    tally_.remarks.push_back(fmt::format("{} {}: what is behind offset {} is left out, as Redis does", in.path(), what, whole));
}

/// False: the file ends before the command does. A remark has no words.
bool AofReader::take_command(redis::FileInput& in, Words& words) {
    int64_t count, length;
    std::string_view bytes;
    words.clear();
    command_at_ = in.offset();
    if (in.begins_with("#")) return in.take_line(kRemarkMax, bytes);
    if (!take_number(in, '*', kWordsMax, count)) return false;
    if (count == 0) in.fail(command_at_, "there is a command without a word");
    words.reserve(std::min<size_t>(static_cast<size_t>(count), kReservedMax));
    for (int64_t i = 0; i < count; ++i) {
        if (!take_number(in, '$', kEffectBytesMax, length) || !in.take(static_cast<uint64_t>(length), bytes)) return false;
        words.emplace_back(bytes);
        const uint64_t end = in.offset();
        if (!in.take(2, bytes)) return false;
        if (bytes != "\r\n") in.fail(end, "there is no CR LF where a word of a command ends");
    }
    return true;
}

/// A line that is `kind` and a number. False: the file ends before.
bool AofReader::take_number(redis::FileInput& in, char kind, int64_t max, int64_t& number) {
    const uint64_t at = in.offset();
    std::string_view line;
    if (!in.take_line(kLineMax, line)) {
        const std::string_view front(&kind, 1);
        if (!in.ended() && !in.begins_with(front)) in.fail(at, fmt::format("there is no '{}' where a command goes on", kind));
        return false;
    }
    if (line.empty() || line.front() != kind || !parse_integer(line.substr(1), number) || number < 0 || number > max)
        in.fail(at, fmt::format("there is no '{}' with a number up to {}", kind, max));
    return true;
}

/// Does a command, or keeps it until the end of its transaction.
void AofReader::take(redis::FileInput& in, Words& words) {
    if (equals_ignoring_case(words[0], "MULTI")) {
        in_transaction_ = true;
        transaction_.clear();
    } else if (equals_ignoring_case(words[0], "EXEC")) {
        in_transaction_ = false;
        for (Words& each : transaction_) execute(in, each);
        transaction_.clear();
    } else if (in_transaction_) {
        transaction_.push_back(std::move(words));
    } else {
        execute(in, words);
    }
}

void AofReader::execute(redis::FileInput& in, Words& words) {
    replay_.execute(words);
    if (replay_.beyond_databases()) in.fail(command_at_, fmt::format("it uses a database beyond the {} that there are here (0 to {})", kEffectDatabases, kEffectDatabases - 1));
}

}  // namespace millrace::convert
