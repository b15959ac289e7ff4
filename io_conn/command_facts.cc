// See command_facts.h. Runs in io_conn.
#include "io_conn/command_facts.h"

#include <algorithm>
#include <charconv>

#include "common/check.h"
#include "common/text.h"

namespace millrace::io_conn {

namespace {

struct CommandText {
    std::string_view command, text;
};

#define MR_CATEGORIES(...)
#define MR_TIPS(...)
#define MR_KEYS(...)
#define MR_DOC_FLAGS(...)
#define MR_DEPRECATED(...)
#define MR_ARGUMENTS(...)

#undef MR_CATEGORIES
#define MR_CATEGORIES(name, categories) {name, categories},
constexpr CommandText kCategories[] = {
#include "io_conn/command_facts.def"
};
#undef MR_CATEGORIES
#define MR_CATEGORIES(...)

#undef MR_TIPS
#define MR_TIPS(name, tips) {name, tips},
constexpr CommandText kTips[] = {
#include "io_conn/command_facts.def"
};
#undef MR_TIPS
#define MR_TIPS(...)

#undef MR_KEYS
#define MR_KEYS(name, flags, first, last, step) {name, flags, first, last, step},
constexpr KeySpec kKeySpecs[] = {
#include "io_conn/command_facts.def"
};
#undef MR_KEYS
#define MR_KEYS(...)

#undef MR_DOC_FLAGS
#define MR_DOC_FLAGS(name, flags) {name, flags},
constexpr CommandText kDocFlags[] = {
#include "io_conn/command_facts.def"
};
#undef MR_DOC_FLAGS
#define MR_DOC_FLAGS(...)

#undef MR_DEPRECATED
#define MR_DEPRECATED(name, since, replaced_by) {name, since, replaced_by},
constexpr Deprecation kDeprecations[] = {
#include "io_conn/command_facts.def"
};
#undef MR_DEPRECATED
#define MR_DEPRECATED(...)

#undef MR_ARGUMENTS
#define MR_ARGUMENTS(name, arguments) {name, arguments},
constexpr CommandText kArguments[] = {
#include "io_conn/command_facts.def"
};

/// The rows of a command, which follow each other.
template <class Row, size_t count>
std::span<const Row> rows_of(const Row (&rows)[count], std::string_view command) {
    const auto is_its = [command](const Row& row) { return row.command == command; };
    const Row* const first = std::find_if(rows, rows + count, is_its);
    return {first, std::find_if_not(first, rows + count, is_its)};
}

template <size_t count>
std::string_view text_of(const CommandText (&rows)[count], std::string_view command) {
    const auto found = rows_of(rows, command);
    return found.empty() ? std::string_view() : found[0].text;
}

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    while (!text.empty()) {
        const size_t end = std::min(text.find(' '), text.size());
        words.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

/// In the order in which Redis lists them.
constexpr std::string_view kCategoryNames[] = {"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
                                               "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting"};

/// The category of a group's commands; containers have none.
std::string_view category_of_group(const CommandRow& row) {
    if (row.place == CommandPlace::container || row.group == "server") return {};
    if (row.id == CommandId::wait) return {};  // it is about no key
    if (row.group == "generic") return "keyspace";
    if (row.group == "transactions") return "transaction";
    return row.group;
}

/// Reads what MR_ARGUMENTS says.
class ArgumentReader {
  public:
    explicit ArgumentReader(std::string_view text) : text_(text) {}

    std::vector<CommandArgument> read() {
        std::vector<CommandArgument> arguments;
        for (;;) {
            arguments.push_back(read_one());
            if (!take(' ')) return arguments;
        }
    }

  private:
    bool take(char c) {
        if (text_.empty() || text_.front() != c) return false;
        text_.remove_prefix(1);
        return true;
    }
    std::string_view take_word() {
        const std::string_view word = text_.substr(0, text_.find_first_of("@=^!?*+() "));
        text_.remove_prefix(word.size());
        return word;
    }
    CommandArgument read_one() {
        CommandArgument argument;
        const std::string_view word = take_word();
        const size_t colon = word.rfind(':');
        argument.name = word.substr(0, colon);
        argument.type = word.substr(colon + 1);
        if (take('@')) {
            const std::string_view number = take_word();
            std::from_chars(number.data(), number.data() + number.size(), argument.key_spec);
        }
        if (take('=')) argument.token = take_word();
        if (take('^')) argument.since = take_word();
        if (take('!')) argument.deprecated_since = take_word();
        argument.optional = take('?');
        argument.multiple = take('*');
        argument.multiple_token = take('+');
        if (take('(')) {
            argument.inside = read();
            CHECK(take(')'));
        }
        return argument;
    }

    std::string_view text_;
};

/// What SET and BITFIELD do with their key depends on their other words.
std::string_view flags_of(const KeySpec& spec, CommandId id, std::span<const std::string_view> words) {
    constexpr std::string_view kUpdates = "RW access update";
    if (id == CommandId::set) {
        const auto is_get = [](std::string_view word) { return equals_ignoring_case(word, "get"); };
        return std::any_of(words.begin() + 3, words.end(), is_get) ? kUpdates : "OW update";
    }
    if (id != CommandId::bitfield) return spec.flags;
    for (size_t i = 2; i < words.size();) {
        const size_t behind = words.size() - i - 1;
        if (equals_ignoring_case(words[i], "get") && behind >= 2) i += 3;
        else if (equals_ignoring_case(words[i], "overflow") && behind >= 1) i += 2;
        else return kUpdates;
    }
    return "RO access";
}

}  // namespace

std::vector<std::string_view> acl_categories(const CommandRow& row) {
    std::vector<std::string_view> own = words_of(text_of(kCategories, row.name));
    if (row.is(command_flag::write)) own.push_back("write");
    if (row.is(command_flag::readonly)) own.push_back("read");
    if (row.is(command_flag::admin)) own.insert(own.end(), {"admin", "dangerous"});
    own.push_back(row.is(command_flag::fast) ? "fast" : "slow");
    own.push_back(category_of_group(row));
    std::vector<std::string_view> categories;
    for (const std::string_view name : kCategoryNames)
        if (std::ranges::find(own, name) != own.end()) categories.push_back(name);
    return categories;
}

bool has_acl_category(const CommandRow& row, std::string_view category) {
    const auto is_it = [category](std::string_view name) { return equals_ignoring_case(name, category); };
    return std::ranges::any_of(acl_categories(row), is_it);
}

std::vector<std::string_view> command_tips(const CommandRow& row) { return words_of(text_of(kTips, row.name)); }

std::span<const KeySpec> key_specs(const CommandRow& row) { return rows_of(kKeySpecs, row.name); }

std::optional<std::vector<FoundKey>> keys_of(const CommandRow& row, std::span<const std::string_view> words) {
    std::vector<FoundKey> keys;
    const int count = static_cast<int>(words.size());
    for (const KeySpec& spec : key_specs(row)) {
        const int last = spec.last >= 0 ? spec.first + spec.last : count + spec.last;
        if (spec.first >= count || last >= count || last < spec.first) return std::nullopt;
        const std::string_view flags = flags_of(spec, row.id, words);
        for (int i = spec.first; i <= last; i += spec.step) keys.push_back({words[static_cast<size_t>(i)], flags});
    }
    return keys;
}

std::string_view command_doc_flags(const CommandRow& row) {
    return deprecation_of(row) != nullptr ? std::string_view("deprecated") : text_of(kDocFlags, row.name);
}

const Deprecation* deprecation_of(const CommandRow& row) {
    const auto found = rows_of(kDeprecations, row.name);
    return found.empty() ? nullptr : &found[0];
}


std::vector<CommandArgument> arguments_of(const CommandRow& row) {
    const std::string_view text = text_of(kArguments, row.name);
    return text.empty() ? std::vector<CommandArgument>() : ArgumentReader(text).read();
}

}  // namespace millrace::io_conn
