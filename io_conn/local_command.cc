// COMMAND and its subcommands: what the command table and command_facts.h know, in the shape of Redis 7.0. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <string>

#include "common/text.h"
#include "io_conn/command_facts.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

namespace {

struct FlagName {
    uint32_t flag;
    std::string_view name;
};
/// In the order in which Redis lists them.
constexpr FlagName kFlagNames[] = {
    {command_flag::write, "write"},       {command_flag::readonly, "readonly"},         {command_flag::denyoom, "denyoom"},
    {command_flag::admin, "admin"},       {command_flag::noscript, "noscript"},         {command_flag::loading, "loading"},
    {command_flag::stale, "stale"},       {command_flag::skip_slowlog, "skip_slowlog"}, {command_flag::fast, "fast"},
    {command_flag::no_auth, "no_auth"},   {command_flag::no_async_loading, "no_async_loading"},
    {command_flag::no_multi, "no_multi"}, {command_flag::allow_busy, "allow_busy"},
};

bool is_shown(const CommandRow& row) { return !row.is(command_flag::internal); }

std::vector<const CommandRow*> subcommands_of(const CommandRow& row) {
    std::vector<const CommandRow*> result;
    if (row.subcommand()) return result;
    for (unsigned i = static_cast<unsigned>(row.id) + 1; i < kCommandCount; ++i) {
        const CommandRow& next = command_rows()[i];
        if (!next.subcommand() || !next.name.starts_with(row.name)) break;
        if (is_shown(next)) result.push_back(&next);
    }
    return result;
}

std::vector<const CommandRow*> top_level_commands() {
    std::vector<const CommandRow*> result;
    for (const CommandRow& row : command_rows())
        if (!row.subcommand() && is_shown(row)) result.push_back(&row);
    return result;
}

/// A command or "container|subcommand" by name, or null.
const CommandRow* find_any(std::string_view name) {
    const size_t bar = name.find('|');
    const CommandRow* row = find_command(name.substr(0, bar));
    if (row != nullptr && bar != std::string_view::npos) row = find_subcommand(*row, name.substr(bar + 1));
    return row != nullptr && is_shown(*row) ? row : nullptr;
}

/// Words separated by spaces as a set of statuses.
void write_words(RespWriter& out, std::string_view text) {
    uint32_t count = 0;
    for (size_t at = 0; at < text.size(); at = std::min(text.find(' ', at), text.size()) + 1) ++count;
    out.set(count);
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find(' ', at), text.size());
        out.status(text.substr(at, end - at));
        at = end + 1;
    }
}

void write_key_specs(RespWriter& out, const CommandRow& row) {
    const std::span<const KeySpec> specs = key_specs(row);
    out.set(static_cast<uint32_t>(specs.size()));
    for (const KeySpec& spec : specs) {
        out.map(3);
        out.bulk("flags"), write_words(out, spec.flags);
        out.bulk("begin_search"), out.map(2);
        out.bulk("type"), out.bulk("index");
        out.bulk("spec"), out.map(1), out.bulk("index"), out.integer(spec.first);
        out.bulk("find_keys"), out.map(2);
        out.bulk("type"), out.bulk("range");
        out.bulk("spec"), out.map(3);
        out.bulk("lastkey"), out.integer(spec.last);
        out.bulk("keystep"), out.integer(spec.step);
        out.bulk("limit"), out.integer(0);
    }
}

void write_command_info(RespWriter& out, const CommandRow& row) {
    out.array(10);
    out.bulk(row.name);
    out.integer(row.arity);
    std::vector<std::string_view> flags;
    for (const FlagName& flag : kFlagNames)
        if (row.is(flag.flag)) flags.push_back(flag.name);
    out.set(static_cast<uint32_t>(flags.size()));
    for (const std::string_view flag : flags) out.status(flag);
    for (const int number : {row.first_key, row.last_key, row.key_step}) out.integer(number);
    const std::vector<std::string_view> categories = acl_categories(row);
    out.set(static_cast<uint32_t>(categories.size()));
    for (const std::string_view category : categories) out.status("@" + std::string(category));
    const std::vector<std::string_view> tips = command_tips(row);
    out.set(static_cast<uint32_t>(tips.size()));
    for (const std::string_view tip : tips) out.bulk(tip);
    write_key_specs(out, row);
    const auto subcommands = subcommands_of(row);
    if (subcommands.empty()) return out.set(0);
    out.array(static_cast<uint32_t>(subcommands.size()));
    for (const CommandRow* subcommand : subcommands) write_command_info(out, *subcommand);
}

void write_arguments(RespWriter& out, std::span<const CommandArgument> arguments) {
    out.array(static_cast<uint32_t>(arguments.size()));
    for (const CommandArgument& argument : arguments) {
        std::string flags;
        for (const auto& [is_set, name] : {std::pair(argument.optional, "optional"), {argument.multiple, "multiple"}, {argument.multiple_token, "multiple_token"}})
            if (is_set) flags += std::string(flags.empty() ? "" : " ") + name;
        const bool has_token = !argument.token.empty(), has_since = !argument.since.empty(), was_deprecated = !argument.deprecated_since.empty();
        out.map(2u + (argument.key_spec >= 0) + has_token + has_since + was_deprecated + !flags.empty() + !argument.inside.empty());
        out.bulk("name"), out.bulk(argument.name);
        out.bulk("type"), out.bulk(argument.type);
        if (argument.key_spec >= 0) out.bulk("key_spec_index"), out.integer(argument.key_spec);
        if (has_token) out.bulk("token"), out.bulk(argument.token);
        if (has_since) out.bulk("since"), out.bulk(argument.since);
        if (was_deprecated) out.bulk("deprecated_since"), out.bulk(argument.deprecated_since);
        if (!flags.empty()) out.bulk("flags"), write_words(out, flags);
        if (!argument.inside.empty()) out.bulk("arguments"), write_arguments(out, argument.inside);
    }
}

