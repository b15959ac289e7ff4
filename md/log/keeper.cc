// See keeper.h: start, the log, trouble. Snapshots: keeper_save.cc. Runs in md_log.
#include "md/log/keeper.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "common/disk/data_owner.h"
#include "common/disk/log_reader.h"
#include "common/disk/seeded_bugs.h"
#include "common/log.h"
#include "common/paths.h"
#include "md/log/log_chain.h"

namespace millrace::md_log {

Keeper::Keeper(Daemon& daemon)
    : daemon_(daemon),
      folder_(disk::data_folder(daemon.dir())),
      control_segment_(Segment::attach({paths::control(daemon.dir()), kControlLayout, daemon.arguments().instance}, Access::read_only)),
      roster_segment_(Segment::attach({paths::roster(daemon.dir()), kRosterLayout, daemon.arguments().instance}, Access::read_only)),
      words_segment_(Segment::attach({paths::log_words(daemon.dir()), kLogWordsLayout, daemon.arguments().instance}, Access::read_write)),
      repl_segment_(Segment::attach({paths::repl_words(daemon.dir()), kReplWordsLayout, daemon.arguments().instance}, Access::read_write)),
      control_(control_segment_.payload<Control>()),
      roster_(roster_segment_.payload<Roster>()),
      words_(words_segment_.payload<LogWords>()),
      repl_(repl_segment_.payload<ReplWords>()),
      counters_(paths::counters(daemon.dir(), "md_log", 0), "md_log", 0, daemon.arguments().instance, daemon.arguments().generation),
      store_(paths::store(daemon.dir()), daemon.arguments().instance),
      oplog_(store_),
      live_(daemon.options()),
      fifo_(paths::md_log_fifo(daemon.dir())),
      parker_(words_->park),
      md_bell_(control_->md_park, Fifo(paths::md_fifo(daemon.dir()))),
      repl_bell_(repl_->park, Fifo(paths::md_repl_fifo(daemon.dir()))),
      started_s_(static_cast<uint64_t>(std::time(nullptr))) {
    fifo_.prepare_to_wait(paths::md_log_fifo(daemon.dir()));
    counters_.set(LogCounter::start_time, started_s_);
    counters_.set(LogCounter::restarts, daemon.arguments().restarts);
    daemon.wake_on_signal(fifo_.descriptor());
}

Keeper::~Keeper() = default;

/// D4. What a predecessor was about is over: its snapshot ended with it.
void Keeper::adopt_words() {
    if (words_->generation.load() != store_.generation()) {
        const bool on = store_.root(offsetof(st::Root, oplog_on)) != 0;
        words_->released.store(store_.root(on ? offsetof(st::Root, oplog_started) : offsetof(st::Root, oplog_tail)));
        words_->released_number.store(store_.root(offsetof(st::Root, log_loaded)));
        words_->changes_saved.store(0);
        words_->last_save_s.store(0);
        words_->generation.store(store_.generation(), std::memory_order_release);
    }
    words_->pid.store(static_cast<uint32_t>(getpid()));
    words_->saving.store(0);
    words_->walk_reading.store(0);
    words_->walk_synced.store(words_->walk_ended.load());
    words_->trouble.store(0);
    position_ = written_to_ = synced_to_ = words_->released.load();
    strict_ = words_->durable_position.load() != kAllDurable;
}

/// While md loads the files nobody else touches them. False: the end comes first.
bool Keeper::wait_for_md() {
    while (control_->md_epoch.load(std::memory_order_acquire) == 0 || words_->loading.load(std::memory_order_acquire) != 0) {
        if (daemon_.stopping() || daemon_.retiring()) return false;
        daemon_.answer_roll_call();
        fifo_.wait(kParkMs);
    }
    return true;
}

/// Throws Error. Of an md that has died in the middle of a commit the log may have the record already.
void Keeper::look_at_data_owner() const {
    const uint64_t number = std::max(store_.root(offsetof(st::Root, number)), store_.root(offsetof(st::Root, committed)));
    const std::string why = disk::why_not_its_data(folder_, daemon_.arguments().instance, number, store_.root(offsetof(st::Root, log_loaded)));
    if (!why.empty()) throw Error(why);
}

/// Goes on where the newest file ends, if that is as far as the ring was read; else another one is begun, and with it the log (L4).
void Keeper::open_log() {
    writer_ = std::make_unique<disk::LogWriter>(
        folder_, disk::LogWriter::Options{daemon_.arguments().instance, kLogFileBytesMax, live_.number(OptionId::log_compression) != 0});
    logging_ = true;
    disk_fails_ = false;
    period_ = present_period();
    const uint64_t reached = words_->released_number.load();
    const LogEnd end = end_of_log(folder_);
    const bool no_gap = end.number >= period_.gap && period_.started <= position_;
    if (end.usable && end.number >= reached && no_gap && chain_is_whole(folder_)) {
        if (go_on_behind(end)) {
            skip_to_ = end.number;
            based_ = true;
            return end_trouble();
        }
    } else if (end.path.empty() && end.fault.empty() && begins_with_nothing()) {
        if (writer_->open_new(0, true)) {
            skip_to_ = 0;
            based_ = true;
            return end_trouble();
        }
    } else {
        if (!end.fault.empty()) log::warning("{}; another log file is begun, and a snapshot", end.fault);
        position_ = written_to_ = synced_to_ = std::max(position_, store_.root(offsetof(st::Root, oplog_started)));
        skip_to_ = std::max(store_.root(offsetof(st::Root, number)), end.number);
        based_ = false;
        if (writer_->open_new(skip_to_, false)) return end_trouble();
    }
    fail_disk();
}

/// What another instance has made is what this one was loaded from (common/disk/data_owner.h): it stays as it is, and the next file goes on, in its place if it has nothing.
bool Keeper::go_on_behind(const LogEnd& end) {
    if (end.instance == daemon_.arguments().instance) return writer_->open_existing(end.path, end.bytes, end.number);
    if (end.number == end.after) unlink(end.path.c_str());
    return writer_->open_new(end.number, true);
}

/// Whether the log, if it began now, would have all data.
bool Keeper::begins_with_nothing() const {
    return store_.root(offsetof(st::Root, oplog_from_empty)) != 0 && store_.root(offsetof(st::Root, log_loaded)) == 0 &&
           position_ == store_.root(offsetof(st::Root, oplog_started)) && disk::snapshot_files(folder_).empty();
}

void Keeper::run() {
    if (!wait_for_md()) return;
    look_at_data_owner();
    adopt_words();
    remove_partial_files();
    follow_options();
    if (strict_ && waits_for_followers()) {  // a predecessor has: what was said then holds, and no more
        waited_ = true;
        replicated_to_ = words_->durable_position.load();
        replicated_seen_ = words_->durable_number.load();
        written_.push_back({words_->released_number.load(), position_, words_->released_number.load()});
    }
    if (log_is_on() && store_.root(offsetof(st::Root, oplog_on)) != 0) open_log();
    publish();
    daemon_.report_ready();
    log::notice("serving");
    while (!daemon_.stopping() && !daemon_.retiring()) turn();
    if (child_ != 0) end_child();
    if (daemon_.stopping()) return last_save();
    take_records();
    if (quiet_sync()) seal();
    publish();
}

void Keeper::turn() {
    daemon_.answer_roll_call();
    if (!store_.is_current()) throw Error("md had to begin with another store; md_log is started anew");
    follow_options();
    follow_switch();
    if (disk_fails_ && monotonic_us() >= next_try_us_) try_again();
    const bool worked = take_records();
    if constexpr (disk::kSeededLogBug == disk::SeededLogBug::log_written_is_durable) publish();
    sync();
    publish();
    if (logging_ && !disk_fails_ && policy() == Policy::always) writer_->make_room();
    look_at_save();
    if (!worked) park();
}

void Keeper::follow_options() {
    if (!live_.look([this](uint64_t at) { return store_.load(at); })) return;
    log::set_level(option_text(option_row(OptionId::loglevel), live_.number(OptionId::loglevel)));
}

/// The log is written while it is switched on, and while a snapshot needs it.
void Keeper::follow_switch() {
    const bool saves = save_pending_ || child_ != 0;
    wanted_ = log_is_on() || saves || is_followed();
    words_->wants_oplog.store(saves, std::memory_order_release);  // whatever becomes of the options meanwhile
    if (wanted_ == logging_) return;
    if (gave_up_ && wanted_ && monotonic_us() < next_try_us_) return;
    if (!wanted_) {
        quiet_sync();
        writer_.reset();
        logging_ = based_ = false;
        return;
    }
    if (store_.root(offsetof(st::Root, oplog_on)) != 0) return open_log();
    md_bell_.ring_always();
}

/// Whether md has switched the oplog off and on again since the log was opened, which happens between two looks at the options.
bool Keeper::was_switched() const {
    return store_.root(offsetof(st::Root, oplog_on)) != 0 && present_period() != period_;
}

Keeper::OplogPeriod Keeper::present_period() const { return {store_.root(offsetof(st::Root, oplog_started)), store_.root(offsetof(st::Root, oplog_gap))}; }

bool Keeper::take_records() {
    if (!logging_) {
        if (!wanted_ || gave_up_) position_ = written_to_ = synced_to_ = oplog_.tail();
        return false;
    }
    if (disk_fails_) return false;
    const uint64_t seen = store_.root(offsetof(st::Root, number));
    const uint64_t tail = oplog_.tail(), before = position_;
    const bool added = add_records(tail);
    if (was_switched()) {  // what was just read may have been written over meanwhile
        position_ = before;
        open_log();
        return true;
    }
    if (position_ != before) seen_number_ = entry_.number;
    if (position_ == tail) seen_number_ = std::max(seen_number_, seen);
    if (!added || !write()) return false;
    if (writer_->full() && quiet_sync() && !writer_->open_new(writer_->written_number(), true))
        fail_disk();
    return position_ != before;
}

bool Keeper::add_records(uint64_t tail) {
    while (position_ < tail && writer_->buffered_bytes() < kBatchBytes) {
        oplog_.read(position_, tail, entry_);
        if (entry_.number > skip_to_) {
            if (entry_.effect_bytes <= kLargeRecordBytes) {
                writer_->add(entry_.number, entry_.pieces);
            } else if (!writer_->add_large(entry_.number, entry_.pieces)) {
                fail_disk();
                return false;
            }
        }
        position_ += entry_.bytes;
        counters_.add(LogCounter::records);
        counters_.add(LogCounter::record_bytes, entry_.effect_bytes);
    }
    return true;
}

bool Keeper::write() {
    if (written_to_ == position_) return true;
    if (!writer_->write()) {
        fail_disk();
        return false;
    }
    written_to_ = position_;
    worked_us_ = monotonic_us();
    note_written();
    counters_.add(LogCounter::batches);
    if (is_followed()) repl_bell_.ring();
    return true;
}

void Keeper::sync() {
    if (const auto result = syncer_.take_result()) after_sync(*result);
    if (!logging_ || disk_fails_) return;
    if (synced_to_ == written_to_ && written_to_ == position_ && !syncer_.busy()) synced_seen_ = seen_number_;
    if (synced_to_ == written_to_) return mark();
    if (!log_is_on() && !save_pending_ && child_ == 0) return;  // it is there for followers only
    if (policy() == Policy::always) sync_now();
    else if (policy() == Policy::everysec) sync_every_second();
}

/// Once a second at most: what is durable, and nothing has been written behind it that says so, is marked in the file.
void Keeper::mark() {
    if (marked_to_ == synced_to_ || position_ != synced_to_ || writer_->synced_number() == 0 || monotonic_us() < next_mark_us_) return;
    next_mark_us_ = monotonic_us() + kMarkUs;
    if (!writer_->write_mark()) return fail_disk();
    marked_to_ = synced_to_;
}

void Keeper::sync_now() {
    syncer_.wait();
    if (const auto result = syncer_.take_result()) after_sync(*result);
    if (writer_->broken()) return;
    words_->log_syncs.fetch_add(1, std::memory_order_relaxed);
    const uint64_t began_us = monotonic_us();
    const bool synced = writer_->sync();
    counters_.add(LogCounter::syncs);
    counters_.record(LogCounter::sync_us, monotonic_us() - began_us);
    if (!synced) {
        lost_sync_ = words_->released.load() > synced_to_;  // L1
        return fail_disk();
    }
    synced_to_ = written_to_;
    synced_seen_ = position_ == written_to_ ? seen_number_ : writer_->synced_number();
}

void Keeper::sync_every_second() {
    const uint64_t now_us = monotonic_us();
    if (now_us < next_sync_us_ || syncer_.busy()) return;
    next_sync_us_ = now_us + 1'000'000;
    syncing_to_ = written_to_;
    syncing_since_us_ = now_us;
    syncing_seen_ = seen_number_;
    words_->log_syncs.fetch_add(1, std::memory_order_relaxed);
    syncer_.start({writer_->descriptor(), writer_->written_number(), writer_->file_bytes(), 0});
}

void Keeper::after_sync(const Syncer::Job& job) {
    counters_.add(LogCounter::syncs);
    counters_.record(LogCounter::sync_us, monotonic_us() - syncing_since_us_);
    if (job.error == 0) {
        writer_->synced(job.number, job.bytes);
        synced_to_ = syncing_to_;
        synced_seen_ = syncing_seen_;
        return;
    }
    writer_->sync_failed(job.error);
    lost_sync_ = words_->released.load() > synced_to_;
    fail_disk(job.error, writer_->sentence());
}

/// Everything that was read is durable when it returns true. Waits for the disk.
bool Keeper::quiet_sync() {
    syncer_.wait();
    if (const auto result = syncer_.take_result()) after_sync(*result);
    if (!logging_ || disk_fails_ || !write()) return false;
    if (synced_to_ != written_to_) sync_now();
    return logging_ && !disk_fails_;
}

/// The last thing that is written to a file: that all of it is durable.
void Keeper::seal() {
    if (writer_->written_number() != 0 && writer_->write_mark()) writer_->sync();
}

/// D3 holds from the moment on at which the log gives all data back; what was promised before, by a predecessor or by the configuration of a new
/// store, is kept until then.
void Keeper::publish() {
    const bool disk = log_is_on() && policy() == Policy::always;
    look_at_followers();
    strict_ = waits_for_followers() || (disk && (strict_ || based_));
    const uint64_t released = disk && logging_ ? synced_to_ : written_to_;
    if (!strict_ || based_ || waits_for_followers()) {
        const uint64_t on_disk = disk::kSeededLogBug == disk::SeededLogBug::log_written_is_durable ? written_to_ : synced_to_;
        uint64_t position = disk ? on_disk : written_to_, number = disk ? synced_seen_ : seen_number_;
        if (waits_for_followers()) {
            position = std::min(position, replicated_to_);
            number = std::min(number, replicated_seen_);
        }
        const uint64_t durable = strict_ ? position : kAllDurable;
        words_->durable_number.store(strict_ ? number : kAllDurable, std::memory_order_release);
        if (words_->durable_position.exchange(durable, std::memory_order_acq_rel) != durable) wake_io_conns();
    }
    if (words_->released.load(std::memory_order_relaxed) == released) return;
    if (logging_) words_->released_number.store(disk ? writer_->synced_number() : writer_->written_number());
    words_->released.store(released, std::memory_order_release);
    wake_md();
}

/// When there are too many, the last ones are taken together: they are waited for as one.
void Keeper::note_written() {
    if (!waits_for_followers() || entry_.number == 0) return written_.clear();
    if (written_.size() == kWrittenMax) written_.pop_back();
    written_.push_back({entry_.number, written_to_, seen_number_});
}

/// From when followers are waited for, it is what comes then that they have to have.
void Keeper::look_at_followers() {
    if (!waits_for_followers()) {
        waited_ = false;
        return;
    }
    if (!waited_) {
        waited_ = true;
        replicated_to_ = written_to_;
        replicated_seen_ = seen_number_;
    }
    const uint64_t number = repl_->replicated_number.load(std::memory_order_acquire);
    for (; !written_.empty() && written_.front().number <= number; written_.pop_front()) {
        replicated_to_ = written_.front().position;
        replicated_seen_ = written_.front().seen;
    }
    // Commits without a record are nobody's to wait for.
    if (written_.empty() && position_ == written_to_ && entry_.number <= number) {
        replicated_to_ = written_to_;
        replicated_seen_ = seen_number_;
    }
}

void Keeper::wake_md() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (words_->md_waits.load(std::memory_order_relaxed) != 0) md_bell_.ring();
}

