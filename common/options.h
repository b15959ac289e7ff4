// Options: the table, and reading them from a file (`key = value`, CLI11's configuration reader) and from --set.
// Used by every program; throws Error with one sentence that names file, line and what would be right.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace millrace {

enum class OptionId : unsigned {
#define MR_OPTION(identifier, ...) identifier,
#include "common/options.def"
#undef MR_OPTION
};

enum class OptionType { integer, bytes, octal, text, choice };

/// One row of the table.
struct OptionRow {
    OptionId id;
    std::string_view name;
    OptionType type;
    std::string_view fallback;  ///< the default, as it would be written in the file
    int64_t lowest, highest;    ///< of numbers, in the option's unit; the highest of a text is its most bytes, 0: as many as anybody likes
    std::string_view unit;      ///< unit, or the choices separated by '|'
    std::string_view sentence;
};

/// All rows in the order of options.def.
std::span<const OptionRow> option_rows();
/// The row of that name (case-insensitive), or null.
const OptionRow* find_option(std::string_view name);

inline const OptionRow& option_row(OptionId id) { return option_rows()[static_cast<size_t>(id)]; }
/// What CONFIG GET shows for a number or a choice, as Options::number() gives it. Not for octal and text.
std::string option_text(const OptionRow& row, int64_t number);

/// The number of a value that is not text, as Options::number() gives it. False: it is none of the option's.
bool parse_option(const OptionRow& row, std::string_view value, int64_t& number);
/// The same, and the value as CONFIG GET shows it.
bool parse_option(const OptionRow& row, std::string_view value, int64_t& number, std::string& text);

/// Descriptors of an io_conn that are no client's: listeners, FIFOs, epoll, log. maxclients and these have to fit the limit of open files.
inline constexpr unsigned kDescriptorsBesideClients = 64;

/// A complete set of values: the defaults, then what was set. Copyable.
class Options {
  public:
    Options();

    /// Checks and sets one value. Throws Error: "port: '99999' is not ...; <what would be right>".
    void set(std::string_view name, std::string_view value);
    /// Reads a file; a missing one is an Error. Errors name file and line.
    void read_file(const std::string& path);
    /// Applies "key=value" of a command line. Errors name it.
    void set_from_argument(std::string_view assignment);

    /// A number in the option's unit, or of a choice its place among the choices; 0 for texts.
    int64_t number(OptionId id) const { return numbers_[static_cast<size_t>(id)]; }
    /// The value as text, as CONFIG GET shows it (sizes in bytes).
    const std::string& text(OptionId id) const { return texts_[static_cast<size_t>(id)]; }

  private:
    void read_assignment(const std::string& content);

    static constexpr size_t kCount = []() {
        size_t count = 0;
#define MR_OPTION(...) ++count;
#include "common/options.def"
#undef MR_OPTION
        return count;
    }();
    std::array<int64_t, kCount> numbers_{};
    std::array<std::string, kCount> texts_;
};

/// "1mb" -> 1048576; Redis's units: k m g are powers of 1000, kb mb gb of 1024. False if it is no size.
bool parse_bytes(std::string_view text, int64_t& bytes);

}  // namespace millrace
