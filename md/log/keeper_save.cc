// Snapshots: when one is due, the process that writes it, and what it makes superfluous. Part of Keeper (keeper.h). Runs in md_log.
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "common/disk/seeded_bugs.h"
#include "common/disk/snapshot_writer.h"
#include "common/log.h"
#include "md/log/keeper.h"
#include "md/log/log_chain.h"
#include "md/log/walk.h"

namespace millrace::md_log {

namespace {

uint64_t seconds_now() { return static_cast<uint64_t>(std::time(nullptr)); }

uint64_t file_bytes(const std::string& path) {
    struct stat status;
    return stat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
}

}  // namespace

void Keeper::look_at_save() {
    if (child_ != 0) {
        help_walk();
        if (child_ != 0) reap_save();
        return;
    }
    if (save_pending_ && logging_ && !disk_fails_) return begin_save();
    if (save_pending_ && disk_fails_ && any_ticket()) {  // who waits hears that it is not to be had now
        take_tickets();
        save_pending_ = false;
        return end_save(false);
    }
    const uint64_t now_us = monotonic_us();
    if (now_us - looked_at_us_ < kParkMs * 1000) return;
    looked_at_us_ = now_us;
    count_log_bytes();
    if (save_pending_ || now_us < next_save_us_) return;
    save_pending_ = save_is_wanted(pending_why_);
}

bool Keeper::any_ticket() const {
    for (unsigned index = 0; index < kMaxIoConns; ++index) {
        const uint64_t answered = std::max(words_->save_seen[index].load(std::memory_order_relaxed), words_->save_failed[index].load(std::memory_order_relaxed));
        if (roster_->lines[index].save_wanted.load(std::memory_order_acquire) > answered) return true;
    }
    return repl_->save_wanted.load(std::memory_order_acquire) > std::max(repl_->save_seen.load(std::memory_order_relaxed), repl_->save_failed.load(std::memory_order_relaxed));
}

bool Keeper::rule_is_met(std::string& why) const {
    const uint64_t done = changes() - words_->changes_saved.load(std::memory_order_relaxed);
    const uint64_t waited_s = seconds_now() - std::max(started_s_, words_->last_save_s.load(std::memory_order_relaxed));
    for (const SaveRule& rule : parse_save_rules(live_.text(OptionId::save))) {
        if (done < rule.changes || waited_s <= rule.seconds) continue;
        why = fmt::format("{} changes in {} seconds", done, waited_s);
        return true;
    }
    return false;
}

bool Keeper::log_has_grown(std::string& why) const {
    const auto percentage = static_cast<uint64_t>(live_.number(OptionId::auto_aof_rewrite_percentage));
    if (!(log_is_on() || is_followed()) || percentage == 0) return false;
    const uint64_t grown = words_->log_bytes.load(std::memory_order_relaxed) - std::min(words_->log_bytes.load(std::memory_order_relaxed), log_bytes_at_save_);
    const auto least = std::max(static_cast<uint64_t>(live_.number(OptionId::auto_aof_rewrite_min_size)), snapshot_bytes_ / 100 * percentage);
    why = fmt::format("{} MB of log since the last snapshot", grown >> 20);
    return grown >= least;
}

bool Keeper::save_is_wanted(std::string& why) const {
    if (any_ticket()) return why = "a client asks for it", true;
    if (logging_ && !based_) return why = "the log needs a beginning", true;
    return rule_is_met(why) || log_has_grown(why);
}

void Keeper::take_tickets() {
    for (unsigned index = 0; index < kMaxIoConns; ++index) child_tickets_[index] = roster_->lines[index].save_wanted.load(std::memory_order_acquire);
    child_repl_ticket_ = repl_->save_wanted.load(std::memory_order_acquire);
}

/// The snapshot under way is of no use; another one is begun. It has no name yet: its process waits in agree_on_end().
void Keeper::give_up_save(const char* why) {
    log::notice("the snapshot under way is given up, and another one begun: {}", why);
    end_child();
    remove_partial_files();
    save_pending_ = true;
}

/// Gives the number of the last commit, and notes the stream number that goes with exactly this one: what a redis-server says behind it may be done once only.
/// An md that has died in the middle of a commit is waited for a while; then the stream number is at most too low.
uint64_t Keeper::begin_at_present() {
    constexpr unsigned kLooksMax = 10'000;
    const auto committed = [this] { return store_.root(offsetof(st::Root, committed)); };
    for (unsigned look = 1;; ++look) {
        const bool was_still = committed() == 0;
        const uint64_t before = store_.root(offsetof(st::Root, number));
        child_stream_ = store_.root(offsetof(st::Root, stream_number));
        child_stream_database_ = store_.root(offsetof(st::Root, stream_database));
        const bool is_still = committed() == 0;
        const uint64_t number = store_.root(offsetof(st::Root, number));
        if ((was_still && is_still && number == before) || look == kLooksMax) return number;
        if (look > kLooksMax / 2) usleep(100);
    }
}

/// The log begins another file, so that those before can go one day.
void Keeper::begin_save() {
    save_pending_ = false;
    take_tickets();
    child_period_ = present_period();
    std::string ignored;
    child_by_rule_ = !any_ticket() && rule_is_met(ignored);
    child_changes_ = changes();
    remove_partial_files();
    if (based_ && quiet_sync() && !writer_->open_new(writer_->written_number(), true) && writer_->error() != EEXIST) fail_disk();
    words_->save_keys.store(0);
    words_->save_bytes.store(0);
    words_->save_began_s.store(seconds_now());
    words_->saving.store(1);
    const uint64_t start = begin_at_present();
    log::notice("a snapshot is written, of commit {} and what comes while it is written: {}", start, pending_why_);
    syncer_.wait();
    child_ = fork();
    if (child_ == 0) save_in_child(start);
    if (child_ > 0) return;
    child_ = 0;
    log::warning("the process that writes the snapshot cannot be started: {}", errno_text(errno));
    end_save(false);
}

/// Ends with the process: what other threads hold here is not there.
void Keeper::save_in_child(uint64_t start) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::signal(SIGTERM, SIG_DFL);
    setpriority(PRIO_PROCESS, 0, kSaveNice);
    words_->walk_pid.store(static_cast<uint32_t>(getpid()));
    std::string sentence;
    const bool good = write_snapshot(start, false, sentence);
    if (!good) log::warning("{}", sentence);
    _exit(good ? 0 : 1);
}

