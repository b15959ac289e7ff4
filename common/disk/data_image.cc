// See data_image.h. Runs in tools.
#include "common/disk/data_image.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/check.h"
#include "common/disk/data_folder.h"
#include "common/disk/log_reader.h"
#include "common/disk/snapshot_reader.h"

namespace millrace::disk {

namespace {

constexpr uint64_t kTellEvery = 4096;  ///< items or records between two words about the progress

/// Bytes of the log and of the longest snapshot: about what there is to read.
uint64_t bytes_of(const std::string& folder) {
    uint64_t bytes = 0, snapshot_max = 0;
    for (const LogFileInfo& log : log_files(folder)) bytes += log.bytes;
    for (const std::string& path : snapshot_files(folder)) {
        SnapshotReader reader(path);
        if (reader.open()) snapshot_max = std::max(snapshot_max, reader.file_bytes());
    }
    return bytes + snapshot_max;
}

/// A snapshot is of use for an earlier moment only if it was whole then (I4).
bool old_enough(const SnapshotReader& snapshot, const Until& until) { return snapshot.end() <= until.number && snapshot.ended_ms() <= until.wall_ms; }

}  // namespace

DataImage DataImage::of_folder(const std::string& folder, Until until, const Progress& progress) {
    const uint64_t total = progress ? bytes_of(folder) : 0;
    DataImage image;
    if (const std::vector<LogFileInfo> logs = log_files(folder); !logs.empty()) image.instance_ = logs.back().header.instance;
    for (const std::string& path : snapshot_files(folder))
        if (image.load(path, until, progress, total)) break;
    image.replay(folder, until, progress, total);
    return image;
}

/// Fills an empty image from a snapshot. False: it is too young, or not whole (then there is a remark); the image is empty again.
bool DataImage::load(const std::string& path, const Until& until, const Progress& progress, uint64_t total) {
    SnapshotReader snapshot(path);
    if (!snapshot.open()) {
        if (snapshot.newer()) throw Error(snapshot.sentence());
        remarks_.push_back(fmt::format("{}; it is passed over", snapshot.sentence()));
        return false;
    }
    if (!old_enough(snapshot, until)) return false;
    try {
        take_items(snapshot, progress, total);
    } catch (const Error& error) {
        for (Database& database : databases_) Database().swap(database);
        remarks_.push_back(fmt::format("{}; the snapshot is passed over", error.what()));
        return false;
    }
    snapshot_ = path;
    snapshot_bytes_ = snapshot.file_bytes();
    start_ = number_ = snapshot.start();
    end_ = snapshot.end();
    instance_ = snapshot.instance();
    return true;
}

void DataImage::take_items(SnapshotReader& snapshot, const Progress& progress, uint64_t total) {
    SnapshotReader::Item item{};
    SnapshotReader::Outcome outcome;
    while ((outcome = snapshot.next(item)) == SnapshotReader::Outcome::item) {
        Entry& entry = databases_[item.database][std::string(item.key)];
        if (item.stamp >= entry.stamp) entry = {std::string(item.value), item.expire_at_ms, item.stamp};
        if (progress && snapshot.items_read() % kTellEvery == 0) progress(snapshot.bytes_read(), total);
    }
    if (outcome == SnapshotReader::Outcome::damage) throw Error(snapshot.sentence());
}

void DataImage::replay(const std::string& folder, const Until& until, const Progress& progress, uint64_t total) {
    LogReader log(folder, start_);
    for (uint64_t records = 1;; ++records) {
        const LogReader::Outcome outcome = log.next();
        if (outcome == LogReader::Outcome::end || outcome == LogReader::Outcome::tail) {
            if (outcome == LogReader::Outcome::tail) remarks_.push_back(log.sentence());
            if (until.number != UINT64_MAX && log.number() < until.number) throw Error(fmt::format("there is no record {}: {}", until.number, log.sentence()));
            return require_reached(log.number());
        }
        if (outcome != LogReader::Outcome::record) {
            if (number_ != until.number) throw Error(log.sentence());
            return require_reached(number_);  // what is wrong is behind what was asked for
        }
        if (log.number() > until.number || log.wall_ms() > until.wall_ms) return require_reached(log.number() - 1);
        if (!apply(log.number(), log.effects()))
            throw Error(fmt::format("{} at offset {}: the effects of record {} do not fit the data before it", log.position().path, log.position().offset, log.number()));
        if (progress && records % kTellEvery == 0) progress(snapshot_bytes_ + log.bytes_read(), total);
    }
}

/// I4.
void DataImage::require_reached(uint64_t reached) const {
    if (reached < end_) throw Error(fmt::format("{} needs the log up to record {}, and what there is of it ends with record {}", snapshot_, end_, reached));
}

bool DataImage::apply(uint64_t number, std::string_view effects) {
    number_ = number;
    EffectReader reader(effects);
    for (Effect effect; reader.next(effect);)
        if (!apply(number, effect)) return false;
    return !reader.faulty();
}

bool DataImage::apply(uint64_t number, const Effect& effect) {
    Database& database = databases_[effect.header.database];
    switch (effect.header.kind) {
        case EffectKind::set: {
            Entry& entry = database.try_emplace(std::string(effect.key), Entry{{}, -1, start_}).first->second;
            if (applies(number, entry)) entry = {std::string(effect.value), effect.header.expire_at_ms, entry.stamp};
            return true;
        }
        case EffectKind::origin:
        case EffectKind::checksum: return true;
        case EffectKind::write_range: return write_range(number, effect);
        case EffectKind::clear_database: clear(number, database); return true;
        case EffectKind::swap_databases:
            if (number <= end_ && number > start_) return false;
            database.swap(databases_[effect.header.other]);
            return true;
        default: break;
    }
    const auto found = database.find(std::string(effect.key));
    if (found == database.end() || !applies(number, found->second)) return true;
    if (effect.header.kind == EffectKind::erase) database.erase(found);
    else found->second.expire_at_ms = effect.header.expire_at_ms;
    return true;
}

bool DataImage::write_range(uint64_t number, const Effect& effect) {
    const auto found = databases_[effect.header.database].find(std::string(effect.key));
    if (found == databases_[effect.header.database].end() || !applies(number, found->second)) return true;
    Entry& entry = found->second;
    if (effect.header.offset() > entry.value.size()) return false;
    effect.write_into(entry.value);
    return true;
}

void DataImage::clear(uint64_t number, Database& database) {
    std::erase_if(database, [&](const auto& item) { return applies(number, item.second); });
}

uint64_t DataImage::keys() const {
    uint64_t count = 0;
    for (const Database& database : databases_) count += database.size();
    return count;
}

uint64_t DataImage::remove_expired(int64_t now_ms) {
    uint64_t count = 0;
    for (Database& database : databases_)
        count += std::erase_if(database, [&](const auto& item) { return item.second.expire_at_ms != -1 && item.second.expire_at_ms <= now_ms; });
    return count;
}

}  // namespace millrace::disk
