// The live screen's text: a section for each role, a column for each process, a row for each counter. Used by viewstats.
#pragma once

#include <string>
#include <vector>

#include "tools/viewstats/snapshot.h"

namespace millrace::viewstats {

/// The lines, of any length and number: counters as rates per second, gauges as they are, histograms as percentiles of
/// the samples since `before` (null: since the start). Rows that are zero in every process are left out.
std::vector<std::string> to_columns(const Snapshot& snapshot, const Snapshot* before);

}  // namespace millrace::viewstats
