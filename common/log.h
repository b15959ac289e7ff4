// Logging of the daemons: lines on standard error, which the supervisor has opened for them. Used by every daemon.
//
// One line an event, bounded: at most kLogLinesPerSecond, and a line says how many were left out. Never on the way
// of a request that goes well.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace millrace::log {

enum class Level { debug, verbose, notice, warning };

/// More lines than this in one second are counted, not written.
inline constexpr unsigned kLogLinesPerSecond = 200;

/// Names the process in every line and sets what is written; `level` is loglevel's value (debug verbose notice warning).
void open(const std::string& process_name, std::string_view level);
/// Changes what is written from here on.
void set_level(std::string_view level);
void write(Level level, std::string_view line);

template <class... Values>
void debug(fmt::format_string<Values...> format, Values&&... values) {
    write(Level::debug, fmt::format(format, std::forward<Values>(values)...));
}
template <class... Values>
void verbose(fmt::format_string<Values...> format, Values&&... values) {
    write(Level::verbose, fmt::format(format, std::forward<Values>(values)...));
}
template <class... Values>
void notice(fmt::format_string<Values...> format, Values&&... values) {
    write(Level::notice, fmt::format(format, std::forward<Values>(values)...));
}
template <class... Values>
void warning(fmt::format_string<Values...> format, Values&&... values) {
    write(Level::warning, fmt::format(format, std::forward<Values>(values)...));
}

}  // namespace millrace::log
