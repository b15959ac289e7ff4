// What COMMAND tells of a command beyond its row in common/commands.def: ACL categories, tips, where its keys are and what it does with them,
// what COMMAND DOCS knows of its arguments and its past. Runs in io_conn; the table is command_facts.def.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/commands.h"

namespace millrace::io_conn {

/// A rule by which keys are found among a command's words, as in COMMAND INFO.
struct KeySpec {
    std::string_view command;
    std::string_view flags;  ///< separated by spaces, in Redis's order
    int first;               ///< place of the first key; the command's name is 0
    int last;                ///< of the last key, counted from the first; negative: from the end of the words, -1 is the last one
    int step;
};

/// A key of a command, and the flags of the rule that found it.
struct FoundKey {
    std::string_view key;
    std::string_view flags;
};

struct Deprecation {
    std::string_view command, since, replaced_by;
};

/// One argument of COMMAND DOCS. What is empty is not told.
struct CommandArgument {
    std::string_view name, type, token, since, deprecated_since;
    int key_spec = -1;  ///< which KeySpec finds it; -1: it is no key
    bool optional = false, multiple = false, multiple_token = false;
    std::vector<CommandArgument> inside;
};

/// The names of a command's ACL categories without the '@', in Redis's order.
std::vector<std::string_view> acl_categories(const CommandRow& row);
/// Whether a command is of a category, in any case.
bool has_acl_category(const CommandRow& row, std::string_view category);

std::vector<std::string_view> command_tips(const CommandRow& row);
std::span<const KeySpec> key_specs(const CommandRow& row);
/// The keys among the words of a whole command. Empty: there are too few words for the rules.
/// REQUIRES: the command has rules, and accepts so many words.
std::optional<std::vector<FoundKey>> keys_of(const CommandRow& row, std::span<const std::string_view> words);

std::string_view command_doc_flags(const CommandRow& row);
const Deprecation* deprecation_of(const CommandRow& row);
std::vector<CommandArgument> arguments_of(const CommandRow& row);

}  // namespace millrace::io_conn
