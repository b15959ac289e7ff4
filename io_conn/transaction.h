// What a connection has between MULTI and EXEC, and what it watches. Runs in io_conn.
//
// Commands that md executes wait here as requests (common/message.h) and travel in one request, EXEC, which md executes as one operation:
// all of it is committed in one step, or nothing (md/commands_transaction.cc). Commands that io_conn answers are executed when EXEC is sent, and
// their replies travel along, so that they come back in order.
// A watched key is known by a token that md gave: what the key had then. EXEC carries keys and tokens, md compares. So no md has to remember who
// watches what, and a new one knows all that it needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io_conn/client_names.h"

namespace millrace::io_conn {

struct WatchedKey {
    std::string key;
    uint8_t database;
    std::optional<uint64_t> token;  ///< empty until md's answer has come
};

struct QueuedCommand {
    uint16_t command;   ///< CommandId
    bool is_local;      ///< io_conn answers it: `words` is what it says, `request` is empty
    std::string request;
    std::vector<std::string> words;  ///< of a local command
};

/// What commands in a transaction may have changed of their connection, to be taken back if md does not execute EXEC.
struct ConnectionBefore {
    uint8_t database;
    bool stranger;
    uint8_t flags;
    ClientNames names;
    std::vector<uint64_t> to_kill;  ///< clients whose connections are closed once EXEC was executed
    bool rewrites = false;          ///< the configuration file is written once EXEC was executed
    bool wants_save = false;        ///< a snapshot is asked for once EXEC was executed
};

struct Transaction {
    std::vector<QueuedCommand> queue;
    uint64_t bytes = 0;      ///< of all requests
    bool failed = false;     ///< a command was refused: EXEC will be too
    size_t local = 0;        ///< commands that are
    bool writes = false;     ///< a command is among them that waits for the end of CLIENT PAUSE WRITE
    bool needs_fresh = false;  ///< a command is among them that is not executed on stale data
    bool pauses = false;     ///< CLIENT PAUSE is among them
    bool rewrites = false;   ///< CONFIG REWRITE is among them
    std::optional<std::string> rewrite_obstacle;  ///< why that is not possible, or empty; nothing until the supervisor has said it
    std::vector<std::string> sent;  ///< EXEC's arguments; empty until local commands have been executed
};

}  // namespace millrace::io_conn
