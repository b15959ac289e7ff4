// The result of a run, for people (a table) or programs (one JSON object).
#pragma once

#include <string>

#include "tools/bench/options.h"
#include "tools/bench/runner.h"

namespace millrace::bench {

std::string report_text(const Options& options, const RunResult& result);
std::string report_json(const Options& options, const RunResult& result);

}  // namespace millrace::bench
