// A look at a group as text to read: one block for each process. Used by viewstats.
#pragma once

#include <string>

#include "tools/viewstats/snapshot.h"

namespace millrace::viewstats {

/// The blocks; only numbers that are not zero. With a look `before`, counters also show their rate per second.
std::string to_table(const Snapshot& snapshot, const Snapshot* before = nullptr);

}  // namespace millrace::viewstats
