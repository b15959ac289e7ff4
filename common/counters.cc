// See counters.h. Runs in every daemon.
#include "common/counters.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "common/check.h"
#include "common/log.h"

namespace millrace {

namespace {

template <size_t size>
void copy_text(char (&target)[size], const char* text) {
    CHECK(std::strlen(text) < size);
    std::strncpy(target, text, size);
}

uint64_t hash_of_rows(const CounterRow* rows, unsigned count) {
    uint64_t hash = 0;
    for (unsigned i = 0; i < count; ++i)
        hash = layout_hash(rows[i].name, {hash, static_cast<uint64_t>(rows[i].kind), rows[i].first_word});
    return hash;
}

size_t values_offset(unsigned count) { return sizeof(CounterPrologue) + count * sizeof(CounterDescriptor); }

}  // namespace

uint64_t process_start_time(int pid) {
    const std::string path = "/proc/" + std::to_string(pid) + "/stat";
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    char buffer[1024];
    const ssize_t length = read(fd, buffer, sizeof buffer - 1);
    close(fd);
    if (length <= 0) return 0;
    buffer[length] = 0;
    // Fields are counted from behind the command's closing bracket; starttime is field 22, state field 3.
    const char* at = std::strrchr(buffer, ')');
    for (int field = 2; at != nullptr && field < 22; ++field) at = std::strchr(at + 1, ' ');
    return at == nullptr ? 0 : std::strtoull(at + 1, nullptr, 10);
}

CounterSegment::CounterSegment(const std::string& path, const char* role, unsigned index, uint64_t instance,
                               uint64_t generation, const CounterRow* rows, unsigned count, unsigned words) {
    const uint64_t bytes = kSegmentPayload + values_offset(count) + words * sizeof(uint64_t);
    const SegmentSpec spec{path, kCountersLayout, instance, generation, bytes};
    const uint64_t names_hash = hash_of_rows(rows, count);
    const bool went_on = go_on(spec, names_hash);
    if (!went_on) segment_ = Segment::create(spec);
    auto* prologue = segment_.payload<CounterPrologue>();
    values_ = segment_.payload<std::atomic<uint64_t>>(values_offset(count));
    prologue->index = index;  // md's change places
    prologue->pid.store(static_cast<uint32_t>(getpid()), std::memory_order_relaxed);
    prologue->process_start.store(process_start_time(getpid()), std::memory_order_relaxed);
    if (!went_on) {
        copy_text(prologue->role, role);
        prologue->count = count;
        prologue->names_hash = names_hash;
        describe(rows, count);
        segment_.publish();
    }
    for (unsigned i = 0; i < count; ++i)
        if (rows[i].kind == CounterKind::gauge) values_[rows[i].first_word].store(0, std::memory_order_relaxed);
}

bool CounterSegment::go_on(const SegmentSpec& spec, uint64_t names_hash) {
    if (access(spec.path.c_str(), F_OK) != 0) return false;
    try {
        Segment left = Segment::attach(spec, Access::read_write);
        if (left.size() != round_up(spec.size, kPageSize)) return false;
        if (left.payload<CounterPrologue>()->names_hash != names_hash) return false;
        segment_ = std::move(left);
        return true;
    } catch (const Error& error) {
        log::notice("counters start from zero: {}", error.what());
        return false;
    }
}

void CounterSegment::describe(const CounterRow* rows, unsigned count) {
    auto* descriptors = segment_.payload<CounterDescriptor>(sizeof(CounterPrologue));
    for (unsigned i = 0; i < count; ++i) {
        copy_text(descriptors[i].name, rows[i].name);
        copy_text(descriptors[i].unit, rows[i].unit);
        copy_text(descriptors[i].help, rows[i].help);
        descriptors[i].kind = static_cast<uint32_t>(rows[i].kind);
        descriptors[i].words = rows[i].kind == CounterKind::histogram ? kHistogramWords : 1;
        descriptors[i].offset = values_offset(count) + rows[i].first_word * sizeof(uint64_t);
    }
}

}  // namespace millrace
