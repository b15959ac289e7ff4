// Counting and merging of what the workers of a run found out; see stats.h.
#include "tools/bench/stats.h"

#include <algorithm>

namespace millrace::bench {

void RunStats::count_error(ErrorKind kind, std::string_view text, uint64_t count) {
    if (count == 0) return;
    ErrorCount& entry = errors[static_cast<size_t>(kind)];
    if (entry.count == 0) entry.first.assign(text);
    entry.count += count;
}

uint64_t RunStats::error_total() const {
    uint64_t sum = 0;
    for (const ErrorCount& entry : errors) sum += entry.count;
    return sum;
}

Histogram RunStats::latency_of_all() const {
    Histogram all;
    for (const Histogram& one : latency) all.merge(one);
    return all;
}

void RunStats::merge(const RunStats& other) {
    for (size_t i = 0; i < kCommandCount; ++i) latency[i].merge(other.latency[i]);
    for (size_t i = 0; i < kErrorKinds; ++i)
        count_error(static_cast<ErrorKind>(i), other.errors[i].first, other.errors[i].count);
    send_delay.merge(other.send_delay);
    sent += other.sent;
    replies += other.replies;
    misses += other.misses;
    unsent += other.unsent;
    lost += other.lost;
    last_reply_ns = std::max(last_reply_ns, other.last_reply_ns);
}

}  // namespace millrace::bench
