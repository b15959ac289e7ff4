// See direct_commands.h. The same answers as those of md's handlers (md/commands_*.cc). Runs in io_conn.
#include "io_conn/direct_commands.h"

#include <algorithm>

#include "common/byte_range.h"
#include "common/clock.h"
#include "common/text.h"

namespace millrace::io_conn {

namespace {

constexpr int64_t kNoSuchKey = -2, kNeverExpires = -1;  ///< what TTL says

DirectOutcome append_bulk(const DirectCall& call, const DirectLookup& key, ByteRange range) {
    if (range.count > DirectReader::kValueBytesMax) return DirectOutcome::not_here;
    const auto length = static_cast<uint32_t>(range.count);
    char* const room = call.out.begin_bulk(length);
    if (!call.reader.copy_value(key, range.from, range.count, room)) return DirectOutcome::changed;
    call.out.end_bulk(room, length);
    return DirectOutcome::answered;
}

DirectOutcome append_value_or_null(const DirectCall& call, const DirectLookup& key) {
    if (key.item != 0) return append_bulk(call, key, {0, key.value_length});
    call.out.null();
    return DirectOutcome::answered;
}

DirectOutcome get(const DirectCall& call) { return append_value_or_null(call, call.keys[0]); }

DirectOutcome mget(const DirectCall& call) {
    uint64_t bytes = 0;
    for (const DirectLookup& key : call.keys)
        if (key.item != 0) bytes += key.value_length;
    if (bytes > DirectReader::kValueBytesMax) return DirectOutcome::not_here;
    call.out.array(static_cast<uint32_t>(call.keys.size()));
    for (const DirectLookup& key : call.keys)
        if (const DirectOutcome outcome = append_value_or_null(call, key); outcome != DirectOutcome::answered) return outcome;
    return DirectOutcome::answered;
}

DirectOutcome getrange(const DirectCall& call) {
    int64_t start, end;
    if (!parse_integer(call.arguments[1], start) || !parse_integer(call.arguments[2], end)) return DirectOutcome::not_here;
    const DirectLookup& key = call.keys[0];
    const ByteRange range = key.item == 0 ? ByteRange{} : byte_range(start, end, key.value_length);
    if (range.count != 0) return append_bulk(call, key, range);
    call.out.bulk("");
    return DirectOutcome::answered;
}

DirectOutcome exists(const DirectCall& call) {
    call.out.integer(std::ranges::count_if(call.keys, [](const DirectLookup& key) { return key.item != 0; }));
    return DirectOutcome::answered;
}

DirectOutcome strlen(const DirectCall& call) {
    call.out.integer(call.keys[0].item == 0 ? 0 : static_cast<int64_t>(call.keys[0].value_length));
    return DirectOutcome::answered;
}

DirectOutcome type(const DirectCall& call) {
    call.out.status(call.keys[0].item != 0 ? "string" : "none");
    return DirectOutcome::answered;
}

DirectOutcome time_left(const DirectCall& call, int64_t unit_ms) {
    const DirectLookup& key = call.keys[0];
    if (key.item == 0) call.out.integer(kNoSuchKey);
    else if (!key.expires) call.out.integer(kNeverExpires);
    else call.out.integer(time_to_live(key.expire_at_ms, wall_ms(), unit_ms));
    return DirectOutcome::answered;
}

DirectOutcome ttl(const DirectCall& call) { return time_left(call, 1000); }
DirectOutcome pttl(const DirectCall& call) { return time_left(call, 1); }

constexpr std::array<DirectCommand, kCommandCount> make_direct_commands() {
    std::array<DirectCommand, kCommandCount> commands{};
    const auto set = [&commands](CommandId id, DirectHandler handler, bool uses_its_keys) { commands[static_cast<unsigned>(id)] = {handler, uses_its_keys}; };
    set(CommandId::get, get, true), set(CommandId::mget, mget, true), set(CommandId::getrange, getrange, true), set(CommandId::strlen, strlen, true);
    set(CommandId::exists, exists, false), set(CommandId::type, type, false), set(CommandId::ttl, ttl, false), set(CommandId::pttl, pttl, false);
    return commands;
}

}  // namespace

constinit const std::array<DirectCommand, kCommandCount> kDirectCommands = make_direct_commands();

}  // namespace millrace::io_conn
