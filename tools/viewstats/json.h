// A look at a group as one line of JSON. Used by viewstats.
#pragma once

#include <string>

#include "tools/viewstats/snapshot.h"

namespace millrace::viewstats {

/// {"dir", "processes": [{"role", "index", "pid", "state", "counters": {name: value}, "histograms": {name: {"unit", "count",
/// "sum", "max", "mean", "p50", "p90", "p99", "p99.9"}}}], "problems": [sentence]}, ended by a line feed. Gauges stand
/// among the counters.
std::string to_json(const Snapshot& snapshot);

/// `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
std::string json_string(std::string_view text);

}  // namespace millrace::viewstats
