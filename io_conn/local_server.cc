// Commands about the server: CONFIG GET and REWRITE, SHUTDOWN, TIME, ROLE, INFO. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <ctime>
#include <map>
#include <string>

#include "common/text.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

void local_config_get(const LocalCall& call) {
    std::map<OptionId, std::string_view> matches;
    for (const std::string_view asked : call.words.subspan(2)) {
        if (asked.find_first_of("[*?") == std::string_view::npos) {
            // A plain name is repeated as it was asked for, in whatever case.
            if (const OptionRow* row = find_option(asked); row != nullptr) matches.emplace(row->id, asked);
            continue;
        }
        for (const OptionRow& row : option_rows())
            if (glob_match(asked, row.name, true)) matches.emplace(row.id, row.name);
    }
    call.out.map(static_cast<uint32_t>(matches.size()));
    for (const auto& [id, name] : matches) {
        call.out.bulk(name);
        call.out.bulk(call.server.option_text(id));
    }
}

/// The supervisor writes the file: an io_conn opens none, and it would not know of what the command line has said.
std::string rewrite_request(const Server& server, std::string_view operation) {
    std::string values;
    for (const OptionRow& row : option_rows())
        if (is_live(row.id)) values += fmt::format("{}{}: {}", values.empty() ? "" : ", ", json_quoted(row.name), json_quoted(server.option_text(row.id)));
    return fmt::format("{{\"op\": \"{}\", \"options\": {{{}}}}}", operation, values);
}

void local_config_rewrite(const LocalCall& call) {
    const Transaction* transaction = call.connection.transaction.get();
    const std::string obstacle = transaction != nullptr ? *transaction->rewrite_obstacle
                                                        : call.server.ask_supervisor(call.connection, Asking::rewrite, rewrite_request(call.server, "rewrite"));
    if (!obstacle.empty()) call.out.error(fmt::format("ERR {}: {}", kRewriteFailed, obstacle));
    else if (transaction != nullptr) call.out.ok();
}

void local_shutdown(const LocalCall& call) {
    bool save = false, nosave = false, abort = false, other = false;
    for (const std::string_view word : call.words.subspan(1)) {
        if (equals_ignoring_case(word, "SAVE")) save = true;
        else if (equals_ignoring_case(word, "NOSAVE")) nosave = true;
        else if (equals_ignoring_case(word, "ABORT")) abort = true;
        else if (equals_ignoring_case(word, "NOW") || equals_ignoring_case(word, "FORCE")) other = true;
        else return call.out.error("ERR syntax error");
    }
    if ((abort && (save || nosave || other)) || (save && nosave)) return call.out.error("ERR syntax error");
    if (abort) return call.out.error("ERR No shutdown in progress.");
    const bool saves = !call.server.option_text(OptionId::save).empty() || call.server.live_number(OptionId::appendonly) != 0;
    if (save && !saves) return call.out.error(fmt::format("ERR {}: there are neither rules of 'save' nor a log by which it would save; send SAVE before", kShutdownFailed));
    const std::string obstacle = call.server.ask_supervisor(call.connection, Asking::shutdown, "{\"op\": \"stop\", \"by\": \"client\"}");
    if (!obstacle.empty()) call.out.error(fmt::format("ERR {}: {}", kShutdownFailed, obstacle));
}

void local_time(const LocalCall& call) {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    call.out.array(2);
    call.out.bulk(std::to_string(now.tv_sec));
    call.out.bulk(std::to_string(now.tv_nsec / 1000));
}

void local_info(const LocalCall& call) { call.out.verbatim(info_text(call, call.words.subspan(1))); }

}  // namespace millrace::io_conn
