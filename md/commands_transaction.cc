// EXEC and WATCH. Runs in md; handlers only (see handlers.h).
//
// EXEC's arguments are what is watched and then the queued requests, as io_conn has written them (io_conn/transaction.h). They become one
// plan: each sees what those before it have changed (P3), and of the changes of a key only the last one is built, because changes are absolute (P2).
// So the whole is one operation with one commit.
#include <cstring>

#include "common/message.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

/// Whether all watched keys have what they had.
bool is_unchanged(const Plan& plan, std::string_view watched) {
    WatchHeader header;
    for (; watched.size() >= sizeof header; watched.remove_prefix(header.key_length)) {
        std::memcpy(&header, watched.data(), sizeof header);
        watched.remove_prefix(sizeof header);
        if (header.key_length > watched.size() || header.database >= kDatabases) return false;
        if (plan.token_of(header.database, watched.substr(0, header.key_length)) != header.token) return false;
    }
    return true;
}

/// Executes one queued request, and writes its reply.
void execute(Plan& plan, std::string_view request) {
    RequestHeader header;
    std::vector<std::string_view> arguments;
    const bool whole = parse_request(std::as_bytes(std::span(request)), header, arguments);
    if (whole && header.command == kRawReply && arguments.size() == 1) return plan.reply().raw(arguments[0]);
    const auto command = static_cast<CommandId>(header.command);
    const Handler handler = whole ? handler_of(command) : nullptr;
    // A request comes from a ring: it is looked at like any other.
    if (handler == nullptr || command == CommandId::exec || command == CommandId::watch || header.database >= kDatabases ||
        !command_row(command).accepts(arguments.size() + 1))
        return plan.reply().error("ERR a queued command is malformed");
    plan.select(header.database, (header.flags & request_flag::no_touch) == 0);
    const uint64_t errors = plan.reply().errors();
    handler(plan, arguments);
    plan.observe(command_row(command), arguments, plan.reply().errors() != errors);
    plan.tick();
}

}  // namespace

void handle_exec(Plan& plan, Arguments arguments) {
    if (arguments.empty() || !is_unchanged(plan, arguments[0])) return plan.reply().null_array();
    plan.begin_transaction();
    plan.reply().array(static_cast<uint32_t>(arguments.size() - 1));
    for (const std::string_view request : arguments.subspan(1)) {
        if (plan.exhausted()) return;  // EXEC is refused as a whole
        execute(plan, request);
    }
}

void handle_watch(Plan& plan, Arguments arguments) {
    std::vector<uint64_t> tokens;
    for (const std::string_view key : arguments) tokens.push_back(plan.token_of(plan.database(), key));
    plan.reply().tokens(tokens);
}

}  // namespace millrace::md