void Keeper::wake_io_conns() {
    for (unsigned index = 0; index < kMaxIoConns; ++index) {
        const RosterLine& line = roster_->lines[index];
        if (line.state.load(std::memory_order_relaxed) == static_cast<uint32_t>(IoConnState::absent)) continue;
        if (!io_bells_[index]) {
            try {
                io_bells_[index] = std::make_unique<Bell>(line.park, Fifo(paths::io_conn_fifo(daemon_.dir(), index)));
            } catch (const Error&) {
                continue;  // it has gone
            }
        }
        io_bells_[index]->ring();
    }
}

/// Under `always`, and where followers are waited for, md wakes md_log for every batch. Else it looks by itself, and md wakes it when the ring fills, or
/// when it has slept and somebody follows.
void Keeper::park() {
    const bool naps = logging_ && !disk_fails_ && is_followed() && policy() != Policy::always && !waits_for_followers() && monotonic_us() - worked_us_ < kNapsEndUs;
    if (naps) {  // D5
        fifo_.wait(kNapMs);
        return;
    }
    words_->wants_ring.store(1, std::memory_order_relaxed);
    parker_.begin_park();
    const bool idle = !logging_ || disk_fails_ || oplog_.tail() == position_;
    if ((idle || (policy() != Policy::always && !is_followed())) && !daemon_.stopping() && !daemon_.retiring()) fifo_.wait(child_ != 0 ? kParkSavingMs : kParkMs);
    parker_.end_park();
    words_->wants_ring.store(0, std::memory_order_relaxed);
}

