// See loader.h. Runs in md.
#include "md/loader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "common/disk/history_file.h"
#include "common/log.h"

namespace millrace::md {

namespace {

using LogOutcome = disk::LogReader::Outcome;

/// Copies the first bytes of a file to a new one, durable when it returns true.
bool copy_start(const std::string& from, const std::string& to, uint64_t bytes) {
    const int in = open(from.c_str(), O_RDONLY | O_CLOEXEC), out = open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    std::vector<char> buffer(1 << 20);
    bool good = in >= 0 && out >= 0;
    while (good && bytes > 0) {
        const ssize_t got = read(in, buffer.data(), std::min<uint64_t>(buffer.size(), bytes));
        good = got > 0 && ::write(out, buffer.data(), static_cast<size_t>(got)) == got;
        if (good) bytes -= static_cast<uint64_t>(got);
    }
    good = good && fsync(out) == 0;
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    return good;
}

}  // namespace

Loader::Loader(Store& store, std::string folder, bool repair, std::unique_ptr<ReadAhead> ahead, std::function<void(uint64_t, uint64_t)> progress)
    : store_(store),
      folder_(std::move(folder)),
      repair_(repair),
      ahead_(std::move(ahead)),
      progress_(std::move(progress)),
      snapshots_(disk::snapshot_files(folder_)),
      logs_(disk::log_files(folder_)) {}

void Loader::put_aside(const std::string& path) {
    const std::string aside = path + ".damaged";
    if (rename(path.c_str(), aside.c_str()) != 0) throw Error("cannot put " + path + " aside: " + errno_text(errno));
    log::warning("{} is damaged, and put aside as {}", path, aside);
}

/// A file of the log and those behind it.
void Loader::put_aside_from(const std::string& path) {
    const auto first = std::ranges::find(logs_, path, &disk::LogFileInfo::path);
    for (auto file = first; file != logs_.end(); ++file) put_aside(file->path);
    logs_.erase(first, logs_.end());
}

void Loader::run() {
    began_us_ = monotonic_us();
    store_.begin_loading();
    std::unique_ptr<disk::SnapshotReader> snapshot;
    for (const std::string& path : snapshots_) {
        snapshot = std::make_unique<disk::SnapshotReader>(path);
        const bool good = snapshot->open();
        if (snapshot->newer()) throw Error(snapshot->sentence());
        if (good) break;
        const std::string older = &path == &snapshots_.back() ? "; there is no older snapshot" : "; 'start --repair' puts it aside and takes the older snapshot with the log behind it";
        if (!repair_) throw Error(snapshot->sentence() + older);
        put_aside(path);
        snapshot.reset();
    }
    const uint64_t start = snapshot ? snapshot->start() : 0, end = snapshot ? snapshot->end() : 0;
    all_bytes_ = snapshot ? snapshot->file_bytes() : 0;
    for (const auto& file : logs_) all_bytes_ += file.after + 1 > start ? file.bytes : 0;
    if (snapshot && end > start) note_keys_written(start, end);
    if (snapshot) load_items(*snapshot);
    last_number_ = std::max(start, last_number_);
    if (snapshot) {
        stream_ = snapshot->stream_number();
        stream_database_ = snapshot->stream_database();
    }
    load_log(start, end);
    flush();
    for (const auto& file : logs_) last_number_ = std::max(last_number_, file.after);
    settle_history();
    store_.end_loading(std::max(last_number_, end));
    took_us_ = std::max<uint64_t>(1, monotonic_us() - began_us_);
}

/// Whose data this is. A follower goes on with its master's history; a master begins a new one, because the end of what it has told may be lost, which
/// is what the second history says: up to here it is the one before.
void Loader::settle_history() {
    const std::optional<disk::History> found = disk::read_history(folder_);
    disk::History now = found.value_or(disk::History{});
    if (store_.is_following() && found) {
        now.following = true;
    } else {
        now = {random_history(), now.history, found && found->following ? stream_ : last_number_, store_.is_following()};
        stream_ = last_number_;
        stream_database_ = 0;
    }
    if (!disk::write_history(folder_, now)) throw Error(fmt::format("cannot write the file history in {}: {}", folder_, errno_text(errno)));
    store_.adopt_history(now.history, now.second, now.second_end, stream_, stream_database_);
    store_.commit_loading();
}

std::string Loader::report() const {
    uint64_t keys = 0;
    for (unsigned database = 0; database < kDatabases; ++database) keys += store_.keys(database);
    return fmt::format("{} key{} loaded from disk in {:.2f} s: {} of the snapshot, {} log records, {:.0f} MB a second", keys, keys == 1 ? "" : "s",
                       static_cast<double>(took_us_) / 1e6, items_, records_, static_cast<double>(bytes_) / static_cast<double>(took_us_));
}

void Loader::tell_progress(uint64_t more) {
    if (progress_) progress_(std::min(bytes_before_log_ + more, all_bytes_), all_bytes_);
}

/// Which keys have records that may be older than what the snapshot has of them.
void Loader::note_keys_written(uint64_t start, uint64_t end) {
    disk::LogReader log(folder_, start);
    for (LogOutcome outcome; (outcome = log.next()) == LogOutcome::record && log.number() <= end;) {
        EffectReader reader(log.effects());
        for (Effect effect; reader.next(effect);)
            if (!effect.key.empty() || effect.header.kind == EffectKind::set || effect.header.kind == EffectKind::erase)
                stamps_.try_emplace(name_of(effect.header.database, effect.key), 0);
    }
}

void Loader::load_items(disk::SnapshotReader& snapshot) {
    if (ahead_ && ahead_->path() == snapshot.path()) snapshot.take_blocks_from(*ahead_);
    disk::SnapshotReader::Item item;
    disk::SnapshotReader::Outcome outcome;
    while ((outcome = snapshot.next(item)) == disk::SnapshotReader::Outcome::item) {
        add(item.database, item.key, item.value, item.expire_at_ms);
        if (!snapshot.next_is_beside()) flush();
        bytes_ += item.key.size() + item.value.size();
        if (!stamps_.empty())
            if (const auto found = stamps_.find(name_of(item.database, item.key)); found != stamps_.end()) found->second = item.stamp;
        if (++items_ % 4096 == 0) tell_progress(snapshot.bytes_read());
    }
    flush();
    const std::string what = snapshot.sentence();
    bytes_before_log_ = snapshot.file_bytes();
    if (outcome == disk::SnapshotReader::Outcome::end) return;
    if (!repair_)
        throw Error(what + (snapshots_.size() > 1 ? "; 'start --repair' puts it aside, and the next start takes the older snapshot with the log behind it"
                                                                 : "; there is no older snapshot: restore a backup"));
    put_aside(snapshot.path());
    throw Error("the damaged snapshot was put aside: start again");
}

void Loader::load_log(uint64_t start, uint64_t end) {
    if (logs_.empty()) {
        if (end > start) throw Error(fmt::format("{}: the log that belongs to the snapshot is missing: it has to reach from record {} to {}; restore a backup, or move the snapshot away for the one before it", folder_, start, end));
        return;
    }
    disk::LogReader log(folder_, start);
    LogOutcome outcome;
    while ((outcome = log.next()) == LogOutcome::record) {
        last_number_ = log.number();
        apply(log.number(), log.effects(), log.number() <= end);
        bytes_ += log.effects().size();
        if (++records_ % 4096 == 0) tell_progress(log.bytes_read());
    }
    flush();
    end_log(log, outcome, end);
}

void Loader::cut(const disk::LogReader& log) {
    const disk::LogPosition at = log.position();
    const int fd = open(at.path.c_str(), O_WRONLY | O_CLOEXEC);
    const bool done = fd >= 0 && ftruncate(fd, static_cast<off_t>(at.offset)) == 0 && fdatasync(fd) == 0;
    const int error = errno;
    if (fd >= 0) close(fd);
    if (!done) throw Error(fmt::format("{} cannot be cut at offset {}: {}", at.path, at.offset, errno_text(error)));
}

void Loader::end_log(disk::LogReader& log, LogOutcome outcome, uint64_t end) {
    const disk::LogPosition at = log.position();
    if (outcome == LogOutcome::refused) throw Error(log.sentence());
    if (outcome == LogOutcome::tail) {
        log::warning("{}; what was not durable is cut off", log.sentence());
        cut(log);
    }
    if (outcome == LogOutcome::damage) {
        if (!repair_)
            throw Error(fmt::format("{}; everything up to record {} is whole: 'start --repair' goes on with that, and puts the rest aside", log.sentence(), log.number()));
        const uint64_t bad = log.number();
        bool behind = false;
        for (const auto& file : logs_) {
            if (file.path == at.path) {
                behind = true;
                const std::string aside = at.path + ".damaged";
                if (link(at.path.c_str(), aside.c_str()) != 0 && errno != EEXIST) throw Error("cannot keep " + at.path + ": " + errno_text(errno));
                // The name gets a file of its own: the one that is put aside stays whole.
                std::string copy = disk::partial_path(at.path);
                if (!copy_start(aside, copy, at.offset) || rename(copy.c_str(), at.path.c_str()) != 0) throw Error("cannot repair " + at.path + ": " + errno_text(errno));
            } else if (behind) {
                put_aside(file.path);
            }
        }
        log::warning("the log is repaired: it ends with record {}", bad);
    }
    if (std::max(last_number_, log.number()) < end)
        throw Error(fmt::format("{}: the log ends with record {}, and the snapshot needs it up to {}; {}", folder_, log.number(), end,
                                snapshots_.size() > 1 ? "move the newest snapshot away to take the older one" : "restore a backup"));
    if (outcome == LogOutcome::gap && (records_ > 0 || !snapshots_.empty())) {
        log::warning("{}; what comes behind it has no beginning, and is not loaded", log.sentence());
        put_aside_from(at.path);
    }
    if (outcome == LogOutcome::gap && records_ == 0 && snapshots_.empty())
        throw Error(fmt::format("{}; the snapshot that belongs before it is missing from {}: restore a backup, or move the log away to begin with nothing", log.sentence(), folder_));
}

bool Loader::is_older(uint64_t number, const Effect& effect) const {
    const auto found = stamps_.find(name_of(effect.header.database, effect.key));
    return found != stamps_.end() && number <= found->second;
}

void Loader::apply(uint64_t number, std::string_view effects, bool within) {
    EffectReader reader(effects);
    for (Effect effect; reader.next(effect);) apply_one(number, effect, within);
    if (reader.faulty()) throw Error(fmt::format("the log's record {} does not parse; a newer millrace may have made it", number));
}

void Loader::apply_one(uint64_t number, const Effect& effect, bool within) {
    const EffectHeader& header = effect.header;
    if (header.kind == EffectKind::origin) {
        if (header.stream_number() >= stream_) stream_database_ = header.database;
        stream_ = std::max(stream_, header.stream_number());
        return;
    }
    if (header.kind == EffectKind::checksum) return;  // followers compare it, at their md
    if (header.kind == EffectKind::clear_database) return clear(number, header.database, within);
    if (header.kind == EffectKind::swap_databases) {
        flush();
        store_.swap_databases(header.database, header.other);
        if (!store_.commit()) throw Error("there is no shared memory left");
        return;
    }
    if (within && is_older(number, effect)) return;
    if (header.kind == EffectKind::set) return put(header.database, effect.key, effect.value, header.expire_at_ms);
    flush();
    if (header.kind != EffectKind::erase) return change_part(effect);
    if (store_.erase(header.database, effect.key, store_.place_of(effect.key)) && !store_.commit()) throw Error("there is no shared memory left");
}

std::string Loader::value_of(const Value& value) const {
    std::string bytes(value.stored_length, '\0');
    if (value.large != 0) store_.read_large_value(value.large, 0, bytes.size(), bytes.data());
    else bytes.assign(value.small, value.stored_length);
    return bytes;
}

/// Of a key that is not there, a record behind this one says what becomes of it.
void Loader::change_part(const Effect& effect) {
    const EffectHeader& header = effect.header;
    auto value = store_.find(header.database, effect.key, store_.place_of(effect.key));
    if (!value) return;
    if (header.kind == EffectKind::set_expiry) {
        value->expire_at_ms = header.expire_at_ms;
    } else if (header.offset() == value->stored_length) {
        value->rest = effect.value;
    } else if (value->large != 0 && header.offset() + effect.value.size() <= value->stored_length && effect.value.size() <= Items::kPatchBytesMax) {
        value->patch = effect.value;
        value->patch_at = header.offset();
    } else {
        std::string bytes = value_of(*value);
        effect.write_into(bytes);
        return put(header.database, effect.key, bytes, value->expire_at_ms);
    }
    const st::KeyPlace place = store_.place_of(effect.key);
    const bool done = store_.make_room(header.database, {&place, 1}) && store_.put(header.database, effect.key, place, *value) == Store::Put::done && store_.commit();
    if (!done) throw Error("there is not enough shared memory for the data; give shm-dir more");
    while (store_.free_some(kFreeSliceEntries)) {}
}

/// Within the snapshot's time keys may be there that were written after this: they stay.
void Loader::clear(uint64_t number, unsigned database, bool within) {
    flush();
    struct Kept {
        std::string key, value;
        int64_t expire_at_ms;
    };
    std::vector<Kept> kept;
    if (within)
        for (const auto& [name, stamp] : stamps_) {
            if (static_cast<uint8_t>(name[0]) != database || stamp <= number) continue;
            const std::string_view key = std::string_view(name).substr(1);
            if (const auto value = store_.find(database, key, store_.place_of(key))) kept.push_back({std::string(key), value_of(*value), value->expire_at_ms});
        }
    if (!store_.clear(database) || !store_.commit()) throw Error("there is no shared memory left");
    while (store_.free_some(kFreeSliceEntries)) {}
    for (const Kept& each : kept) put(database, each.key, each.value, each.expire_at_ms);
}

void Loader::put(unsigned database, std::string_view key, std::string_view value, int64_t expire_at_ms) {
    add(database, key, value, expire_at_ms);
    flush();
}

/// The bytes stay where they are until flush().
void Loader::add(unsigned database, std::string_view key, std::string_view value, int64_t expire_at_ms) {
    if (!batch_.empty() && batch_.front().database != database) flush();
    const Pending next{database, key, value, expire_at_ms, store_.place_of(key)};
    store_.prefetch(database, next.place);
    batch_.push_back(next);
    if (batch_.size() == kBatchKeys) flush();
}

void Loader::flush() {
    for (const Pending& each : batch_) {
        Store::Put outcome;
        while ((outcome = store_.put(each.database, each.key, each.place, Value::of(each.value, each.expire_at_ms))) == Store::Put::no_slot) {
            store_.abandon();
            if (!store_.split(each.database, each.place)) break;
        }
        if (outcome != Store::Put::done) throw Error("there is not enough shared memory for the data; give shm-dir more (or /dev/shm: mount -o remount,size=...)");
        store_.commit_loading();
    }
    batch_.clear();
    while (store_.free_some(kFreeSliceEntries)) {}
}

}  // namespace millrace::md
