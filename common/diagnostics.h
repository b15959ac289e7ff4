// What each daemon notes about the commands that it executes: how often and how long, which errors, which were slow. Segment
// diagnostics-<role>-<index>, written by that process only and read by any io_conn (INFO, SLOWLOG, LATENCY) without asking it, also while
// it is stopped or dead. A successor goes on where a dead one stopped.
//
// Invariants:
//   G1  Every number has one writer. A slow command and a latency sample get a number from the roster, taken with fetch_add by any process: so
//       they are in one order over all processes, and forgetting (SLOWLOG RESET, LATENCY RESET) is one word that says up to which number.
//   G2  A slot of the slow log is written under a version, like a client's row (client_rows.h): a reader leaves out one that changes, and the
//       next writer of a slot that a killed process left half-written makes it whole.
//   G3  Nothing here is part of a commit: a killed process can lose the note of the command it was about to note, and nothing else.
//   G4  The slow log takes memory as it grows (segment.h, S1); without memory a slow command is not noted.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/commands.h"
#include "common/roster.h"
#include "common/segment.h"
#include "common/ticks.h"

namespace millrace {

/// Durations are counted in buckets: up to 1024 ns, 2048 ns, and so on; the last one has all longer ones.
inline constexpr unsigned kDurationBuckets = 32;
constexpr unsigned duration_bucket(uint64_t nanoseconds) {
    return std::min<unsigned>(static_cast<unsigned>(std::bit_width((nanoseconds - (nanoseconds != 0)) >> 10)), kDurationBuckets - 1);
}
constexpr uint64_t duration_bucket_ns(unsigned bucket) { return uint64_t{1024} << bucket; }

struct CommandRecord {
    std::atomic<uint64_t> calls;
    std::atomic<uint64_t> nanoseconds;
    std::atomic<uint64_t> rejected;  ///< refused before they were executed
    std::atomic<uint64_t> failed;    ///< answered with an error
    std::array<std::atomic<uint64_t>, kDurationBuckets> durations;
};

/// Errors are counted by their first word.
struct ErrorRecord {
    static constexpr size_t kCodeBytes = 24;
    std::array<std::atomic<uint64_t>, kCodeBytes / 8> code;  ///< padded with zeroes; all zero: not used yet
    std::atomic<uint64_t> count;
};
inline constexpr unsigned kErrorRecords = 32;  ///< further kinds of errors are counted in the last one

std::string_view name_of(LatencyEvent event);

struct LatencySeries {
    static constexpr unsigned kSamples = 160;
    struct Sample {
        std::atomic<uint64_t> number;
        std::atomic<uint64_t> value;  ///< seconds since 1970 << 32 | milliseconds
    };
    std::atomic<uint64_t> written;     ///< samples ever
    std::atomic<uint64_t> highest_ms;  ///< since the series was forgotten last
    std::array<Sample, kSamples> samples;
};

/// A command in the slow log.
struct SlowCommand {
    static constexpr unsigned kArgumentsMax = 32;      ///< the rest is one text that says how many more there are
    static constexpr size_t kArgumentBytesMax = 128;   ///< and of a longer argument, how many more bytes

    uint64_t number = 0;
    uint64_t at_s = 0;  ///< when it ended, seconds since 1970
    uint64_t duration_us = 0;
    std::string address, name;  ///< of the client
    std::vector<std::string> arguments;
};

struct SlowSlot {
    static constexpr size_t kBytes = 5488;
    std::atomic<uint64_t> version;
    std::array<std::atomic<uint64_t>, kBytes / 8> words;
};
static_assert(sizeof(SlowSlot) % 8 == 0);
/// Slow commands kept by each process; a larger slowlog-max-len counts as so much.
inline constexpr unsigned kSlowSlots = 1024;

struct DiagnosticsHead {
    std::atomic<uint64_t> statistics_resets;  ///< of the group (CONFIG RESETSTAT) that have been carried out here
    std::array<ErrorRecord, kErrorRecords> errors;
    std::array<CommandRecord, kCommandCount> commands;
    std::array<LatencySeries, kLatencyEvents> latency;
    std::atomic<uint64_t> slow_written;  ///< slow commands ever
};
inline constexpr uint64_t kSlowSlotsAt = round_up(sizeof(DiagnosticsHead), kCacheLineDistance);

/// What the process itself writes.
class Diagnostics {
  public:
    /// Notes for nobody: what is measured is kept, and no slow command is.
    Diagnostics() : private_(std::make_unique<DiagnosticsHead>()), head_(private_.get()) {}
    /// Goes on with what a predecessor left at `path`, or makes it. Throws Error when memory is short.
    Diagnostics(const std::string& path, uint64_t instance, uint64_t generation, Roster& roster);

