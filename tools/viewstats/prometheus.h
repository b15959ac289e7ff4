// A look at a group in Prometheus's text format, version 0.0.4. Used by viewstats.
#pragma once

#include <string>

#include "tools/viewstats/snapshot.h"

namespace millrace::viewstats {

/// A family for each counter (millrace_<name>_total), gauge (millrace_<name>) and histogram (millrace_<name>, with a
/// bucket for each power of two), and millrace_up; samples are labelled with role and index.
std::string to_prometheus(const Snapshot& snapshot);

}  // namespace millrace::viewstats