void write_command_docs(RespWriter& out, const CommandRow& row) {
    const auto subcommands = subcommands_of(row);
    const auto arguments = arguments_of(row);
    const std::string_view flags = command_doc_flags(row);
    const Deprecation* const deprecation = deprecation_of(row);
    out.bulk(row.name);
    out.map(3u + !row.complexity.empty() + !flags.empty() + (deprecation != nullptr ? 2 : 0) + !arguments.empty() + !subcommands.empty());
    out.bulk("summary"), out.bulk(row.summary);
    out.bulk("since"), out.bulk(row.since);
    out.bulk("group"), out.bulk(row.group);
    if (!row.complexity.empty()) out.bulk("complexity"), out.bulk(row.complexity);
    if (!flags.empty()) out.bulk("doc_flags"), write_words(out, flags);
    if (deprecation != nullptr) {
        out.bulk("deprecated_since"), out.bulk(deprecation->since);
        out.bulk("replaced_by"), out.bulk(deprecation->replaced_by);
    }
    if (!arguments.empty()) out.bulk("arguments"), write_arguments(out, arguments);
    if (subcommands.empty()) return;
    out.bulk("subcommands");
    out.map(static_cast<uint32_t>(subcommands.size()));
    for (const CommandRow* subcommand : subcommands) write_command_docs(out, *subcommand);
}

/// The command that COMMAND GETKEYS and GETKEYSANDFLAGS are asked about, or null.
const CommandRow* find_asked(Arguments words) {
    const CommandRow* const row = find_command(words[0]);
    if (row == nullptr || subcommands_of(*row).empty() || words.size() == 1) return row;
    return find_subcommand(*row, words[1]);
}

/// Empty after an error reply.
std::optional<std::vector<FoundKey>> find_keys(const LocalCall& call) {
    const Arguments words = call.words.subspan(2);
    const CommandRow* const row = find_asked(words);
    if (row == nullptr) return call.out.error("ERR Invalid command specified"), std::nullopt;
    if (key_specs(*row).empty()) return call.out.error("ERR The command has no key arguments"), std::nullopt;
    if (!row->accepts(words.size())) return call.out.error("ERR Invalid number of arguments specified for command"), std::nullopt;
    auto keys = keys_of(*row, words);
    if (!keys) call.out.error("ERR Invalid arguments specified for command");
    return keys;
}

}  // namespace

void local_command(const LocalCall& call) {
    const auto commands = top_level_commands();
    call.out.array(static_cast<uint32_t>(commands.size()));
    for (const CommandRow* row : commands) write_command_info(call.out, *row);
}

void local_command_count(const LocalCall& call) { call.out.integer(static_cast<int64_t>(top_level_commands().size())); }

namespace {

/// Names that INFO and DOCS take at once: what they tell of one is many times as long as its name.
constexpr size_t kNamesMax = 4096;

bool are_too_many(const LocalCall& call) {
    if (call.words.size() - 2 <= kNamesMax) return false;
    call.out.error(fmt::format("ERR at most {} commands are described at once", kNamesMax));
    return true;
}

}  // namespace

void local_command_info(const LocalCall& call) {
    if (call.words.size() == 2) return local_command(call);
    if (are_too_many(call)) return;
    call.out.array(static_cast<uint32_t>(call.words.size() - 2));
    for (const std::string_view name : call.words.subspan(2)) {
        if (const CommandRow* row = find_any(name); row != nullptr) write_command_info(call.out, *row);
        else call.out.null();
    }
}

void local_command_docs(const LocalCall& call) {
    if (are_too_many(call)) return;
    std::vector<const CommandRow*> rows;
    if (call.words.size() == 2) rows = top_level_commands();
    for (const std::string_view name : call.words.subspan(2))
        if (const CommandRow* row = find_any(name); row != nullptr) rows.push_back(row);
    call.out.map(static_cast<uint32_t>(rows.size()));
    for (const CommandRow* row : rows) write_command_docs(call.out, *row);
}

void local_command_list(const LocalCall& call) {
    const Arguments words = call.words;
    const auto asks = [&](std::string_view filter) { return words.size() == 5 && equals_ignoring_case(words[3], filter); };
    const bool by_module = asks("MODULE"), by_category = asks("ACLCAT"), by_pattern = asks("PATTERN");
    const bool filtered = words.size() == 5 && equals_ignoring_case(words[2], "FILTERBY") && (by_module || by_category || by_pattern);
    if (words.size() != 2 && !filtered) return call.out.error("ERR syntax error");
    std::vector<std::string_view> names;
    for (const CommandRow& row : command_rows()) {
        if (!is_shown(row) || by_module) continue;  // there are no modules
        if (by_category && !has_acl_category(row, words[4])) continue;
        if (by_pattern && !glob_match(words[4], row.name, true)) continue;
        names.push_back(row.name);
    }
    call.out.array(static_cast<uint32_t>(names.size()));
    for (const std::string_view name : names) call.out.bulk(name);
}

void local_command_getkeys(const LocalCall& call) {
    const auto keys = find_keys(call);
    if (!keys) return;
    call.out.array(static_cast<uint32_t>(keys->size()));
    for (const FoundKey& found : *keys) call.out.bulk(found.key);
}

void local_command_getkeysandflags(const LocalCall& call) {
    const auto keys = find_keys(call);
    if (!keys) return;
    call.out.array(static_cast<uint32_t>(keys->size()));
    for (const FoundKey& found : *keys) {
        call.out.array(2);
        call.out.bulk(found.key);
        write_words(call.out, found.flags);
    }
}

}  // namespace millrace::io_conn
