// HyperLogLog commands, as Redis 7.0 answers them. Runs in md; handlers only (see handlers.h).
#include <fmt/format.h>

#include <cmath>

#include "common/text.h"
#include "md/handlers.h"
#include "md/hyperloglog.h"

namespace millrace::md {

namespace {

constexpr std::string_view kNoSketch = "WRONGTYPE Key is not a valid HyperLogLog string value.";
constexpr std::string_view kCorrupt = "INVALIDOBJ Corrupted HLL object detected";

/// False after an error reply: the value is no sketch.
bool is_sketch(Plan& plan, std::string_view bytes) {
    if (HyperLogLog::is_sketch(bytes)) return true;
    plan.reply().error(kNoSketch);
    return false;
}

void set_sketch(Plan& plan, std::string_view key, const HyperLogLog& sketch, const std::optional<Value>& old) {
    plan.set(key, plan.keep(sketch.bytes()), old ? old->expire_at_ms : kNoExpiry);
}

/// Raises registers to those of all the keys. False after an error reply.
bool merge_all(Plan& plan, Arguments keys, HyperLogLog::Registers& registers, bool& any_dense) {
    for (const std::string_view key : keys) {
        const std::optional<Value> value = plan.read(key);
        if (!value) continue;
        const std::string_view bytes = plan.bytes(value);
        if (!is_sketch(plan, bytes)) return false;
        const HyperLogLog sketch(bytes);
        any_dense = any_dense || sketch.is_dense();
        if (!sketch.merge_into(registers)) return plan.reply().error(kCorrupt), false;
        plan.tick();
    }
    return true;
}

}  // namespace

void handle_pfadd(Plan& plan, Arguments arguments) {
    const std::string_view key = arguments[0];
    const std::optional<Value> old = plan.find(key);
    const std::string_view bytes = plan.bytes(old);
    if (old && !is_sketch(plan, bytes)) return;
    HyperLogLog sketch = old ? HyperLogLog(bytes) : HyperLogLog();
    bool changed = !old, corrupt = false;
    for (const std::string_view element : arguments.subspan(1)) {
        const HyperLogLog::Change change = sketch.add(element);
        if (change == HyperLogLog::Change::made) changed = true;
        corrupt = change == HyperLogLog::Change::corrupt;
        if (corrupt) break;  // what was added before it stays, as in Redis
    }
    if (changed && !corrupt) sketch.forget_estimate();
    if (corrupt) plan.reply().error(kCorrupt);
    else plan.reply().integer(changed);
    if (changed) set_sketch(plan, key, sketch, old);
}

/// Of one key, keeps what it has counted in the key, so that the next one need not count.
void handle_pfcount(Plan& plan, Arguments arguments) {
    if (arguments.size() > 1) {
        HyperLogLog::Registers registers{};
        bool any_dense = false;
        if (merge_all(plan, arguments, registers, any_dense)) plan.reply().integer(static_cast<int64_t>(HyperLogLog::estimate_of(registers)));
        return;
    }
    const std::optional<Value> value = plan.read(arguments[0]);
    if (!value) return plan.reply().integer(0);
    const std::string_view bytes = plan.bytes(value);
    if (!is_sketch(plan, bytes)) return;
    HyperLogLog sketch(bytes);
    std::optional<uint64_t> count = sketch.kept_estimate();
    if (!count) {
        count = sketch.estimate();
        if (!count) return plan.reply().error(kCorrupt);
        sketch.keep_estimate(*count);
        set_sketch(plan, arguments[0], sketch, value);
        plan.allow_leaving_out();
    }
    plan.reply().integer(static_cast<int64_t>(*count));
}

void handle_pfmerge(Plan& plan, Arguments arguments) {
    HyperLogLog::Registers registers{};
    bool any_dense = false;
    if (!merge_all(plan, arguments, registers, any_dense)) return;
    const std::optional<Value> old = plan.find(arguments[0]);
    HyperLogLog sketch = old ? HyperLogLog(plan.bytes(old)) : HyperLogLog();
    if (any_dense && !sketch.make_dense()) return plan.reply().error(kCorrupt);
    for (unsigned index = 0; index < HyperLogLog::kRegisters; ++index)
        if (registers[index] != 0) sketch.raise(index, registers[index]);
    sketch.forget_estimate();
    set_sketch(plan, arguments[0], sketch, old);
    plan.reply().ok();
}

void handle_pfdebug(Plan& plan, Arguments arguments) {
    const std::string_view what = arguments[0], key = arguments[1];
    const std::optional<Value> value = plan.find(key);
    if (!value) return plan.reply().error("ERR The specified key does not exist");
    const std::string_view bytes = plan.bytes(value);
    if (!is_sketch(plan, bytes)) return;
    HyperLogLog sketch(bytes);
    const bool known = equals_ignoring_case(what, "GETREG") || equals_ignoring_case(what, "DECODE") || equals_ignoring_case(what, "ENCODING") ||
                       equals_ignoring_case(what, "TODENSE");
    if (!known) return plan.reply().error(fmt::format("ERR Unknown PFDEBUG subcommand '{}'", until_nul(what)));
    if (equals_ignoring_case(what, "ENCODING")) return plan.reply().status(sketch.is_dense() ? "dense" : "sparse");
    if (equals_ignoring_case(what, "DECODE")) {
        if (sketch.is_dense()) return plan.reply().error("ERR HLL encoding is not sparse");
        const std::optional<std::string> text = sketch.runs_text();
        return text ? plan.reply().bulk(*text) : plan.reply().error(kCorrupt);
    }
    const bool was_dense = sketch.is_dense();
    if (!sketch.make_dense()) return plan.reply().error(kCorrupt);
    if (!was_dense) set_sketch(plan, key, sketch, value);
    if (equals_ignoring_case(what, "TODENSE")) return plan.reply().integer(!was_dense);
    HyperLogLog::Registers registers{};
    sketch.merge_into(registers);
    plan.reply().array(HyperLogLog::kRegisters);
    for (const uint8_t count : registers) plan.reply().integer(count);
}

/// Counts known numbers of elements and compares.
void handle_pfselftest(Plan& plan, Arguments) {
    constexpr unsigned kElements = 100'000;
    constexpr double kDeviations = 5, kStandardError = 1.04 / 128;  // of 16384 registers
    HyperLogLog sketch, converted;
    for (unsigned element = 1; element <= kElements; ++element) {
        const std::string name = std::to_string(element);
        if (sketch.add(name) == HyperLogLog::Change::corrupt) return plan.reply().error("ERR TESTFAILED a sketch that was built here is corrupt");
        if (element % 10'000 == 0) plan.tick();
        const bool look = (element & (element - 1)) == 0 || element == kElements;
        if (!look) continue;
        const auto count = static_cast<double>(*sketch.estimate());
        if (std::abs(count - element) > std::ceil(kDeviations * kStandardError * element))
            return plan.reply().error(fmt::format("ERR TESTFAILED {} elements are counted as {}", element, count));
        converted = sketch;
        if (!converted.make_dense() || converted.estimate() != sketch.estimate())
            return plan.reply().error(fmt::format("ERR TESTFAILED both encodings of {} elements differ", element));
    }
    plan.reply().ok();
}

}  // namespace millrace::md
