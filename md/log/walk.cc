// See walk.h. Runs in md_log.
#include "md/log/walk.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "common/clock.h"

namespace millrace::md_log {

namespace {

uint64_t route_at(unsigned database) { return st::kRootAt + offsetof(st::Root, databases) + database * sizeof(st::DatabaseWords) + offsetof(st::DatabaseWords, route); }

unsigned depth_of(const st::Bucket& first) { return reinterpret_cast<const uint8_t*>(first.words.data())[st::kDepthAt]; }

/// Whether any of a bucket's slots has these bits.
bool has_slot(const st::Bucket& bucket, uint64_t bits) {
    for (unsigned slot = 0; slot < st::kSlots; ++slot)
        if (bucket.slot_bits(slot) == bits) return true;
    return false;
}

}  // namespace

/// The segment for a hash, as the route, the table and the directory name it while the route does not change.
bool Walk::locate(unsigned database, uint64_t prefix, Place& place) const {
    place.route = store_.load_acquire(route_at(database));
    const st::Route route = st::Route::from(place.route);
    place.segment = 0;
    if (route.directory == 0) return true;
    const uint64_t end = store_.bytes();
    if (route.directory >= end || route.depth > 2 * st::kDirectoryChunkDepthMax) return false;
    const auto half = [this](uint64_t at) { return static_cast<uint32_t>(store_.load(at & ~7ull) >> (at % 8 != 0 ? 32 : 0)); };
    const uint64_t entry = st::KeyPlace{prefix}.entry(route.depth);
    uint64_t name_at = route.directory + entry * sizeof(uint32_t);
    if (route.depth > st::kDirectoryChunkDepthMax) {
        const auto page = st::DirectoryPage::from(half(route.directory + (entry >> st::kDirectoryChunkDepthMax) * sizeof(uint32_t)));
        std::atomic_thread_fence(std::memory_order_acquire);
        if (store_.load(route_at(database)) != place.route || page.prefix > route.depth - st::kDirectoryChunkDepthMax) return false;
        name_at = page.name_at(entry, route.depth);
        if (name_at >= end) return false;
    }
    place.segment = uint64_t{half(name_at)} * st::kIndexSegmentBytes;
    std::atomic_thread_fence(std::memory_order_acquire);
    return store_.load(route_at(database)) == place.route && place.segment != 0 && place.segment + st::kIndexSegmentBytes <= end;
}

/// N, of a moment at which no commit was under way and the route was what locate() has seen.
bool Walk::settle(unsigned database, Place& place) const {
    place.number = store_.root(offsetof(st::Root, number));
    if (store_.root(offsetof(st::Root, committed)) != 0) return false;
    return store_.root(offsetof(st::Root, number)) == place.number && store_.load_acquire(route_at(database)) == place.route;
}

/// Whether the segment is still the one that its database has for these hashes, and has not been split.
bool Walk::stands(unsigned database, const Place& place) const {
    std::atomic_thread_fence(std::memory_order_acquire);
    if (store_.load(route_at(database)) != place.route) return false;
    st::Bucket first;
    racing_copy_out(first.words.data(), store_.at(place.segment), sizeof first);
    return depth_of(first) == place.depth;
}

bool Walk::copy_view(unsigned database, const Place& place) {
    std::array<uint64_t, st::kBuckets> versions;
    for (unsigned bucket = 0; bucket < st::kBuckets; ++bucket) {
        versions[bucket] = store_.load(place.segment + bucket * st::kBucketBytes);
        if (versions[bucket] % 2 != 0) return false;
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    racing_copy_out(view_.data(), store_.at(place.segment), sizeof view_);
    std::atomic_thread_fence(std::memory_order_acquire);
    for (unsigned bucket = 0; bucket < st::kBuckets; ++bucket)
        if (store_.load(place.segment + bucket * st::kBucketBytes) != versions[bucket] || view_[bucket].version() != versions[bucket]) return false;
    return store_.load(route_at(database)) == place.route;
}

bool Walk::copy_pair(uint64_t segment, unsigned first, unsigned second, st::Bucket& one, st::Bucket& other) const {
    const uint64_t at[2] = {segment + first * st::kBucketBytes, segment + second * st::kBucketBytes};
    const uint64_t versions[2] = {store_.load(at[0]), store_.load(at[1])};
    if (versions[0] % 2 != 0 || versions[1] % 2 != 0) return false;
    std::atomic_thread_fence(std::memory_order_acquire);
    racing_copy_out(one.words.data(), store_.at(at[0]), sizeof one);
    racing_copy_out(other.words.data(), store_.at(at[1]), sizeof other);
    std::atomic_thread_fence(std::memory_order_acquire);
    return store_.load(at[0]) == versions[0] && store_.load(at[1]) == versions[1];
}

/// Copies bytes of a large item's key and value, which may be anything by now; what lies outside of the store reads as zeros.
bool Walk::copy_large(uint64_t item, uint64_t from, uint64_t length, const std::function<bool(std::string_view)>& take) const {
    std::string piece;
    while (length > 0) {
        const uint64_t index = from / st::kPageBytes, within = from % st::kPageBytes;
        const uint64_t bytes = std::min({st::kPageBytes - within, length, uint64_t{kPieceBytes}});
        const uint64_t pages = store_.load(item + offsetof(st::LargeItem, page_count)), names_at = item + sizeof(st::LargeItem) + index / 2 * 8;
        uint64_t start = store_.load(item + offsetof(st::LargeItem, tail));
        if (index < pages) start = item % st::kPageBytes + (names_at - item) + 8 > st::kPageBytes ? 0 : (store_.load(names_at) >> index % 2 * 32 & 0xffffffff) << st::kPageShift;
        piece.assign(bytes, '\0');
        const bool inside = start != 0 && start % 8 == 0 && start % st::kPageBytes + within + bytes <= st::kPageBytes && start + within + bytes <= store_.bytes();
        if (inside) racing_copy_out(piece.data(), store_.at(start + within), bytes);
        if (!take(piece)) return false;
        from += bytes;
        length -= bytes;
    }
    return true;
}

Walk::Look Walk::read_item(uint64_t reference, Item& item) const {
    if (reference % 8 != 0 || reference < st::kPageBytes || reference + sizeof(st::ItemHeader) > store_.bytes()) return Look::again;
    const auto header = st::ItemHeader::from(store_.load(reference));
    const uint64_t within = reference % st::kPageBytes;
    item.large = 0;
    item.expire_at_ms = -1;
    if ((header.flags & st::kLarge) != 0) {
        if (within + sizeof(st::LargeItem) > st::kPageBytes) return Look::again;
        const uint64_t key_length = store_.load(reference + offsetof(st::LargeItem, key_length));
        item.value_length = store_.load(reference + offsetof(st::LargeItem, value_length));
        if ((header.flags & st::kHasExpiry) != 0) item.expire_at_ms = static_cast<int64_t>(store_.load(reference + offsetof(st::LargeItem, expire_at_ms)));
        constexpr uint64_t kBytesMax = 512ull << 20;
        if (key_length > kBytesMax || item.value_length > kBytesMax) return Look::again;
        item.large = reference;
        item.key.clear();
        copy_large(reference, 0, key_length, [&](std::string_view piece) { return item.key += piece, true; });
        return Look::ok;
    }
    const bool expires = (header.flags & st::kHasExpiry) != 0;
    const uint64_t start = sizeof header + (expires ? 8 : 0);
    if (within + start + header.key_length + header.value_length > st::kPageBytes) return Look::again;
    if (expires) item.expire_at_ms = static_cast<int64_t>(store_.load(reference + sizeof header));
    item.key.resize(header.key_length);
    item.value.resize(header.value_length);
    item.value_length = header.value_length;
    racing_copy_out(item.key.data(), store_.at(reference + start), item.key.size());
    racing_copy_out(item.value.data(), store_.at(reference + start + item.key.size()), item.value.size());
    return Look::ok;
}

/// Whether what lies there has the key that was copied before.
bool Walk::same_key(uint64_t reference) { return read_item(reference, second_) == Look::ok && second_.key == item_.key; }

Walk::Look Walk::confirm(unsigned database, const Place& place, unsigned bucket, st::Slot slot, uint64_t bits) {
    std::atomic_thread_fence(std::memory_order_acquire);
    if (store_.load(place.segment + bucket * st::kBucketBytes) == view_[bucket].version()) return Look::ok;
    st::Bucket one, other;
    for (unsigned attempt = 0; !copy_pair(place.segment, bucket, st::KeyPlace::other_bucket(bucket, slot.tag), one, other); ++attempt) {
        if (attempt == kViewTries) return Look::again;
        if (attempt > kSpinTries) usleep(50);
    }
    if (has_slot(one, bits) || has_slot(other, bits)) return same_key(slot.reference) ? Look::ok : Look::again;
    return stands(database, place) ? Look::gone : Look::again;
}

bool Walk::write_item(unsigned database, uint64_t stamp) {
    const auto narrow = static_cast<uint8_t>(database);
    const int64_t expire_at_ms = item_.expire_at_ms < 0 ? -1 : item_.expire_at_ms;
    hold_rate(item_.key.size() + item_.value_length);
    if (item_.large == 0) return out_.add(narrow, item_.key, item_.value, expire_at_ms, stamp);
    return out_.begin_item(narrow, item_.key, item_.value_length, expire_at_ms, stamp) &&
           copy_large(item_.large, item_.key.size(), item_.value_length, [this](std::string_view piece) { return out_.add_bytes(piece); });
}

void Walk::hold_rate(uint64_t bytes) {
    if (rate_ == 0) return;
    taken_ += bytes;
    const uint64_t due_us = began_us_ + static_cast<uint64_t>(static_cast<double>(taken_) * 1e6 / static_cast<double>(rate_));
    if (const uint64_t now_us = monotonic_us(); due_us > now_us + 1000) usleep(static_cast<useconds_t>(std::min<uint64_t>(due_us - now_us, 500'000)));
}

/// Writes what the view has. `look` again: the segment has to be looked at anew; what was written of it is written again with higher stamps, or the same.
bool Walk::write_slots(unsigned database, const Place& place, Look& look) {
    for (unsigned bucket = 0; bucket < st::kBuckets; ++bucket) {
        for (unsigned slot = 0; slot < st::kSlots; ++slot)
            if (const auto ahead = st::Slot::from(view_[(bucket + 1) % st::kBuckets].slot_bits(slot)); ahead.reference != 0 && ahead.reference < store_.bytes())
                __builtin_prefetch(store_.at(ahead.reference));
        for (unsigned slot = 0; slot < st::kSlots; ++slot) {
            const uint64_t bits = view_[bucket].slot_bits(slot);
            const auto content = st::Slot::from(bits);
            if (content.reference == 0) continue;
            const Look read = read_item(content.reference, item_);
            look = confirm(database, place, bucket, content, bits);
            if (look == Look::gone) continue;
            if (look == Look::again || read != Look::ok) return look = Look::again, true;
            if (!write_item(database, std::max(place.number, view_[bucket].version() / 2))) return false;
        }
    }
    look = Look::ok;
    return true;
}

bool Walk::walk_segment(unsigned database, uint64_t prefix, Place& place, Outcome& outcome) {
    for (unsigned attempt = 0; attempt < kViewTries; ++attempt) {
        if (attempt > kSpinTries) usleep(50);
        words_.walk_reading.store(std::max<uint64_t>(1, store_.root(offsetof(st::Root, number))), std::memory_order_relaxed);  // K4
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!locate(database, prefix, place) || !settle(database, place)) continue;
        if (place.segment == 0) return true;
        if (!copy_view(database, place)) continue;
        place.depth = depth_of(view_[0]);
        Look look;
        const bool written = write_slots(database, place, look);
        words_.walk_reading.store(0, std::memory_order_release);
        if (!written) return outcome = Outcome::write_failed, false;
        if (look != Look::again) return true;
    }
    return outcome = Outcome::restless, false;
}

bool Walk::walk_database(unsigned database, Outcome& outcome) {
    for (uint64_t prefix = 0;;) {
        Place place;
        const bool walked = walk_segment(database, prefix, place, outcome);
        words_.walk_reading.store(0, std::memory_order_release);
        if (!walked) return false;
        words_.save_keys.store(out_.items(), std::memory_order_relaxed);
        words_.save_bytes.store(out_.bytes_written(), std::memory_order_relaxed);
        if (progress_) progress_(out_.items());
        if (place.segment == 0 || place.depth == 0) return true;
        const uint64_t span = 1ull << (64 - place.depth);
        prefix = (prefix & ~(span - 1)) + span;
        if (prefix == 0) return true;
    }
}

Walk::Outcome Walk::run() {
    began_us_ = monotonic_us();
    const uint64_t swapped_at = store_.root(offsetof(st::Root, swapped_at));
    Outcome outcome = Outcome::done;
    for (unsigned database = 0; database < st::kDatabases; ++database)
        if (!walk_database(database, outcome)) return outcome;
    return store_.root(offsetof(st::Root, swapped_at)) == swapped_at ? Outcome::done : Outcome::swapped;
}

}  // namespace millrace::md_log