// --- trouble ----------------------------------------------------------------------------------------------------------

void Keeper::fail_disk(int error, const std::string& sentence) {
    counters_.add(LogCounter::disk_failures);
    next_try_us_ = monotonic_us() + kRetryUs;
    if (!log_is_on()) {
        if (!gave_up_) log::warning("{}; nobody who follows can go on from here without all data, and snapshots wait", sentence);
        return give_up_log();
    }
    disk_fails_ = true;
    words_->error.store(static_cast<uint32_t>(error), std::memory_order_relaxed);
    if (words_->trouble.exchange(static_cast<uint32_t>(DiskTrouble::log)) != static_cast<uint32_t>(DiskTrouble::log))
        log::warning("{}; writes are refused until the disk takes the log again", sentence);
}

/// A log that only followers need does not hold anybody up: what it lacks they get with a snapshot.
void Keeper::give_up_log() {
    gave_up_ = true;
    syncer_.wait();
    syncer_.take_result();
    writer_.reset();
    logging_ = based_ = disk_fails_ = false;
}

void Keeper::fail_disk() { fail_disk(writer_->error(), writer_->sentence()); }

/// L3.
void Keeper::end_trouble() {
    gave_up_ = false;
    if (disk_fails_ || lost_sync_ || words_->trouble.load() != static_cast<uint32_t>(DiskTrouble::log)) return;
    words_->trouble.store(static_cast<uint32_t>(DiskTrouble::none));
    log::notice("the disk takes the log again, and so are writes");
}

/// Tries what has failed once more. After a failed sync what the ring still has is written again (L2); what it has not, a snapshot has to bring.
void Keeper::try_again() {
    next_try_us_ = monotonic_us() + kRetryUs;
    if (writer_->descriptor() < 0) return open_log();
    if constexpr (disk::kSeededLogBug == disk::SeededLogBug::log_sync_asked_again)
        if (writer_->broken() && writer_->open_existing(writer_->path(), writer_->file_bytes(), writer_->written_number())) lost_sync_ = false;
    if (writer_->broken() && !lost_sync_) {
        if (!writer_->open_new(writer_->synced_number(), true)) return;
        position_ = written_to_ = synced_to_;
        skip_to_ = writer_->synced_number();
    } else if (writer_->broken()) {
        if (!writer_->open_new(writer_->written_number(), false)) return;
        based_ = false;
    }
    disk_fails_ = false;
    if (write()) quiet_sync();
    end_trouble();
}

}  // namespace millrace::md_log
