// Counters: numbers about a process that anybody may read without asking it, also while it is stopped or dead.
// Each daemon has one segment counters-<role>-<index>; it describes itself, so a reader of another build still knows
// every name, unit and sentence. One row in counters_<role>.def makes a counter.
//
// Layout of the payload: CounterPrologue, `count` CounterDescriptors, then the values (u64 words). A histogram takes
// kHistogramWords words: count, sum, max, buckets (histogram.h). Each word has one writer, the process itself; readers
// read relaxed: every single number is true, several of them need not be of the same instant.
// Counters go on where a dead predecessor of the same build stopped, so totals survive a restart; gauges start anew. (md's
// standby, whose index is another, gives the file its own name first.)
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "common/histogram.h"
#include "common/segment.h"

namespace millrace {

enum class CounterKind : uint32_t { counter = 1, gauge = 2, histogram = 3 };

inline constexpr unsigned kHistogramWords = 3 + histogram::kBuckets;

struct CounterDescriptor {
    char name[40];
    char unit[24];
    char help[128];
    uint32_t kind;   ///< CounterKind
    uint32_t words;  ///< words of value: 1, or kHistogramWords
    uint64_t offset; ///< of the first word from the start of the payload, bytes
};
static_assert(sizeof(CounterDescriptor) == 208);

struct CounterPrologue {
    char role[16];
    uint32_t index;
    std::atomic<uint32_t> pid;
    std::atomic<uint64_t> process_start;  ///< starttime of /proc/PID/stat, which tells a reused pid
    uint32_t count;                       ///< of descriptors
    uint32_t reserved;
    uint64_t names_hash;                  ///< of all rows, tells whether a successor may go on counting
};
static_assert(sizeof(CounterPrologue) == 48);
inline constexpr uint64_t kCountersLayout =
    layout_hash("counters-1", {sizeof(CounterDescriptor), sizeof(CounterPrologue), kHistogramWords});

/// One row of a counters_<role>.def.
struct CounterRow {
    const char* name;
    CounterKind kind;
    const char* unit;
    const char* help;
    unsigned first_word;  ///< of its value among all values
};

/// The process's own segment, without a table: see Counters<Row> below.
class CounterSegment {
  public:
    CounterSegment() = default;
    /// Makes the segment, or goes on with the one a predecessor left. Throws Error when memory is short.
    CounterSegment(const std::string& path, const char* role, unsigned index, uint64_t instance, uint64_t generation,
                   const CounterRow* rows, unsigned count, unsigned words);
    std::atomic<uint64_t>* values() const { return values_; }

  private:
    bool go_on(const SegmentSpec& spec, uint64_t names_hash);
    void describe(const CounterRow* rows, unsigned count);

    Segment segment_;
    std::atomic<uint64_t>* values_ = nullptr;
};

/// starttime (clock ticks since boot) of a process, 0 if there is none. Throws nothing.
uint64_t process_start_time(int pid);

/// Typed access for the one process that writes. `Id` is the enum made from the rows.
template <class Id>
class Counters {
  public:
    Counters() = default;
    Counters(const std::string& path, const char* role, unsigned index, uint64_t instance, uint64_t generation);

    void add(Id id, uint64_t amount = 1) {
        std::atomic<uint64_t>& word = values_[first_word(id)];
        word.store(word.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
    void set(Id id, uint64_t value) { values_[first_word(id)].store(value, std::memory_order_relaxed); }
    uint64_t get(Id id) const { return values_[first_word(id)].load(std::memory_order_relaxed); }
    void record(Id id, uint64_t value) {
        std::atomic<uint64_t>* words = &values_[first_word(id)];
        bump(words[0], 1);
        bump(words[1], value);
        if (value > words[2].load(std::memory_order_relaxed)) words[2].store(value, std::memory_order_relaxed);
        bump(words[3 + histogram::bucket_of(value)], 1);
    }

  private:
    static unsigned first_word(Id id);
    static void bump(std::atomic<uint64_t>& word, uint64_t amount) {
        word.store(word.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }

    CounterSegment segment_;
    std::atomic<uint64_t>* values_ = nullptr;
};

namespace counter_detail {

constexpr unsigned words_of(CounterKind kind) { return kind == CounterKind::histogram ? kHistogramWords : 1; }

/// Gives every row its place among the values.
template <size_t count>
constexpr std::array<CounterRow, count> placed(std::array<CounterRow, count> rows) {
    unsigned word = 0;
    for (CounterRow& row : rows) {
        row.first_word = word;
        word += words_of(row.kind);
    }
    return rows;
}

}  // namespace counter_detail

#define MR_COUNTER(identifier, ...) identifier,
enum class MdCounter : unsigned {
#include "common/counters_md.def"
};
enum class IoCounter : unsigned {
#include "common/counters_io_conn.def"
};
enum class LogCounter : unsigned {
#include "common/counters_md_log.def"
};
enum class ReplCounter : unsigned {
#include "common/counters_md_repl.def"
};
#undef MR_COUNTER

#define MR_COUNTER(identifier, name, kind, unit, help) CounterRow{name, CounterKind::kind, unit, help, 0},
inline constexpr auto kMdCounters = counter_detail::placed(std::array{
#include "common/counters_md.def"
});
inline constexpr auto kIoCounters = counter_detail::placed(std::array{
#include "common/counters_io_conn.def"
});
inline constexpr auto kLogCounters = counter_detail::placed(std::array{
#include "common/counters_md_log.def"
});
inline constexpr auto kReplCounters = counter_detail::placed(std::array{
#include "common/counters_md_repl.def"
});
#undef MR_COUNTER

constexpr const auto& counter_rows(MdCounter) { return kMdCounters; }
constexpr const auto& counter_rows(IoCounter) { return kIoCounters; }
constexpr const auto& counter_rows(LogCounter) { return kLogCounters; }
constexpr const auto& counter_rows(ReplCounter) { return kReplCounters; }

template <class Id>
inline unsigned Counters<Id>::first_word(Id id) {
    return counter_rows(Id{})[static_cast<unsigned>(id)].first_word;
}

template <class Id>
Counters<Id>::Counters(const std::string& path, const char* role, unsigned index, uint64_t instance,
                       uint64_t generation) {
    constexpr const auto& rows = counter_rows(Id{});
    const CounterRow& last = rows.back();
    segment_ = CounterSegment(path, role, index, instance, generation, rows.data(), rows.size(),
                              last.first_word + counter_detail::words_of(last.kind));
    values_ = segment_.values();
}

}  // namespace millrace