/// `ended`: md has, and this is the only process that is left.
bool Keeper::write_snapshot(uint64_t start, bool ended, std::string& sentence) {
    for (unsigned attempt = 1; attempt <= kSwapTriesMax; ++attempt) {
        disk::SnapshotWriter out(folder_, daemon_.arguments().instance, start, live_.number(OptionId::rdbcompression) != 0);
        out.set_stream_number(child_stream_);
        if (!live_.text(OptionId::replicaof).empty()) out.set_stream_database(child_stream_database_);
        if (!out.begin()) return sentence = out.sentence(), false;
        Walk walk(store_, *words_, out, ended ? 0 : static_cast<uint64_t>(live_.number(OptionId::snapshot_rate)));
        const uint64_t all = store_.keys();
        uint64_t told_us = 0;
        if (ended)
            walk.set_progress([&](uint64_t keys) {
                if (monotonic_us() - told_us < 250'000) return;
                told_us = monotonic_us();
                daemon_.report_saving(fmt::format("{} % of {} keys", all == 0 ? 100 : std::min<uint64_t>(100, keys * 100 / all), all));
            });
        const Walk::Outcome outcome = walk.run();
        if (outcome == Walk::Outcome::swapped) {
            start = begin_at_present();
            continue;
        }
        if (outcome == Walk::Outcome::restless) return sentence = "the snapshot is given up: a part of the index did not hold still; it is tried again", false;
        if (outcome == Walk::Outcome::write_failed) return sentence = out.sentence(), false;
        if (!out.finish(ended ? start : std::max(start, agree_on_end()))) return sentence = out.sentence(), false;
        return true;
    }
    return sentence = "the snapshot is given up: databases were swapped again and again; it is tried again", false;
}

/// L5: waits until the log is durable as far as it is now, and gives the number of its last record. If the rest of md_log dies, so does this process.
uint64_t Keeper::agree_on_end() {
    const uint64_t own = words_->walk_ended.fetch_add(1) + 1;
    fifo_.wake();
    while (words_->walk_synced.load(std::memory_order_acquire) < own) usleep(2000);
    return words_->walk_number.load();
}

void Keeper::help_walk() {
    const uint64_t ended = words_->walk_ended.load(std::memory_order_acquire);
    if (ended == words_->walk_synced.load(std::memory_order_relaxed)) return;
    for (const uint64_t tail = oplog_.tail(); position_ < tail && !disk_fails_;) take_records();
    if (disk::kSeededLogBug != disk::SeededLogBug::log_behind_snapshot && !quiet_sync()) return;  // asked again in the next turn
    if (child_period_ != present_period()) return give_up_save("the log was off meanwhile");  // L4: what it needs of the log is not there
    words_->walk_number.store(writer_->written_number());
    words_->walk_synced.store(ended, std::memory_order_release);
}

void Keeper::reap_save() {
    int status = 0;
    const pid_t reaped = waitpid(child_, &status, WNOHANG);
    if (reaped == 0) return;
    forget_child();
    if (reaped > 0 && WIFSIGNALED(status)) log::warning("the process that wrote the snapshot was ended by signal {}", WTERMSIG(status));
    end_save(reaped > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void Keeper::end_child() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    forget_child();
    words_->saving.store(0);
}

/// It is no more, and reads the store no more; nor does it wait for the log (agree_on_end()).
void Keeper::forget_child() {
    child_ = 0;
    words_->walk_reading.store(0);
    words_->walk_synced.store(words_->walk_ended.load());
}

void Keeper::end_save(bool good) {
    const uint64_t now_s = seconds_now();
    words_->saving.store(0);
    words_->last_save.store(static_cast<uint32_t>(good ? SaveOutcome::good : SaveOutcome::failed));
    words_->last_save_took_s.store(now_s - words_->save_began_s.load());
    counters_.add(good ? LogCounter::snapshots : LogCounter::snapshots_failed);
    if (good) finish_save(now_s);
    // Who waits for it hears of it when all is as it will be.
    auto& answers = good ? words_->save_seen : words_->save_failed;
    for (unsigned index = 0; index < kMaxIoConns; ++index) answers[index].store(child_tickets_[index], std::memory_order_release);
    (good ? repl_->save_seen : repl_->save_failed).store(child_repl_ticket_, std::memory_order_release);
    repl_bell_.ring();
    wake_io_conns();
    if (!good) {
        next_save_us_ = monotonic_us() + kSaveRetryUs;
        const bool stops = live_.number(OptionId::stop_writes) != 0 && !parse_save_rules(live_.text(OptionId::save)).empty();
        if (stops && words_->trouble.load() == static_cast<uint32_t>(DiskTrouble::none)) words_->trouble.store(static_cast<uint32_t>(DiskTrouble::snapshot));
    }
}

void Keeper::finish_save(uint64_t now_s) {
    words_->saves.fetch_add(1);
    words_->last_save_s.store(now_s);
    words_->changes_saved.store(child_changes_);
    if (words_->trouble.load() == static_cast<uint32_t>(DiskTrouble::snapshot)) words_->trouble.store(static_cast<uint32_t>(DiskTrouble::none));
    based_ = chain_is_whole(folder_);
    if (based_) lost_sync_ = false;
    end_trouble();
    remove_old_files();
    count_log_bytes();
    log_bytes_at_save_ = words_->log_bytes.load();
    if (const auto files = disk::snapshot_files(folder_); !files.empty()) snapshot_bytes_ = file_bytes(files.front());
    log::notice("the snapshot is written: {} keys, {:.1f} MB, {} s", words_->save_keys.load(), static_cast<double>(snapshot_bytes_) / (1 << 20),
                words_->last_save_took_s.load());
}

/// L6. The oldest first, so that what is left follows each other, whenever this ends.
void Keeper::remove_old_files() {
    const auto snapshots = disk::snapshot_files(folder_);
    if (snapshots.size() < kSnapshotsKept) return;
    for (size_t i = snapshots.size(); i-- > kSnapshotsKept;) unlink(snapshots[i].c_str());
    uint64_t needed_from = 0;
    disk::is_snapshot(snapshots[kSnapshotsKept - 1], needed_from);
    needed_from = std::min(needed_from, repl_->keep_from.load(std::memory_order_acquire));  // R3 of repl_words.h
    const auto logs = disk::numbered_logs(folder_);
    for (size_t i = 0; i + 1 < logs.size() && logs[i + 1].number <= needed_from; ++i) unlink(logs[i].path.c_str());
}

void Keeper::remove_partial_files() {
    for (const std::string& path : disk::partial_files(folder_)) unlink(path.c_str());
}

void Keeper::count_log_bytes() {
    uint64_t bytes = 0;
    for (const auto& file : disk::numbered_logs(folder_)) bytes += file_bytes(file.path);
    words_->log_bytes.store(bytes, std::memory_order_relaxed);
    counters_.set(LogCounter::log_bytes, bytes);
    counters_.set(LogCounter::ring_bytes, oplog_.tail() - written_to_);
    counters_.set(LogCounter::resident_bytes, memory_.read().all);
}

bool Keeper::last_save_is_wanted() const {
    if (store_.root(offsetof(st::Root, loading)) != 0) return false;  // the disk has all of it
    if (log_is_on()) return !based_;
    if (parse_save_rules(live_.text(OptionId::save)).empty()) return false;
    return changes() != words_->changes_saved.load() || disk::snapshot_files(folder_).empty();
}

/// md has ended, and with this process shared memory goes. Throws Error when the data is not on disk.
void Keeper::last_save() {
    while (position_ < oplog_.tail() && logging_ && !disk_fails_) take_records();
    if (disk_fails_) try_again();
    while (position_ < oplog_.tail() && logging_ && !disk_fails_) take_records();
    if (quiet_sync()) seal();
    publish();
    if (logging_ && log_is_on() && disk_fails_) throw Error("the log cannot be written: " + writer_->sentence());
    if (!last_save_is_wanted()) return;
    if (store_.root(offsetof(st::Root, committed)) != 0) throw Error("md has died in the middle of a commit; start the group again, and stop it then");
    remove_partial_files();
    const uint64_t start = begin_at_present();
    daemon_.report_saving("a snapshot");
    std::string sentence;
    words_->saving.store(1);
    const bool good = write_snapshot(start, true, sentence);
    words_->saving.store(0);
    if (!good) throw Error("the data cannot be saved: " + sentence);
    remove_old_files();
}

}  // namespace millrace::md_log
