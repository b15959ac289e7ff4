// See counter_reader.h. Runs in viewstats and io_conn.
#include "common/counter_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "common/check.h"
#include "common/paths.h"
#include "common/roster.h"

namespace millrace {

namespace {

/// More counters than this in one segment are not believed.
constexpr uint32_t kCountersMax = 4096;

template <size_t size>
std::string text_of(const char (&field)[size]) {
    return std::string(field, strnlen(field, size));
}

uint64_t load(const std::atomic<uint64_t>& word) { return word.load(std::memory_order_relaxed); }

CounterSample read_sample(const CounterDescriptor& descriptor, const std::atomic<uint64_t>* words) {
    CounterSample sample{text_of(descriptor.name), text_of(descriptor.unit), text_of(descriptor.help),
                         static_cast<CounterKind>(descriptor.kind), load(words[0]), 0, 0, {}};
    if (sample.kind != CounterKind::histogram) return sample;
    sample.sum = load(words[1]);
    sample.max = load(words[2]);
    for (unsigned i = 0; i < histogram::kBuckets; ++i) sample.buckets.push_back(load(words[3 + i]));
    return sample;
}

ProcessCounters read_segment(const std::string& path, StateOf state_of) {
    const Segment segment = Segment::attach({path, kCountersLayout}, Access::read_only);
    const uint64_t room = segment.grown() - kSegmentPayload;
    if (room < sizeof(CounterPrologue)) throw Error("the segment " + path + " is damaged: it is too short");
    const auto* prologue = segment.payload<CounterPrologue>();
    const uint32_t count = prologue->count;
    const uint64_t described = sizeof(CounterPrologue) + count * uint64_t{sizeof(CounterDescriptor)};
    if (count > kCountersMax || described > room) throw Error("the segment " + path + " is damaged: its table is too long");
    ProcessCounters process;
    process.role = text_of(prologue->role);
    process.index = prologue->index;
    process.pid = static_cast<int>(prologue->pid.load(std::memory_order_relaxed));
    process.state = state_of(process.pid, load(prologue->process_start));
    const auto* descriptors = segment.payload<CounterDescriptor>(sizeof(CounterPrologue));
    for (uint32_t i = 0; i < count; ++i) {
        CounterDescriptor descriptor;
        std::memcpy(&descriptor, &descriptors[i], sizeof descriptor);
        const bool wide = descriptor.kind == static_cast<uint32_t>(CounterKind::histogram);
        const uint64_t bytes = (wide ? kHistogramWords : 1) * sizeof(uint64_t);
        if (descriptor.offset % sizeof(uint64_t) != 0 || descriptor.offset > room || bytes > room - descriptor.offset)
            throw Error("the segment " + path + " is damaged: a counter lies outside of it");
        process.samples.push_back(read_sample(descriptor, segment.payload<std::atomic<uint64_t>>(descriptor.offset)));
    }
    return process;
}

}  // namespace

/// The state letter of /proc/PID/stat, if the process is the one that started at `start`.
ProcessState state_in_proc(int pid, uint64_t start) {
    if (pid <= 0 || start == 0 || process_start_time(pid) != start) return ProcessState::dead;
    const int fd = open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC);
    char buffer[512] = {};
    const ssize_t length = fd < 0 ? 0 : read(fd, buffer, sizeof buffer - 1);
    if (fd >= 0) close(fd);
    const char* bracket = length <= 0 ? nullptr : std::strrchr(buffer, ')');
    const char letter = bracket == nullptr ? 'X' : bracket[2];
    if (letter == 'T' || letter == 't') return ProcessState::stopped;
    return letter == 'Z' || letter == 'X' ? ProcessState::dead : ProcessState::up;
}

std::string_view name_of(ProcessState state) {
    switch (state) {
        case ProcessState::up: return "up";
        case ProcessState::stopped: return "stopped";
        case ProcessState::dead: break;
    }
    return "dead";
}

uint64_t CounterSample::percentile(double share) const {
    if (buckets.empty()) return 0;
    uint64_t total = 0;  // of the buckets as read, so that ranks and buckets fit each other
    for (const uint64_t count : buckets) total += count;
    return std::min(histogram::percentile([this](unsigned bucket) { return buckets[bucket]; }, total, share), max);
}

uint64_t ProcessCounters::value(std::string_view name) const {
    for (const CounterSample& sample : samples)
        if (sample.name == name) return sample.value;
    return 0;
}

std::vector<ProcessCounters> read_counters(const std::string& dir, std::vector<std::string>& problems, StateOf state_of) {
    std::vector<ProcessCounters> processes =
        read_all_places([&](std::string_view role, unsigned index) { return paths::counters(dir, role, index); },
                        [&](const std::string& path) { return read_segment(path, state_of); },
                        [&](const std::string& fault) { problems.push_back(fault); });
    std::sort(processes.begin(), processes.end(), [](const ProcessCounters& a, const ProcessCounters& b) {
        return std::tuple(!a.role.starts_with("md"), a.role, a.index) < std::tuple(!b.role.starts_with("md"), b.role, b.index);
    });
    return processes;
}

}  // namespace millrace
