// CLIENT and its subcommands, but for PAUSE and UNPAUSE, which are md's. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "common/text.h"
#include "io_conn/client_filter.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

bool is_plain_text(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c >= '!' && c <= '~'; });
}

void set_client_name(const LocalCall& call, std::string_view name) {
    ClientNames names = call.connection.names();
    names.name = name;
    call.connection.set_names(std::move(names));
    call.server.describe(call.connection);
}

namespace {

/// Reads ON or OFF. False after an error reply.
bool read_switch(const LocalCall& call, bool& on) {
    on = equals_ignoring_case(call.words[2], "ON");
    if (on || equals_ignoring_case(call.words[2], "OFF")) return true;
    return call.out.error("ERR syntax error"), false;
}

void set_flag(const LocalCall& call, uint8_t flag) {
    bool on;
    if (!read_switch(call, on)) return;
    call.connection.flags = static_cast<uint8_t>(on ? call.connection.flags | flag : call.connection.flags & ~flag);
    call.server.describe(call.connection);
    call.out.ok();
}

/// "client|list" of an activity word, or NULL before the first command.
std::string_view command_name(uint64_t activity) {
    const uint64_t command = activity & 0xffff;
    return command < kCommandCount ? command_rows()[command].name : "NULL";
}

std::string flags_of(const ClientInfo& info, bool in_transaction) {
    std::string flags;
    if ((info.flags & client_flag::linked) != 0) flags += 'M';
    if (in_transaction) flags += 'x';
    if (info.unix_socket != 0) flags += 'U';
    if ((info.flags & client_flag::no_evict) != 0) flags += 'e';
    if ((info.flags & client_flag::no_touch) != 0) flags += 'T';
    return flags.empty() ? "N" : flags;
}

std::string client_line(const ClientInfo& info, const ClientRow& row, const std::string& unix_path, uint64_t now_s) {
    const uint64_t activity = row.activity.load(std::memory_order_relaxed), backlog = row.backlog.load(std::memory_order_relaxed);
    const uint64_t transaction = row.transaction.load(std::memory_order_relaxed);
    const uint64_t unsent = backlog >> 32, unread = backlog & 0xffffffff;
    const uint64_t active_s = activity >> 16;
    return fmt::format(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub=0 psub=0 ssub=0 multi={} qbuf={} "
        "qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={} oll=0 omem={} tot-mem={} events=r cmd={} user=default "
        "redir=-1 resp={} lib-name={} lib-ver={}\n",
        info.id, address_of(info, info.address, unix_path), address_of(info, info.local_address, unix_path), info.fd, info.name,
        now_s - std::min(now_s, info.connected_at_s), now_s - std::min(now_s, active_s), flags_of(info, transaction != 0), info.database,
        static_cast<int64_t>(transaction) - 1, unread, unsent, unsent, sizeof(Connection) + unread + unsent, command_name(activity), info.resp,
        info.library, info.library_version);
}

void list_clients(const LocalCall& call, const ClientFilter& filter) {
    const auto now_s = static_cast<uint64_t>(std::time(nullptr));
    // The caller's own line is as of now, not as of its last turn.
    call.server.note_activity(call.connection);
    const std::string& unix_path = call.server.daemon().options().text(OptionId::unixsocket);
    std::vector<std::pair<uint64_t, std::string>> lines;
    for_each_client_of_group(call.server, filter, [&](unsigned, const ClientInfo& info, const ClientRow& row) {
        lines.emplace_back(info.id, client_line(info, row, unix_path, now_s));
    });
    std::sort(lines.begin(), lines.end());
    std::string text;
    for (const auto& [id, line] : lines) text += line;
    call.out.verbatim(text);
}

}  // namespace

void local_client_id(const LocalCall& call) { call.out.integer(static_cast<int64_t>(call.connection.client_id)); }

void local_client_getname(const LocalCall& call) {
    const std::string& name = call.connection.names().name;
    if (name.empty()) call.out.null();
    else call.out.bulk(name);
}

void local_client_setname(const LocalCall& call) {
    if (!is_plain_text(call.words[2])) return call.out.error(kBadClientName);
    set_client_name(call, call.words[2]);
    call.out.ok();
}

void local_client_setinfo(const LocalCall& call) {
    const bool is_name = equals_ignoring_case(call.words[2], "LIB-NAME");
    if (!is_name && !equals_ignoring_case(call.words[2], "LIB-VER"))
        return call.out.error(fmt::format("ERR Unrecognized option '{}'", until_nul(call.words[2])));
    const std::string_view text = call.words[3];
    if (!is_plain_text(text))
        return call.out.error(fmt::format("ERR {} cannot contain spaces, newlines or special characters.", is_name ? "lib-name" : "lib-ver"));
    // Not more than can be shown: it is kept for as long as the connection.
    ClientNames names = call.connection.names();
    (is_name ? names.library : names.library_version) = text.substr(0, ClientInfo::kLibraryBytes - 1);
    call.connection.set_names(std::move(names));
    call.server.describe(call.connection);
    call.out.ok();
}

void local_client_no_evict(const LocalCall& call) { set_flag(call, client_flag::no_evict); }
void local_client_no_touch(const LocalCall& call) { set_flag(call, client_flag::no_touch); }

void local_client_reply(const LocalCall& call) {
    Muted& muted = call.connection.muted;
    if (equals_ignoring_case(call.words[2], "SKIP")) {
        if (muted != Muted::all) muted = Muted::next;
        return;
    }
    bool on;
    if (!read_switch(call, on)) return;
    muted = on ? Muted::no : Muted::all;
    if (on) call.out.ok();
}

void local_client_getredir(const LocalCall& call) { call.out.integer(-1); }

void local_client_unblock(const LocalCall& call) {
    int64_t id;
    if (call.words.size() > 4) return call.out.error(fmt::format("ERR unknown subcommand or wrong number of arguments for '{}'. Try CLIENT HELP.", until_nul(call.words[1])));
    if (call.words.size() == 4 && !equals_ignoring_case(call.words[3], "TIMEOUT") && !equals_ignoring_case(call.words[3], "ERROR"))
        return call.out.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    if (!parse_integer(call.words[2], id)) return call.out.error("ERR value is not an integer or out of range");
    call.out.integer(0);
}

void local_client_list(const LocalCall& call) {
    ClientFilter filter;
    if (read_list_filter(call, filter)) list_clients(call, filter);
}

void local_client_info(const LocalCall& call) {
    ClientFilter filter;
    filter.ids = {call.connection.client_id};
    list_clients(call, filter);
}

/// Inside a transaction; otherwise Server::kill_clients().
void local_client_kill(const LocalCall& call) { call.server.begin_kill(call, nullptr); }

}  // namespace millrace::io_conn