    /// `calls` executions that took so long together.
    void record(CommandId id, uint64_t nanoseconds, uint64_t calls, bool with_durations) {
        CommandRecord& record = head().commands[static_cast<unsigned>(id)];
        bump(record.calls, calls);
        bump(record.nanoseconds, nanoseconds);
        if (with_durations) bump(record.durations[duration_bucket(calls == 1 ? nanoseconds : nanoseconds / calls)], calls);
    }
    void fail(CommandId id) { bump(head().commands[static_cast<unsigned>(id)].failed, 1); }
    void reject(CommandId id) { bump(head().commands[static_cast<unsigned>(id)].rejected, 1); }
    /// Counts an error by its text's first word.
    void count_error(std::string_view text);
    void note_latency(LatencyEvent event, uint64_t at_s, uint64_t milliseconds);
    /// Its number is given here.
    void note_slow(SlowCommand command);

    /// Forgets the statistics if the group has been told to since this process last did. True if so.
    bool follow_resets(uint64_t group_resets);

  private:
    static void bump(std::atomic<uint64_t>& word, uint64_t amount) {
        word.store(word.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
    DiagnosticsHead& head() { return *head_; }

    Segment segment_;
    std::unique_ptr<DiagnosticsHead> private_;
    DiagnosticsHead* head_ = nullptr;
    Roster* roster_ = nullptr;
};

/// A command's words, its name first, as the slow log shows them: cut, and without passwords.
std::vector<std::string> slow_words(std::span<const std::string_view> words);

/// Measures commands, and says which of them have to be noted.
class CommandMeter {
  public:
    /// `slower_than_us`, `latency_ms`: from then on a command is noted; negative, or 0 for the latter: none is.
    void set_limits(int64_t slower_than_us, int64_t latency_ms, bool durations);
    void adjust() {
        scale_.adjust();
        set_limits(slower_than_us_, latency_ms_, durations_);
    }
    /// Called before the first of several commands that follow each other.
    void start() { last_ = ticks(); }
    uint64_t last() const { return last_; }
    /// A command that began at `since` has ended. True if it is to be noted: then note() is to be called.
    bool end(Diagnostics& diagnostics, CommandId id, uint64_t since, bool failed) {
        last_ = ticks();
        return end_after(diagnostics, id, last_ - since, failed);
    }
    /// The same for one that took so many ticks.
    bool end_after(Diagnostics& diagnostics, CommandId id, uint64_t elapsed, bool failed) {
        elapsed_ = elapsed;
        diagnostics.record(id, scale_.nanoseconds(elapsed_), 1, durations_);
        if (failed) diagnostics.fail(id);
        return elapsed_ >= limit_;
    }
    /// Whether brief commands of one kind that follow each other may share the time of all: reading the clock for each takes as long as a
    /// twentieth of one. Not when what is to be noted is nearly as brief.
    bool lets_share() const { return limit_ > share_limit_; }
    /// A brief command has ended. True if it and those before it took so long that one of them is to be noted: then note() is to be called.
    bool end_brief(Diagnostics& diagnostics, CommandId id, bool failed) {
        if (failed) diagnostics.fail(id);
        const bool is_full = shared_calls_ == kSharedMax || (shared_calls_ != 0 && shared_id_ != id);
        const bool is_long = is_full && end_shared(diagnostics);
        shared_id_ = id;
        ++shared_calls_;
        return is_long;
    }
    CommandId shared_id() const { return shared_id_; }
    /// Ends the brief commands before a command that is measured by itself, and at the end of a batch. True as end_brief().
    bool end_shared(Diagnostics& diagnostics) {
        if (shared_calls_ == 0) return false;
        const uint64_t now = ticks();
        elapsed_ = now - last_;
        diagnostics.record(shared_id_, scale_.nanoseconds(elapsed_), shared_calls_, durations_);
        last_ = now;
        shared_calls_ = 0;
        return elapsed_ >= limit_;
    }
    /// The same of several of one kind, none of which is to be noted.
    void end_many(Diagnostics& diagnostics, CommandId id, uint64_t elapsed, uint64_t calls) const {
        diagnostics.record(id, scale_.nanoseconds(elapsed), calls, durations_);
    }
    /// Notes a piece of housekeeping, if it was long.
    void note_cycle(Diagnostics& diagnostics, LatencyEvent event, uint64_t us) const;
    bool is_long(uint64_t elapsed) const { return elapsed >= limit_; }
    /// Notes the command that has just ended. `describe` gives address and name of its client.
    void note(Diagnostics& diagnostics, const CommandRow& row, const std::function<SlowCommand()>& describe) const;

  private:
    static constexpr unsigned kSharedMax = 16;
    static constexpr uint64_t kShareLimitNs = 2'000'000;

    TickScale scale_;
    uint64_t share_limit_ = 0;  ///< ticks
    CommandId shared_id_{};
    unsigned shared_calls_ = 0;
    int64_t slower_than_us_ = -1, latency_ms_ = 0;
    bool durations_ = true;
    uint64_t limit_ = ~uint64_t{0};  ///< ticks
    uint64_t last_ = 0, elapsed_ = 0;
};

/// Calls visit(head) for each daemon's segment, present or dead, that can be read.
void for_each_diagnostics(const std::string& dir, uint64_t instance, const std::function<void(const DiagnosticsHead&)>& visit);
/// The slow commands of all daemons that have not been forgotten, the newest first, `limit` at most.
std::vector<SlowCommand> slow_commands(const std::string& dir, uint64_t instance, const Roster& roster, uint64_t limit);

}  // namespace millrace
