// Commands about the server: CONFIG GET, TIME, ROLE, INFO. Runs in io_conn; see local.h.
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

void local_time(const LocalCall& call) {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    call.out.array(2);
    call.out.bulk(std::to_string(now.tv_sec));
    call.out.bulk(std::to_string(now.tv_nsec / 1000));
}

void local_role(const LocalCall& call) {
    call.out.array(3);
    call.out.bulk("master");
    call.out.integer(0);
    call.out.array(0);
}

void local_info(const LocalCall& call) { call.out.verbatim(info_text(call, call.words.subspan(1))); }

}  // namespace millrace::io_conn
