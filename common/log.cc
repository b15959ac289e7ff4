// See log.h. spdlog does the formatting of time and level; it is kept out of the header because of its compile time.
#include "common/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "common/clock.h"

namespace millrace::log {

namespace {

std::shared_ptr<spdlog::logger> logger;
uint64_t window_start_us = 0;
unsigned lines_in_window = 0;
unsigned lines_left_out = 0;

spdlog::level::level_enum to_spdlog(Level level) {
    switch (level) {
        case Level::debug: return spdlog::level::trace;
        case Level::verbose: return spdlog::level::debug;
        case Level::notice: return spdlog::level::info;
        case Level::warning: return spdlog::level::warn;
    }
    return spdlog::level::info;
}

bool within_limit() {
    const uint64_t now = monotonic_us();
    if (now - window_start_us >= 1'000'000) {
        if (lines_left_out > 0) logger->warn("{} log lines left out (more than {} in a second)", lines_left_out, kLogLinesPerSecond);
        window_start_us = now;
        lines_in_window = lines_left_out = 0;
    }
    if (++lines_in_window <= kLogLinesPerSecond) return true;
    ++lines_left_out;
    return false;
}

}  // namespace

void open(const std::string& process_name, std::string_view level) {
    logger = std::make_shared<spdlog::logger>(process_name, std::make_shared<spdlog::sinks::stderr_sink_st>());
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %n %P %l %v", spdlog::pattern_time_type::utc);
    set_level(level);
}

void set_level(std::string_view level) {
    const Level lowest = level == "debug"     ? Level::debug
                         : level == "verbose" ? Level::verbose
                         : level == "warning" ? Level::warning
                                              : Level::notice;
    logger->set_level(to_spdlog(lowest));
}

void write(Level level, std::string_view line) {
    if (logger == nullptr) open("millrace", "notice");
    if (logger->should_log(to_spdlog(level)) && within_limit()) logger->log(to_spdlog(level), line);
}

}  // namespace millrace::log
