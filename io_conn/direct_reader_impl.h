// The steps of direct_reader.h, for any way of loading words. Runs in io_conn; included by direct_reader.cc and by tests.
#pragma once

#include "io_conn/direct_reader.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>

#include "common/clock.h"
#include "common/live_options.h"
#include "common/log_words.h"
#include "io_conn/seeded_bugs.h"

namespace millrace::io_conn {

namespace st = millrace::store;

template <class Load>
BasicDirectReader<Load>::BasicDirectReader(const std::byte* store, std::atomic<uint64_t>& published, std::optional<MarkTable> marks)
    : base_(store), published_(&published), hash_seed_(load(st::kRootAt + offsetof(st::Root, hash_seed))), marks_(marks) {
    durable_routes_.fill(~uint64_t{0});
    end();
}

template <class Load>
void BasicDirectReader<Load>::begin() {
    // T9: whoever gives memory back looks after a fence of its own. If it does not see this store, this io_conn sees its commit.
    published_->store(std::max<uint64_t>(1, load(st::kRootAt + offsetof(st::Root, number))), std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    refresh();
    now_ms_ = 0;
    if (marks_) read_mark_rules();
}

/// After the fence of begin(): what is kept now stays kept until end() (M3 of marks.h).
template <class Load>
void BasicDirectReader<Load>::read_mark_rules() {
    rules_.kind = static_cast<MarkKind>(load(st::kRootAt + offsetof(st::Root, marks_kept)));
    if (rules_.kind != MarkKind::lfu) return;
    const auto word = [this](uint64_t at) { return load(at); };
    rules_.lfu_log_factor = static_cast<uint32_t>(live_number(OptionId::lfu_log_factor, word));
    rules_.lfu_decay_minutes = static_cast<uint32_t>(live_number(OptionId::lfu_decay_time, word));
}

template <class Load>
void BasicDirectReader<Load>::write_marks(std::span<const DirectLookup> lookups) {
    const uint32_t now = MarkRules::now();
    for (const DirectLookup& lookup : lookups)
        if (lookup.item != 0)
            marks_->use(rules_, bucket_at(lookup, (lookup.slot & kSecondBucket) != 0), lookup.slot & ~kSecondBucket, now, dice_.next_half());
}

template <class Load>
void BasicDirectReader<Load>::refresh() {
    number_ = load(st::kRootAt + offsetof(st::Root, number));
    end_ = load(st::kRootAt + offsetof(st::Root, frontier)) << st::kPageShift;
    uint64_t durable = durable_ == nullptr ? kAllDurable : durable_->load(std::memory_order_relaxed);
    if (strict_) {
        std::atomic_thread_fence(std::memory_order_acquire);  // who sees a commit's number sees what it leaves to be shown
        durable = std::min(durable, load(st::kShownAt));
    }
    shows_all_ = durable == kAllDurable;
    limit_ = std::min(number_, durable);
    std::atomic_thread_fence(std::memory_order_acquire);
}

/// Whether what the lookup has seen of the index is still so. A copy made before this call counts if it is.
template <class Load>
bool BasicDirectReader<Load>::unchanged(const DirectLookup& lookup) const {
    std::atomic_thread_fence(std::memory_order_acquire);
    if (kSeededReaderBug != SeededReaderBug::reader_route_not_validated && !route_stands(lookup)) return false;
    for (unsigned which = 0; which < lookup.buckets_read; ++which)
        if (load(bucket_at(lookup, which)) != lookup.versions[which]) return false;
    return true;
}

template <class Load>
bool BasicDirectReader<Load>::validate(std::span<const DirectLookup> lookups) const {
    return std::ranges::all_of(lookups, [this](const DirectLookup& lookup) {
        const bool trusted = kSeededReaderBug == SeededReaderBug::reader_not_validated ||
                             (kSeededReaderBug == SeededReaderBug::reader_miss_not_validated && lookup.item == 0);
        return lookup.stable && (trusted || unchanged(lookup));
    });
}

/// D5. The two acquire fences: who has seen a word of a commit sees that it is under way, or all of it.
template <class Load>
bool BasicDirectReader<Load>::route_is_durable(DirectLookup& lookup) {
    uint64_t& known = durable_routes_[lookup.database];
    if (known == lookup.route) return true;
    std::atomic_thread_fence(std::memory_order_acquire);
    const uint64_t under_way = load(st::kRootAt + offsetof(st::Root, committed));
    std::atomic_thread_fence(std::memory_order_acquire);
    lookup.not_durable = load(st::kRootAt + offsetof(st::Root, routed_at)) > limit_;
    if (under_way != 0 || lookup.not_durable) return false;
    known = lookup.route;
    return true;
}

template <class Load>
bool BasicDirectReader<Load>::locate(DirectLookup& lookup) {
    lookup.not_durable = false;
    return locate_segment(lookup) && (shows_all_ || route_is_durable(lookup));
}

template <class Load>
bool BasicDirectReader<Load>::locate_segment(DirectLookup& lookup) {
    lookup.segment = lookup.item = lookup.table_at = 0;
    lookup.candidate_count = lookup.buckets_read = 0;
    lookup.route = load(route_at(lookup.database));
    const st::Route route = st::Route::from(lookup.route);
    if (route.directory == 0) return true;
    std::atomic_thread_fence(std::memory_order_acquire);
    if (!in_use(route.directory) || route.depth > 2 * st::kDirectoryChunkDepthMax) return false;
    const uint64_t entry = lookup.place.entry(route.depth);
    uint64_t name_at = route.directory + entry * sizeof(uint32_t);
    if (route.depth > st::kDirectoryChunkDepthMax) {
        lookup.table_at = route.directory + (entry >> st::kDirectoryChunkDepthMax) * sizeof(uint32_t);
        lookup.table_word = load_half(lookup.table_at);
        std::atomic_thread_fence(std::memory_order_acquire);
        if (!route_stands(lookup)) return false;  // D1
        const auto page = st::DirectoryPage::from(lookup.table_word);
        if (page.prefix > route.depth - st::kDirectoryChunkDepthMax) return false;
        name_at = page.name_at(entry, route.depth);
        if (!in_use(name_at)) return false;
    }
    const uint64_t segment = uint64_t{load_half(name_at)} * st::kIndexSegmentBytes;
    std::atomic_thread_fence(std::memory_order_acquire);
    if (!route_stands(lookup) || (lookup.table_at != 0 && load_half(lookup.table_at) != lookup.table_word)) return false;
    if (!in_use(segment)) return false;
    lookup.segment = segment;
    return true;
}

template <class Load>
void BasicDirectReader<Load>::find(std::span<DirectLookup> lookups) {
    for (; !lookups.empty(); lookups = lookups.subspan(std::min(kAhead, lookups.size()))) {
        const auto group = lookups.first(std::min(kAhead, lookups.size()));
        for (DirectLookup& lookup : group) {
            lookup.place = {XXH3_64bits_withSeed(lookup.key.data(), lookup.key.size(), hash_seed_)};
            lookup.stable = locate(lookup);
            if (lookup.stable && lookup.segment != 0) __builtin_prefetch(at(bucket_at(lookup, 0)));
        }
        for (DirectLookup& lookup : group) {
            if (!lookup.stable || lookup.segment == 0) continue;
            lookup.stable = search(lookup);
            if (lookup.candidate_count == 0) __builtin_prefetch(at(bucket_at(lookup, 1)));
        }
        for (DirectLookup& lookup : group)
            if (lookup.stable && lookup.buckets_read == 1 && lookup.candidate_count == 0) lookup.stable = search(lookup);
        for (DirectLookup& lookup : group)
            if (lookup.stable && lookup.buckets_read != 0) lookup.stable = choose(lookup);
    }
}

/// Looks for the key's tag in the next of its two buckets, and asks for the items that have it.
template <class Load>
bool BasicDirectReader<Load>::search(DirectLookup& lookup) {
    const unsigned which = lookup.buckets_read;
    const uint64_t bucket_begin = bucket_at(lookup, which);
    const uint64_t version = load(bucket_begin);
    const bool odd = kSeededReaderBug != SeededReaderBug::reader_odd_is_read && version % 2 != 0;
    const bool later = kSeededReaderBug != SeededReaderBug::reader_odd_is_read &&
                       kSeededReaderBug != SeededReaderBug::reader_miss_not_validated && version / 2 > limit_;
    if (odd || later) {  // T3, T8
        lookup.not_durable = !odd && version / 2 <= number_;
        return false;
    }
    lookup.versions[which] = version;
    lookup.buckets_read = which + 1;
    std::atomic_thread_fence(std::memory_order_acquire);
    st::Bucket bucket;
    bucket.words[0] = version;
    racing_copy_words<Load, 7>(&bucket.words[1], at(bucket_begin + 8));
    if (!unchanged(lookup)) return false;  // D1
    for (uint64_t found = bucket.tags_equal(lookup.place.tag()); found != 0; found &= found - 1) {
        const unsigned slot = st::Bucket::slot_of(found);
        const uint64_t item = st::Slot::from(bucket.slot_bits(slot)).reference;
        if (item == 0) continue;
        if (!in_use(item) || lookup.candidate_count == lookup.candidates.size()) return false;
        __builtin_prefetch(at(item));
        __builtin_prefetch(at(item) + 64);
        if (rules_.kind != MarkKind::none) marks_->prefetch(bucket_begin);
        lookup.candidate_slots[lookup.candidate_count] = static_cast<uint8_t>(slot | (which == 0 ? 0 : kSecondBucket));
        lookup.candidates[lookup.candidate_count++] = item;
    }
    return true;
}

/// The candidate that is the key. Those of the first bucket may all be others; then the second one is looked at as well.
template <class Load>
bool BasicDirectReader<Load>::choose(DirectLookup& lookup) {
    for (unsigned i = 0;; ++i) {
        if (i == lookup.candidate_count && lookup.buckets_read == 1 && !search(lookup)) return false;
        if (i == lookup.candidate_count) return true;
        const Match outcome = match(lookup, lookup.candidates[i]);
        if (outcome == Match::changed) return false;
        if (outcome == Match::no) continue;
        if (lookup.expires && now_ms_ == 0) now_ms_ = wall_ms();
        if (!lookup.expires || lookup.expire_at_ms > now_ms_) lookup.item = lookup.candidates[i];
        lookup.slot = lookup.candidate_slots[i];
        return true;
    }
}

template <class Load>
typename BasicDirectReader<Load>::Match BasicDirectReader<Load>::match(DirectLookup& lookup, uint64_t item) {
    const st::ItemHeader header = st::ItemHeader::from(load(item));
    lookup.expires = (header.flags & st::kHasExpiry) != 0;
    lookup.large = (header.flags & st::kLarge) != 0;
    return lookup.large ? match_large(lookup, item) : match_small(lookup, item, header);
}

template <class Load>
typename BasicDirectReader<Load>::Match BasicDirectReader<Load>::match_small(DirectLookup& lookup, uint64_t item, const st::ItemHeader& header) {
    if (header.key_length != lookup.key.size()) return Match::no;
    const uint64_t key_at = item + sizeof header + (lookup.expires ? sizeof(int64_t) : 0);
    lookup.value_at = key_at + header.key_length;
    lookup.value_length = header.value_length;
    if (item % st::kPageBytes + (lookup.value_at - item) + lookup.value_length > st::kPageBytes) return Match::changed;  // D3
    if (!racing_equal<Load>(at(key_at), lookup.key.data(), lookup.key.size())) return Match::no;
    if (lookup.expires) lookup.expire_at_ms = static_cast<int64_t>(load(item + sizeof header));
    return Match::yes;
}

template <class Load>
typename BasicDirectReader<Load>::Match BasicDirectReader<Load>::match_large(DirectLookup& lookup, uint64_t item) {
    if (item % st::kPageBytes + sizeof(st::LargeItem) > st::kPageBytes) return Match::changed;
    if (load(item + offsetof(st::LargeItem, key_length)) != lookup.key.size()) return Match::no;
    lookup.value_length = load(item + offsetof(st::LargeItem, value_length));
    lookup.expire_at_ms = static_cast<int64_t>(load(item + offsetof(st::LargeItem, expire_at_ms)));
    // The key lies in the value's extents, in front of it.
    DirectLookup key = lookup;
    key.item = item;
    key.value_at = 0;
    std::string_view rest = lookup.key;
    bool equal = true;
    const bool complete = each_piece(key, 0, rest.size(), [&](const std::byte* piece, uint64_t bytes) {
        equal = equal && racing_equal<Load>(piece, rest.data(), bytes);
        rest.remove_prefix(bytes);
    });
    if (!complete) return Match::changed;
    lookup.value_at = lookup.key.size();
    return equal ? Match::yes : Match::no;
}

/// The extent or tail that holds bytes from index x 64 KiB on of a large item's key and value.
template <class Load>
bool BasicDirectReader<Load>::extent(const DirectLookup& lookup, uint64_t index, uint64_t& reference) const {
    const uint64_t pages = load(lookup.item + offsetof(st::LargeItem, page_count));
    if (index >= pages) {
        reference = load(lookup.item + offsetof(st::LargeItem, tail));
    } else {
        const uint64_t at = sizeof(st::LargeItem) + index * sizeof(uint32_t);
        if (lookup.item % st::kPageBytes + at + sizeof(uint32_t) > st::kPageBytes) return false;  // D3
        reference = uint64_t{load_half(lookup.item + at)} << st::kPageShift;
    }
    return unchanged(lookup) && in_use(reference);  // D1
}

/// Gives bytes [from, from + count) of an item's key and value, which begin at value_at, to `take(piece, bytes)`.
template <class Load>
template <class Take>
bool BasicDirectReader<Load>::each_piece(const DirectLookup& lookup, uint64_t from, uint64_t count, const Take& take) const {
    for (uint64_t position = lookup.value_at + from; count != 0;) {
        const uint64_t within = position % st::kPageBytes;
        uint64_t bytes = std::min(st::kPageBytes - within, count), reference;
        if (!extent(lookup, position / st::kPageBytes, reference)) return false;
        if (reference % st::kPageBytes + within + bytes > st::kPageBytes) return false;  // D3: a tail lies anywhere in its page
        take(at(reference + within), bytes);
        position += bytes;
        count -= bytes;
    }
    return true;
}

template <class Load>
bool BasicDirectReader<Load>::copy_value(const DirectLookup& lookup, uint64_t from, uint64_t count, char* to) {
    if (!lookup.large) {
        racing_copy_out<Load>(to, at(lookup.value_at + from), count);
        return true;
    }
    return each_piece(lookup, from, count, [&](const std::byte* piece, uint64_t bytes) {
        racing_copy_out<Load>(to, piece, bytes);
        to += bytes;
    });
}

}  // namespace millrace::io_conn
