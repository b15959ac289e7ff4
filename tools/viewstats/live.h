// Viewstats again and again: the live screen, and repeated printing where there is no terminal to draw on.
#pragma once

#include <functional>
#include <string>

#include "tools/viewstats/snapshot.h"

namespace millrace::viewstats {

/// How one look becomes text; `before` is the look before, null at the first.
using Printer = std::function<std::string(const Snapshot& now, const Snapshot* before)>;

/// Draws every `interval_ms` until q or a signal.
void show_screen(const std::string& dir, int interval_ms);
/// Prints every `interval_ms` until a signal. Throws Error when standard output takes no more.
void print_repeatedly(const std::string& dir, int interval_ms, const Printer& printer);
/// Writes to standard output. Throws Error when it takes no more.
void print(const std::string& text);

}  // namespace millrace::viewstats
