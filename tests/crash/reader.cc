// See reader.h. Used by tests/crash.
#include "tests/crash/reader.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

#include "md/seeded_bugs.h"

namespace millrace::crash {

using md::StoreMemory;
namespace st = md::st;

Readers::Readers(std::vector<Watched> group, uint64_t hash_seed, const std::vector<Contents>& states) : group_(std::move(group)) {
    for (const Watched& each : group_) places_.push_back({XXH3_64bits_withSeed(each.key.data(), each.key.size(), hash_seed)});
    for (const Contents& state : states) {
        Answer& answer = expected_.emplace_back();
        for (const Watched& each : group_) {
            const auto found = state.keys.find({each.database, each.key});
            answer.push_back(found == state.keys.end() ? std::nullopt : std::optional(found->second));
        }
    }
}

std::optional<Readers::Reading> Readers::locate(const StoreMemory& memory, unsigned floor) const {
    Reading reading;
    reading.floor = floor;
    for (size_t i = 0; i < group_.size(); ++i) {
        const st::Route route = st::Route::from(memory.load(memory.offset_of(&memory.root().databases[group_[i].database].route)));
        reading.segments.push_back(route.directory == 0 ? 0 : segment_at(memory, route, places_[i].entry(route.depth)));
    }
    return reading;
}

/// Bucket 2 i and 2 i + 1 are those of key i.
uint64_t Readers::bucket_at(const Reading& reading, size_t bucket) const {
    const st::KeyPlace place = places_[bucket / 2];
    return reading.segments[bucket / 2] + (bucket % 2 == 0 ? place.first() : place.second()) * st::kBucketBytes;
}

std::optional<Readers::Reading> Readers::version(const StoreMemory& memory, Reading reading) const {
    for (size_t i = 0; i < 2 * group_.size(); ++i) {
        const uint64_t version = reading.segments[i / 2] == 0 ? 0 : memory.load(bucket_at(reading, i));
        if (version % 2 != 0) return std::nullopt;
        reading.versions.push_back(version);
    }
    if constexpr (md::kSeededBug != md::SeededBug::route_not_validated) {
        const auto again = locate(memory, reading.floor);
        if (!again || again->segments != reading.segments) return std::nullopt;
    }
    return reading;
}

Readers::Reading Readers::copy(const StoreMemory& memory, Reading reading) const {
    for (size_t i = 0; i < 2 * group_.size(); ++i)
        for (unsigned word = 1; word < st::kBucketBytes / 8; ++word)
            reading.words.push_back(reading.segments[i / 2] == 0 ? 0 : memory.load(bucket_at(reading, i) + 8 * word));
    return reading;
}

std::optional<Val> Readers::read_key(const StoreMemory& memory, const Reading& reading, size_t key, bool& gave_up) const {
    for (size_t bucket = 2 * key; bucket < 2 * key + 2; ++bucket) {
        st::Bucket content;
        std::copy_n(reading.words.begin() + static_cast<ptrdiff_t>(7 * bucket), 7, content.words.begin() + 1);
        for (unsigned slot = 0; slot < st::kSlots; ++slot) {
            const st::Slot found = st::Slot::from(content.slot_bits(slot));
            if (found.reference == 0 || found.tag != places_[key].tag()) continue;
            const auto item = read_item(memory, found.reference, false);
            if (!item || item->large) {  // a large one is md's to read
                gave_up = true;
                return std::nullopt;
            }
            if (item->key == group_[key].key) return item->value;
        }
    }
    return std::nullopt;
}

std::optional<Readers::Reading> Readers::read(const StoreMemory& memory, Reading reading) const {
    bool gave_up = false;
    for (size_t key = 0; key < group_.size(); ++key) reading.answer.push_back(read_key(memory, reading, key, gave_up));
    if (gave_up) return std::nullopt;
    reading.words.clear();
    return reading;
}

bool Readers::validate(const StoreMemory& memory, const Reading& reading) const {
    for (size_t i = 0; i < reading.versions.size(); ++i)
        if (reading.segments[i / 2] != 0 && memory.load(bucket_at(reading, i)) != reading.versions[i]) return false;
    return true;
}

void Readers::add(const StoreMemory& memory, Step step, std::optional<Reading> reading) {
    std::vector<Reading>& all = readings_[step];
    if (!reading || std::find(all.begin(), all.end(), *reading) != all.end()) return;
    if (all.size() >= kReadingsMax) {
        const auto stale = std::find_if(all.begin(), all.end(), [&](const Reading& each) { return !validate(memory, each); });
        if (stale == all.end()) return;
        all.erase(stale);
    }
    all.push_back(std::move(*reading));
}

std::string Readers::judge(const Reading& reading, unsigned state) {
    ++answers_;
    for (unsigned each = reading.floor; each <= state; ++each) {
        if (expected_[each] != reading.answer) continue;
        seen_ = std::max(seen_, each);
        return "";
    }
    for (size_t i = 0; i < group_.size(); ++i) {
        const auto& value = reading.answer[i];
        if (expected_[state][i] != value)
            return fmt::format("a reader is told that {} {}, which is of no state from {} to {}", group_[i].key,
                               value ? fmt::format("has {} bytes ({:x})", value->length, value->hash) : "is not there", reading.floor, state);
    }
    return fmt::format("a reader is told of a state before {}", reading.floor);
}

std::string Readers::look(const StoreMemory& memory, unsigned state) {
    add(memory, kLocated, locate(memory, seen_));
    for (const Reading& each : readings_[kLocated]) add(memory, kVersioned, version(memory, each));
    for (const Reading& each : readings_[kVersioned]) add(memory, kCopied, copy(memory, each));
    for (const Reading& each : readings_[kCopied]) add(memory, kRead, read(memory, each));
    for (const Reading& each : readings_[kRead])
        if (validate(memory, each))
            if (std::string wrong = judge(each, state); !wrong.empty()) return wrong;
    return "";
}

}  // namespace millrace::crash
