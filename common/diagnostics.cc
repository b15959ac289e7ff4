// See diagnostics.h. Runs in every daemon.
#include "common/diagnostics.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "common/check.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/versioned_words.h"

namespace millrace {

namespace {

/// The slow log's memory is taken in steps of so many bytes.
constexpr uint64_t kGrowthBytes = 64 * 1024;
constexpr size_t kAddressBytesMax = 56, kNameBytesMax = 64;
/// Of one argument in a slot: its first bytes, and how many more there are.
constexpr size_t kArgumentTextMax = SlowCommand::kArgumentBytesMax + 32;

constexpr uint64_t hash_of_names() {
    uint64_t hash = 0;
#define MR_COMMAND(identifier, name, ...) hash = layout_hash(name, {hash});
#include "common/commands.def"
#undef MR_COMMAND
    return hash;
}

/// Numbers of commands are those of one build: another one's notes are of no use.
constexpr uint64_t kDiagnosticsLayout = layout_hash("diagnostics-1", {sizeof(DiagnosticsHead), sizeof(CommandRecord), sizeof(LatencySeries), sizeof(SlowSlot),
                                                                      kSlowSlots, kSlowSlotsAt, hash_of_names()});

struct SlowHeader {
    uint64_t number, at_s, duration_us;
    uint32_t arguments, reserved;
};
static_assert(sizeof(SlowHeader) + 2 + kAddressBytesMax + 2 + kNameBytesMax + SlowCommand::kArgumentsMax * (2 + kArgumentTextMax) <= SlowSlot::kBytes);

void put_text(std::string& bytes, std::string_view text, size_t most) {
    const auto length = static_cast<uint16_t>(std::min(text.size(), most));
    bytes.append(reinterpret_cast<const char*>(&length), sizeof length);
    bytes.append(text.substr(0, length));
}

/// Takes a text from the front; false when it is not whole.
bool take_text(std::string_view& bytes, std::string& text) {
    uint16_t length;
    if (bytes.size() < sizeof length) return false;
    std::memcpy(&length, bytes.data(), sizeof length);
    bytes.remove_prefix(sizeof length);
    if (length > bytes.size()) return false;
    text = bytes.substr(0, length);
    bytes.remove_prefix(length);
    return true;
}

/// G2.
std::optional<SlowCommand> read_slot(const SlowSlot& slot) {
    if (slot.version.load(std::memory_order_relaxed) == 0) return std::nullopt;  // never written
    std::string copy(SlowSlot::kBytes, '\0');
    if (!read_versioned(slot.version, slot.words, copy.data())) return std::nullopt;
    std::string_view bytes = copy;
    SlowHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    bytes.remove_prefix(sizeof header);
    SlowCommand command{header.number, header.at_s, header.duration_us, {}, {}, {}};
    if (header.arguments > SlowCommand::kArgumentsMax || !take_text(bytes, command.address) || !take_text(bytes, command.name)) return std::nullopt;
    command.arguments.resize(header.arguments);
    for (std::string& argument : command.arguments)
        if (!take_text(bytes, argument)) return std::nullopt;
    return command;
}

template <class Visit>
void for_each_segment(const std::string& dir, uint64_t instance, const Visit& visit) {
    const std::vector<Segment> segments =
        read_all_places([&](std::string_view role, unsigned index) { return paths::diagnostics(dir, role, index); },
                        [&](const std::string& path) { return Segment::attach({path, kDiagnosticsLayout, instance}, Access::read_only); },
                        [](const std::string& fault) { log::verbose("the notes of a process are left out: {}", fault); });
    for (const Segment& segment : segments) visit(segment);
}

}  // namespace

std::string_view name_of(LatencyEvent event) {
    constexpr std::string_view kNames[] = {"command", "fast-command", "expire-cycle", "eviction-cycle"};
    return kNames[static_cast<unsigned>(event)];
}

Diagnostics::Diagnostics(const std::string& path, uint64_t instance, uint64_t generation, Roster& roster) : roster_(&roster) {
    const uint64_t size = round_up(kSegmentPayload + kSlowSlotsAt + kSlowSlots * sizeof(SlowSlot), kGrowthBytes);
    const SegmentSpec spec{path, kDiagnosticsLayout, instance, generation, size, round_up(kSegmentPayload + kSlowSlotsAt, kGrowthBytes)};
    if (access(path.c_str(), F_OK) == 0) {
        try {
            segment_ = Segment::attach(spec, Access::read_write);
            segment_.prepare_to_grow();
            head_ = segment_.payload<DiagnosticsHead>();
            return;
        } catch (const Error& error) {
            log::notice("notes about commands start anew: {}", error.what());
        }
    }
    segment_ = Segment::create(spec);
    segment_.publish();
    segment_.prepare_to_grow();
    head_ = segment_.payload<DiagnosticsHead>();
}

void Diagnostics::count_error(std::string_view text) {
    const std::string_view code = text.substr(0, std::min(text.find(' '), ErrorRecord::kCodeBytes));
    std::array<uint64_t, ErrorRecord::kCodeBytes / 8> words{};
    std::memcpy(words.data(), code.data(), code.size());
    for (unsigned i = 0; i < kErrorRecords; ++i) {
        ErrorRecord& record = head().errors[i];
        bool same = true, unused = true;
        for (size_t word = 0; word < words.size(); ++word) {
            const uint64_t present = record.code[word].load(std::memory_order_relaxed);
            same = same && present == words[word];
            unused = unused && present == 0;
        }
        if (!same && !unused && i + 1 < kErrorRecords) continue;
        if (unused)
            for (size_t word = 0; word < words.size(); ++word) record.code[word].store(words[word], std::memory_order_relaxed);
        return bump(record.count, 1);
    }
}

void Diagnostics::note_latency(LatencyEvent event, uint64_t at_s, uint64_t milliseconds) {
    if (roster_ == nullptr) return;
    LatencySeries& series = head().latency[static_cast<unsigned>(event)];
    const uint64_t forgotten = roster_->latency_forgotten[static_cast<unsigned>(event)].load(std::memory_order_relaxed);
    const uint64_t written = series.written.load(std::memory_order_relaxed);
    milliseconds = std::min<uint64_t>(milliseconds, 0xffffffff);
    uint64_t highest = series.highest_ms.load(std::memory_order_relaxed);
    if (written != 0) {
        LatencySeries::Sample& last = series.samples[(written - 1) % LatencySeries::kSamples];
        const uint64_t value = last.value.load(std::memory_order_relaxed);
        if (last.number.load(std::memory_order_relaxed) < forgotten) {
            highest = 0;
        } else if (value >> 32 == at_s) {  // one sample a second
            if ((value & 0xffffffff) < milliseconds) last.value.store(at_s << 32 | milliseconds, std::memory_order_relaxed);
            return series.highest_ms.store(std::max(highest, milliseconds), std::memory_order_relaxed);
        }
    }
    LatencySeries::Sample& next = series.samples[written % LatencySeries::kSamples];
    next.value.store(at_s << 32 | milliseconds, std::memory_order_relaxed);
    next.number.store(roster_->latency_samples.fetch_add(1, std::memory_order_relaxed), std::memory_order_relaxed);
    series.highest_ms.store(std::max(highest, milliseconds), std::memory_order_relaxed);
    series.written.store(written + 1, std::memory_order_release);
}

void Diagnostics::note_slow(SlowCommand command) {
    if (!segment_.mapped()) return;
    const uint64_t written = head().slow_written.load(std::memory_order_relaxed);
    const uint64_t at = kSlowSlotsAt + written % kSlowSlots * sizeof(SlowSlot);
    const uint64_t needed = kSegmentPayload + at + sizeof(SlowSlot);
    if (needed > segment_.grown() && !segment_.grow(round_up(needed, kGrowthBytes))) return;  // G4
    command.number = roster_->slow_commands.fetch_add(1, std::memory_order_relaxed);
    command.arguments.resize(std::min<size_t>(command.arguments.size(), SlowCommand::kArgumentsMax));
    const SlowHeader header{command.number, command.at_s, command.duration_us, static_cast<uint32_t>(command.arguments.size()), 0};
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
    put_text(bytes, command.address, kAddressBytesMax);
    put_text(bytes, command.name, kNameBytesMax);
    for (const std::string& argument : command.arguments) put_text(bytes, argument, kArgumentTextMax);
    bytes.resize(SlowSlot::kBytes);
    SlowSlot& slot = *segment_.payload<SlowSlot>(at);
    write_versioned(slot.version, slot.words, bytes.data());
    head().slow_written.store(written + 1, std::memory_order_release);
}

bool Diagnostics::follow_resets(uint64_t group_resets) {
    if (head().statistics_resets.load(std::memory_order_relaxed) == group_resets) return false;
    const auto zero = [](std::atomic<uint64_t>& word) { word.store(0, std::memory_order_relaxed); };
    for (CommandRecord& record : head().commands) {
        zero(record.calls), zero(record.nanoseconds), zero(record.rejected), zero(record.failed);
        for (std::atomic<uint64_t>& count : record.durations) zero(count);
    }
    for (ErrorRecord& record : head().errors) {
        zero(record.count);
        for (std::atomic<uint64_t>& word : record.code) zero(word);
    }
    head().statistics_resets.store(group_resets, std::memory_order_relaxed);
    return true;
}

namespace {

/// How many of the words from `at` on are secret: it and the ones behind it.
size_t secret_words(std::span<const std::string_view> words, size_t at) {
    const auto is = [&](size_t place, std::string_view text) { return place < words.size() && equals_ignoring_case(words[place], text); };
    if (at == 1 && is(0, "AUTH")) return words.size() - 1;
    if (at > 2 && is(0, "HELLO") && is(at - 1, "AUTH")) return std::min<size_t>(2, words.size() - at);
    if (at > 2 && at % 2 == 1 && is(0, "CONFIG") && is(1, "SET") && (is(at - 1, "requirepass") || is(at - 1, "masterauth"))) return 1;
    return 0;
}

}  // namespace

std::vector<std::string> slow_words(std::span<const std::string_view> words) {
    std::vector<std::string> texts;
    size_t secret = 0;
    for (size_t i = 0; i < words.size() && texts.size() < SlowCommand::kArgumentsMax; ++i) {
        if (texts.size() + 1 == SlowCommand::kArgumentsMax && words.size() > SlowCommand::kArgumentsMax) {
            texts.push_back(fmt::format("... ({} more arguments)", words.size() - i));
        } else if (secret = std::max(secret, secret_words(words, i)); secret != 0) {
            --secret;
            texts.emplace_back("(redacted)");
        } else if (words[i].size() > SlowCommand::kArgumentBytesMax) {
            texts.push_back(fmt::format("{}... ({} more bytes)", words[i].substr(0, SlowCommand::kArgumentBytesMax), words[i].size() - SlowCommand::kArgumentBytesMax));
        } else {
            texts.emplace_back(words[i]);
        }
    }
    return texts;
}

void CommandMeter::set_limits(int64_t slower_than_us, int64_t latency_ms, bool durations) {
    slower_than_us_ = slower_than_us;
    latency_ms_ = latency_ms;
    durations_ = durations;
    constexpr int64_t kLongestUs = int64_t{1} << 50;
    limit_ = ~uint64_t{0};
    share_limit_ = scale_.ticks_of(kShareLimitNs);
    if (slower_than_us >= 0) limit_ = scale_.ticks_of(static_cast<uint64_t>(std::min(slower_than_us, kLongestUs)) * 1000);
    if (latency_ms > 0) limit_ = std::min(limit_, scale_.ticks_of(static_cast<uint64_t>(std::min(latency_ms, kLongestUs / 1000)) * 1'000'000));
}

void CommandMeter::note(Diagnostics& diagnostics, const CommandRow& row, const std::function<SlowCommand()>& describe) const {
    const uint64_t us = scale_.nanoseconds(elapsed_) / 1000;
    const auto now_s = static_cast<uint64_t>(std::time(nullptr));
    if (latency_ms_ > 0 && us >= static_cast<uint64_t>(latency_ms_) * 1000)
        diagnostics.note_latency(row.is(command_flag::fast) ? LatencyEvent::fast_command : LatencyEvent::command, now_s, us / 1000);
    // EXEC's commands are noted one by one.
    if (slower_than_us_ < 0 || us < static_cast<uint64_t>(slower_than_us_) || row.id == CommandId::exec) return;
    SlowCommand command = describe();
    command.at_s = now_s;
    command.duration_us = us;
    diagnostics.note_slow(std::move(command));
}

void CommandMeter::note_cycle(Diagnostics& diagnostics, LatencyEvent event, uint64_t us) const {
    if (latency_ms_ > 0 && us >= static_cast<uint64_t>(latency_ms_) * 1000) diagnostics.note_latency(event, static_cast<uint64_t>(std::time(nullptr)), us / 1000);
}

void for_each_diagnostics(const std::string& dir, uint64_t instance, const std::function<void(const DiagnosticsHead&)>& visit) {
    for_each_segment(dir, instance, [&](const Segment& segment) { visit(*segment.payload<DiagnosticsHead>()); });
}

std::vector<SlowCommand> slow_commands(const std::string& dir, uint64_t instance, const Roster& roster, uint64_t limit) {
    const uint64_t forgotten = roster.slow_forgotten.load(std::memory_order_relaxed);
    std::vector<SlowCommand> commands;
    for_each_segment(dir, instance, [&](const Segment& segment) {
        const uint64_t backed = segment.grown() - kSegmentPayload - kSlowSlotsAt;
        for (uint64_t slot = 0; slot < kSlowSlots && (slot + 1) * sizeof(SlowSlot) <= backed; ++slot) {
            auto command = read_slot(*segment.payload<SlowSlot>(kSlowSlotsAt + slot * sizeof(SlowSlot)));
            if (command && command->number >= forgotten) commands.push_back(std::move(*command));
        }
    });
    std::ranges::sort(commands, std::ranges::greater(), &SlowCommand::number);
    if (commands.size() > limit) commands.resize(limit);
    return commands;
}

}  // namespace millrace
