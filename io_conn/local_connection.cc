// Commands about the connection: PING ECHO QUIT RESET HELLO SELECT AUTH MULTI DISCARD UNWATCH. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <limits>

#include "common/text.h"
#include "common/version.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

namespace {

constexpr std::string_view kWrongPassword = "WRONGPASS invalid username-password pair or user is disabled.";

/// There is one user, "default"; without a password set any password is right for it. Notes who the client is.
bool log_in(const LocalCall& call, std::string_view user, std::string_view password) {
    if (user != "default" || (call.server.needs_password() && !call.server.is_password(password))) return false;
    call.connection.stranger = false;
    return true;
}

}  // namespace

void local_ping(const LocalCall& call) {
    if (call.words.size() > 2) return call.out.error("ERR wrong number of arguments for 'ping' command");
    if (call.words.size() == 2) call.out.bulk(call.words[1]);
    else call.out.status("PONG");
}

void local_echo(const LocalCall& call) { call.out.bulk(call.words[1]); }

void local_quit(const LocalCall& call) {
    call.out.ok();
    call.connection.close_after_replies = true;
}

void local_reset(const LocalCall& call) {
    call.connection.resp3 = false;
    call.connection.database = 0;
    call.server.drop_transaction(call.connection);
    call.connection.stranger = call.server.needs_password();
    call.connection.muted = Muted::no;
    call.connection.flags &= client_flag::no_evict;  // as in Redis
    set_client_name(call, {});
    call.out.raw("+RESET\r\n");
}

void local_multi(const LocalCall& call) {
    if (call.connection.transaction != nullptr) return call.out.error("ERR MULTI calls can not be nested");
    call.connection.transaction = std::make_unique<Transaction>();
    call.out.ok();
}

void local_discard(const LocalCall& call) {
    if (call.connection.transaction == nullptr) return call.out.error("ERR DISCARD without MULTI");
    call.server.drop_transaction(call.connection);
    call.out.ok();
}

void local_unwatch(const LocalCall& call) {
    call.connection.watched.reset();
    call.out.ok();
}

void local_select(const LocalCall& call) {
    int64_t database;
    if (!parse_integer(call.words[1], database)) return call.out.error("ERR value is not an integer or out of range");
    if (database < std::numeric_limits<int32_t>::min() || database > std::numeric_limits<int32_t>::max())
        return call.out.error("ERR value is out of range, value must between -2147483648 and 2147483647");
    if (database < 0 || database >= call.server.daemon().options().number(OptionId::databases))
        return call.out.error("ERR DB index is out of range");
    call.connection.database = static_cast<uint8_t>(database);
    call.server.describe(call.connection);
    call.out.ok();
}

void local_auth(const LocalCall& call) {
    if (call.words.size() > 3) return call.out.error("ERR syntax error");
    if (call.words.size() == 2 && !call.server.needs_password())
        return call.out.error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
            "configuration is correct?");
    const bool named = call.words.size() == 3;
    if (log_in(call, named ? call.words[1] : "default", call.words.back())) call.out.ok();
    else call.out.error(kWrongPassword);
}

namespace {

/// HELLO's options from the second argument on, each of which counts even if a later one is wrong. False after an error reply.
bool read_hello_options(const LocalCall& call) {
    const Arguments words = call.words;
    for (size_t i = 2; i < words.size(); ++i) {
        if (equals_ignoring_case(words[i], "AUTH") && i + 2 < words.size()) {
            if (!log_in(call, words[i + 1], words[i + 2])) return call.out.error(kWrongPassword), false;
            i += 2;
        } else if (equals_ignoring_case(words[i], "SETNAME") && i + 1 < words.size()) {
            if (!is_plain_text(words[i + 1])) return call.out.error(kBadClientName), false;
            set_client_name(call, words[++i]);
        } else {
            call.out.error(fmt::format("ERR Syntax error in HELLO option '{}'", until_nul(words[i])));
            return false;
        }
    }
    return true;
}

}  // namespace

void local_hello(const LocalCall& call) {
    Connection& connection = call.connection;
    int64_t version = connection.resp3 ? 3 : 2;
    if (call.words.size() >= 2) {
        if (!parse_integer(call.words[1], version))
            return call.out.error("ERR Protocol version is not an integer or out of range");
        if (version != 2 && version != 3) return call.out.error("NOPROTO unsupported protocol version");
        if (!read_hello_options(call)) return;
    }
    if (call.server.is_stranger(connection))
        return call.out.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be "
            "used to authenticate the client and select the RESP protocol version at the same time");
    connection.resp3 = version == 3;
    call.server.describe(connection);
    RespWriter& out = call.out;
    out.set_resp3(connection.resp3);
    out.map(7);
    out.bulk("server"), out.bulk("redis");
    out.bulk("version"), out.bulk(kRedisVersion);
    out.bulk("proto"), out.integer(version);
    out.bulk("id"), out.integer(static_cast<int64_t>(connection.client_id));
    out.bulk("mode"), out.bulk("standalone");
    out.bulk("role"), out.bulk(call.server.is_following() ? "replica" : "master");
    out.bulk("modules"), out.array(0);
}

}  // namespace millrace::io_conn
