// Commands about the connection: PING ECHO QUIT RESET HELLO SELECT AUTH CLIENT. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <limits>

#include "common/log.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/version.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

namespace {

constexpr std::string_view kWrongPassword = "WRONGPASS invalid username-password pair or user is disabled.";
constexpr std::string_view kBadClientName =
    "ERR Client names cannot contain spaces, newlines or special characters.";

bool valid_client_name(std::string_view name) {
    for (const char c : name)
        if (c < '!' || c > '~') return false;
    return true;
}

/// There is one user, "default"; without a password set any password is right for it. Notes who the client is.
bool log_in(const LocalCall& call, std::string_view user, std::string_view password) {
    if (user != "default" || (call.server.needs_password() && !call.server.is_password(password))) return false;
    call.connection.stranger = false;
    return true;
}

void set_name(const LocalCall& call, std::string_view name) {
    call.connection.name = name;
    call.server.describe(call.connection);
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
    set_name(call, {});
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
    call.connection.watched.clear();
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
            if (!valid_client_name(words[i + 1])) return call.out.error(kBadClientName), false;
            set_name(call, words[++i]);
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
    if (connection.stranger)
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
    out.bulk("role"), out.bulk("master");
    out.bulk("modules"), out.array(0);
}

void local_client_id(const LocalCall& call) { call.out.integer(static_cast<int64_t>(call.connection.client_id)); }

void local_client_getname(const LocalCall& call) {
    if (call.connection.name.empty()) call.out.null();
    else call.out.bulk(call.connection.name);
}

void local_client_setname(const LocalCall& call) {
    if (!valid_client_name(call.words[2])) return call.out.error(kBadClientName);
    set_name(call, call.words[2]);
    call.out.ok();
}

namespace {

/// Which connections CLIENT LIST shows.
struct ClientFilter {
    bool none = false;  ///< a type of which there are none
    std::vector<uint64_t> ids;

    bool shows(uint64_t id) const {
        return !none && (ids.empty() || std::find(ids.begin(), ids.end(), id) != ids.end());
    }
};

bool read_client_filter(const LocalCall& call, ClientFilter& filter) {
    const Arguments words = call.words;
    if (words.size() == 4 && equals_ignoring_case(words[2], "TYPE")) {
        for (const std::string_view type : {"normal", "master", "replica", "slave", "pubsub"}) {
            if (!equals_ignoring_case(words[3], type)) continue;
            filter.none = type != "normal";
            return true;
        }
        return call.out.error(fmt::format("ERR Unknown client type '{}'", until_nul(words[3]))), false;
    }
    if (words.size() > 3 && equals_ignoring_case(words[2], "ID")) {
        for (const std::string_view word : words.subspan(3)) {
            int64_t id;
            if (!parse_integer(word, id)) return call.out.error("ERR Invalid client ID"), false;
            filter.ids.push_back(static_cast<uint64_t>(id));
        }
        return true;
    }
    if (words.size() != 2) return call.out.error("ERR syntax error"), false;
    return true;
}

/// "client|list" of an activity word, or NULL before the first command.
std::string_view command_name(uint64_t activity) {
    const uint64_t command = activity & 0xffff;
    return command < kCommandCount ? command_rows()[command].name : "NULL";
}

std::string client_line(const ClientInfo& info, const std::string& unix_path, uint64_t activity, uint64_t backlog,
                        uint64_t now_s) {
    const uint64_t unsent = backlog >> 32, unread = backlog & 0xffffffff;
    const uint64_t active_s = activity >> 16;
    const bool is_unix = info.unix_socket != 0;
    const std::string unix_address = unix_path + ":0";
    return fmt::format(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub=0 psub=0 ssub=0 multi=-1 qbuf={} "
        "qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={} oll=0 omem={} tot-mem={} events=r cmd={} user=default "
        "redir=-1 resp={}\n",
        info.id, is_unix ? unix_address : info.address, is_unix ? unix_address : info.local_address, info.fd, info.name, now_s - std::min(now_s, info.connected_at_s),
        now_s - std::min(now_s, active_s), is_unix ? "U" : "N", info.database, unread, unsent, unsent,
        sizeof(Connection) + unread + unsent, command_name(activity), info.resp);
}

}  // namespace

void local_client_list(const LocalCall& call) {
    ClientFilter filter;
    if (!read_client_filter(call, filter)) return;
    const auto now_s = static_cast<uint64_t>(std::time(nullptr));
    // The caller's own line is as of now, not as of its last turn.
    call.server.rows().row(call.connection.slot).activity.store(now_s << 16 | static_cast<uint64_t>(call.row.id));
    const std::string& unix_path = call.server.daemon().options().text(OptionId::unixsocket);
    std::vector<std::pair<uint64_t, std::string>> lines;
    const Roster& roster = call.server.link().roster();
    for (unsigned index = 0; index < kMaxIoConns; ++index) {
        if (roster.lines[index].state.load(std::memory_order_relaxed) == static_cast<uint32_t>(IoConnState::absent)) continue;
        try {
            const DaemonArguments& arguments = call.server.daemon().arguments();
            for_each_client(paths::clients(arguments.dir, index), arguments.instance,
                            [&](const ClientInfo& info, uint64_t activity, uint64_t backlog) {
                                if (filter.shows(info.id))
                                    lines.emplace_back(info.id, client_line(info, unix_path, activity, backlog, now_s));
                            });
        } catch (const std::exception& error) {
            log::verbose("CLIENT LIST leaves io_conn {} out: {}", index, error.what());
        }
    }
    std::sort(lines.begin(), lines.end());
    std::string text;
    for (const auto& [id, line] : lines) text += line;
    call.out.verbatim(text);
}

}  // namespace millrace::io_conn
