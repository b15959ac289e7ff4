// millrace-conf: checks a configuration and prints it. The supervisor script asks it, so that the table in
// common/options.def is the only place that knows the options. Nothing is started and nothing is changed.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "common/check.h"
#include "common/live_options.h"
#include "common/options.h"
#include "common/version.h"

namespace {

using namespace millrace;

std::string quoted(const std::string& text) {
    std::string json = "\"";
    for (unsigned char c : text) {
        if (c == '"' || c == '\\') json += '\\';
        if (c < 0x20) json += fmt::format("\\u{:04x}", c);
        else json += static_cast<char>(c);
    }
    return json + "\"";
}

bool is_number(OptionType type) { return type == OptionType::integer || type == OptionType::bytes; }

void print_json(const Options& options) {
    const char* separator = "{";
    for (const OptionRow& row : option_rows()) {
        const std::string& text = options.text(row.id);
        fmt::print("{}\"{}\": {}", separator, row.name, is_number(row.type) ? text : quoted(text));
        separator = ", ";
    }
    fmt::print("}}\n");
}

void print_live() {
    std::string names;
    for (const OptionRow& row : option_rows())
        if (is_live(row.id)) names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", row.name);
    fmt::print("[{}]\n", names);
}

void print_effective(const Options& options) {
    for (const OptionRow& row : option_rows())
        fmt::print("{} = {}\n", row.name, is_number(row.type) ? options.text(row.id) : quoted(options.text(row.id)));
}

std::string range_of(const OptionRow& row) {
    switch (row.type) {
        case OptionType::choice: return row.unit == "|" ? "(empty)" : std::string(row.unit);
        case OptionType::text: return std::string(row.unit);
        case OptionType::octal: return std::string(row.unit);
        default: return fmt::format("{} to {} {}", row.lowest, row.highest, row.unit);
    }
}

void print_sample() {
    fmt::print(
        "# Sample configuration of millrace. Copy it to DIR/millrace.conf and take the '#' away from what you change.\n"
        "# Every line is key = value; sizes take k, kb, m, mb, g, gb. The values shown are the defaults.\n");
    for (const OptionRow& row : option_rows())
        fmt::print("\n# {}\n# Range: {}\n# {} = {}\n", row.sentence, range_of(row), row.name,
                   row.fallback.empty() ? "\"\"" : row.fallback);
}

void print_description() {
    for (const OptionRow& row : option_rows())
        fmt::print("{} (default {}; {})\n    {}\n", row.name, row.fallback.empty() ? "empty" : row.fallback, range_of(row),
                   row.sentence);
}

void print_man() {
    for (const OptionRow& row : option_rows())
        fmt::print(".TP\n.B {}\n{} Default: {}. Range: {}.\n", row.name, row.sentence,
                   row.fallback.empty() ? "empty" : row.fallback, range_of(row));
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Checks a millrace configuration and prints it; exit status 1 with one sentence if it is not valid."};
    std::string file;
    std::vector<std::string> assignments;
    bool json = false, effective = false, sample = false, describe = false, man = false, live = false;
    app.set_version_flag("--version", fmt::format("millrace {}", kVersion));
    app.add_option("--file", file, "Configuration file to read");
    app.add_option("--set", assignments, "KEY=VALUE, overrides the file; can be given more than once")->allow_extra_args(false);
    app.add_flag("--json", json, "Print all effective options as one JSON object");
    app.add_flag("--effective", effective, "Print all effective options as key = value lines");
    app.add_flag("--sample", sample, "Print the sample configuration");
    app.add_flag("--describe", describe, "Print every option with its default, range and meaning");
    app.add_flag("--man", man, "Print the options for the manual page");
    app.add_flag("--live", live, "Print the names of the options that CONFIG SET changes, as a JSON list");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    try {
        Options options;
        if (!file.empty()) options.read_file(file);
        for (const std::string& assignment : assignments) options.set_from_argument(assignment);
        if (json) print_json(options);
        if (effective) print_effective(options);
        if (sample) print_sample();
        if (describe) print_description();
        if (man) print_man();
        if (live) print_live();
    } catch (const Error& error) {
        fmt::print(stderr, "millrace: {}\n", error.what());
        return 1;
    }
    return std::fflush(stdout) == 0 ? 0 : 1;
}
