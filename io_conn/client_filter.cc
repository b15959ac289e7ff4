// See client_filter.h. Runs in io_conn.
#include "io_conn/client_filter.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/check.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/text.h"

namespace millrace::io_conn {

namespace {

/// Notes the type of clients that is wanted. False after an error reply.
bool take_type(const LocalCall& call, std::string_view word, ClientFilter& filter) {
    for (const std::string_view type : {"normal", "master", "replica", "slave", "pubsub"}) {
        if (!equals_ignoring_case(word, type)) continue;
        filter.linked = type == "master";
        filter.none = filter.none || (type != "normal" && type != "master");
        return true;
    }
    return call.out.error(fmt::format("ERR Unknown client type '{}'", until_nul(word))), false;
}

}  // namespace

std::string address_of(const ClientInfo& info, const ClientAddress& address, const std::string& unix_path) {
    return info.unix_socket != 0 ? unix_path + ":0" : address.text();
}

bool ClientFilter::takes(const ClientInfo& info, const std::string& unix_path) const {
    return !none && info.id != except && (!linked || *linked == ((info.flags & client_flag::linked) != 0)) && (ids.empty() || std::ranges::binary_search(ids, info.id)) &&
           (!address || *address == address_of(info, info.address, unix_path)) &&
           (!local_address || *local_address == address_of(info, info.local_address, unix_path));
}

bool read_list_filter(const LocalCall& call, ClientFilter& filter) {
    const Arguments words = call.words;
    if (words.size() == 4 && equals_ignoring_case(words[2], "TYPE")) return take_type(call, words[3], filter);
    if (words.size() > 3 && equals_ignoring_case(words[2], "ID")) {
        for (const std::string_view word : words.subspan(3)) {
            int64_t id;
            if (!parse_integer(word, id)) return call.out.error("ERR Invalid client ID"), false;
            filter.ids.push_back(static_cast<uint64_t>(id));
        }
        std::ranges::sort(filter.ids);
        return true;
    }
    if (words.size() != 2) return call.out.error("ERR syntax error"), false;
    return true;
}

bool read_kill_filter(const LocalCall& call, ClientFilter& filter) {
    const Arguments words = call.words.subspan(2);
    if (words.size() == 1) {
        filter.address = words[0];
        filter.is_address_only = true;
        return true;
    }
    bool skips_itself = true;
    for (size_t i = 0; i < words.size(); i += 2) {
        const std::string_view value = i + 1 < words.size() ? words[i + 1] : std::string_view();
        const auto is = [&](std::string_view name) { return i + 1 < words.size() && equals_ignoring_case(words[i], name); };
        if (is("ID")) {
            int64_t id;
            if (!parse_integer(value, id) || id < 1) return call.out.error("ERR client-id should be greater than 0"), false;
            filter.ids = {static_cast<uint64_t>(id)};
        } else if (is("TYPE")) {
            filter.none = false;  // the last one counts
            if (!take_type(call, value, filter)) return false;
        } else if (is("ADDR")) {
            filter.address = value;
        } else if (is("LADDR")) {
            filter.local_address = value;
        } else if (is("USER")) {
            if (value != "default") return call.out.error(fmt::format("ERR No such user '{}'", until_nul(value))), false;
        } else if (is("SKIPME") && (equals_ignoring_case(value, "yes") || equals_ignoring_case(value, "no"))) {
            skips_itself = equals_ignoring_case(value, "yes");
        } else {
            return call.out.error("ERR syntax error"), false;
        }
    }
    if (skips_itself) filter.except = call.connection.client_id;
    return true;
}

void for_each_client_of_group(Server& server, const ClientFilter& filter,
                              const std::function<void(unsigned, const ClientInfo&, const ClientRow&)>& visit) {
    const Roster& roster = server.link().roster();
    const DaemonArguments& arguments = server.daemon().arguments();
    const std::string& unix_path = server.daemon().options().text(OptionId::unixsocket);
    for (unsigned index = 0; index < kMaxIoConns; ++index) {
        if (roster.lines[index].state.load(std::memory_order_relaxed) == static_cast<uint32_t>(IoConnState::absent)) continue;
        try {
            for_each_client(paths::clients(arguments.dir, index), arguments.instance, [&](const ClientInfo& info, const ClientRow& row) {
                if (filter.takes(info, unix_path)) visit(index, info, row);
            });
        } catch (const std::exception& error) {
            log::verbose("the clients of io_conn {} are left out: {}", index, error.what());
        }
    }
}

}  // namespace millrace::io_conn
