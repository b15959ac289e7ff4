// Commands about the data on disk - LASTSAVE, BGSAVE, BGREWRITEAOF, and the answer of SAVE - and what INFO says of it. All of it is from md_log's words
// (common/log_words.h), so it is answered while md or md_log is busy, stopped or dead. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "common/text.h"
#include "io_conn/server_facts.h"

namespace millrace::io_conn {

namespace {

template <class T>
T read(const std::atomic<T>& word) {
    return word.load(std::memory_order_relaxed);
}

/// When the data was saved last, or the group was started; seconds since 1970.
uint64_t last_save_s(const ServerFacts& facts) {
    const uint64_t saved = read(facts.call.server.link().log_words().last_save_s);
    return saved != 0 ? saved : facts.started_s();
}

/// A snapshot that a transaction asks for begins once EXEC was executed: what the transaction does has to be in it.
void ask_for_snapshot(const LocalCall& call, std::string_view started, std::string_view scheduled) {
    const bool waits = call.connection.transaction != nullptr || call.server.link().is_saving();
    if (call.connection.transaction != nullptr) call.connection.before_exec->wants_save = true;
    else call.server.link().want_save();
    call.out.status(waits ? scheduled : started);
}

std::string_view ok_unless(bool failed) { return failed ? "err" : "ok"; }

/// How long something takes, or -1 if there is nothing.
int64_t seconds_or_none(bool is_there, uint64_t seconds) { return is_there ? static_cast<int64_t>(seconds) : -1; }

uint64_t now_s() { return static_cast<uint64_t>(std::time(nullptr)); }

std::string loading_text(const LogWords& words) {
    const uint64_t began_s = read(words.load_began_s), all = read(words.load_bytes), done = std::min(read(words.load_bytes_done), all);
    const uint64_t elapsed_s = now_s() - std::min(began_s, now_s());
    const uint64_t left_s = done == 0 ? 1 : static_cast<uint64_t>(static_cast<double>(elapsed_s) * static_cast<double>(all - done) / static_cast<double>(done));
    return fmt::format("loading_start_time:{}\r\nloading_total_bytes:{}\r\nloading_rdb_used_mem:0\r\nloading_loaded_bytes:{}\r\nloading_loaded_perc:{:.2f}\r\nloading_eta_seconds:{}\r\n",
                       began_s, all, done, all == 0 ? 0 : 100 * static_cast<double>(done) / static_cast<double>(all), left_s);
}

}  // namespace

void local_lastsave(const LocalCall& call) { call.out.integer(static_cast<int64_t>(last_save_s(ServerFacts(call)))); }

void local_bgsave(const LocalCall& call) {
    const bool scheduled = call.words.size() == 2 && equals_ignoring_case(call.words[1], "SCHEDULE");
    if (call.words.size() > 1 && !scheduled) return call.out.error("ERR syntax error");
    if (call.server.link().is_saving()) return call.out.error("ERR Background save already in progress");
    ask_for_snapshot(call, "Background saving started", "Background saving scheduled");
}

/// The log is cleaned up by a snapshot, so one that has been asked for while another is written comes after it.
void local_bgrewriteaof(const LocalCall& call) {
    ask_for_snapshot(call, "Background append only file rewriting started", "Background append only file rewriting scheduled");
}

/// What Server::save() has waited for.
void local_save(const LocalCall& call) {
    if (call.server.link().outcome_of_save(call.connection.save_ticket) == SaveOutcome::good) call.out.ok();
    else call.out.error("ERR");
}

std::string persistence_text(const ServerFacts& facts) {
    const LogWords& words = facts.call.server.link().log_words();
    const bool loading = read(words.loading) != 0, saving = facts.call.server.link().is_saving(), logs = facts.call.server.live_number(OptionId::appendonly) != 0;
    const bool save_failed = read(words.last_save) == static_cast<uint32_t>(SaveOutcome::failed);
    const uint64_t changes = read(words.changes), saves = read(words.saves);
    const int64_t last_took_s = seconds_or_none(saves != 0, read(words.last_save_took_s));
    const int64_t takes_s = seconds_or_none(read(words.saving) != 0, now_s() - std::min(read(words.save_began_s), now_s()));
    const auto of_log = [logs](auto value, auto without) { return logs ? value : without; };
    std::string text = fmt::format(
        "loading:{:d}\r\nasync_loading:0\r\ncurrent_cow_peak:0\r\ncurrent_cow_size:0\r\ncurrent_cow_size_age:0\r\ncurrent_fork_perc:0.00\r\n"
        "current_save_keys_processed:{}\r\ncurrent_save_keys_total:{}\r\nrdb_changes_since_last_save:{}\r\nrdb_bgsave_in_progress:{:d}\r\nrdb_last_save_time:{}\r\n"
        "rdb_last_bgsave_status:{}\r\nrdb_last_bgsave_time_sec:{}\r\nrdb_current_bgsave_time_sec:{}\r\nrdb_saves:{}\r\nrdb_last_cow_size:0\r\n"
        "rdb_last_load_keys_expired:0\r\nrdb_last_load_keys_loaded:0\r\n",
        loading, saving ? read(words.save_keys) : 0, saving ? facts.keys() : 0, changes - std::min(changes, read(words.changes_saved)), saving, last_save_s(facts),
        ok_unless(save_failed), last_took_s, takes_s, saves);
    text += fmt::format(
        "aof_enabled:{:d}\r\naof_rewrite_in_progress:{:d}\r\naof_rewrite_scheduled:0\r\naof_last_rewrite_time_sec:{}\r\naof_current_rewrite_time_sec:{}\r\n"
        "aof_last_bgrewrite_status:{}\r\naof_rewrites:{}\r\naof_rewrites_consecutive_failures:0\r\naof_last_write_status:{}\r\naof_last_cow_size:0\r\n"
        "module_fork_in_progress:0\r\nmodule_fork_last_cow_size:0\r\n",
        logs, logs && saving, of_log(last_took_s, int64_t{-1}), of_log(takes_s, int64_t{-1}), ok_unless(logs && save_failed), of_log(saves, uint64_t{0}),
        ok_unless(read(words.trouble) == static_cast<uint32_t>(DiskTrouble::log)));
    if (logs) text += fmt::format("aof_current_size:{}\r\naof_pending_rewrite:0\r\n", read(words.log_bytes));
    return loading ? text + loading_text(words) : text;
}

/// What Redis has no names for.
std::string log_text(const ServerFacts& facts) {
    const LogWords& words = facts.call.server.link().log_words();
    constexpr std::string_view kTroubles[] = {"none", "log", "snapshot"};
    const uint64_t durable = read(words.durable_number), tail = facts.root_word(offsetof(store::Root, oplog_tail));
    const bool is_on = facts.root_word(offsetof(store::Root, oplog_on)) != 0;
    const uint64_t released = std::min(tail, std::max(read(words.released), facts.root_word(offsetof(store::Root, oplog_released))));
    return fmt::format("log_durable_number:{}\r\nlog_syncs:{}\r\noplog_unread_bytes:{}\r\ndisk_trouble:{}\r\n", durable == kAllDurable ? "all" : std::to_string(durable),
                       read(words.log_syncs), is_on ? tail - released : 0, kTroubles[std::min<size_t>(read(words.trouble), std::size(kTroubles) - 1)]);
}

}  // namespace millrace::io_conn
