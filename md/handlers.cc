// See handlers.h. Runs in md.
#include "md/handlers.h"

namespace millrace::md {

#define MR_HANDLER_md(identifier) void handle_##identifier(Plan&, Arguments);
#define MR_HANDLER_io(identifier)
#define MR_HANDLER_container(identifier)
#define MR_COMMAND(identifier, name, arity, flags, first, last, step, place, ...) MR_HANDLER_##place(identifier)
#include "common/commands.def"
#undef MR_HANDLER_md
#undef MR_HANDLER_io
#undef MR_HANDLER_container

namespace {

#define MR_HANDLER_md(identifier) handle_##identifier,
#define MR_HANDLER_io(identifier) nullptr,
#define MR_HANDLER_container(identifier) nullptr,
constexpr Handler kHandlers[] = {
#include "common/commands.def"
};
#undef MR_COMMAND

}  // namespace

Handler handler_of(CommandId id) {
    const auto index = static_cast<unsigned>(id);
    return index < kCommandCount ? kHandlers[index] : nullptr;
}

}  // namespace millrace::md
