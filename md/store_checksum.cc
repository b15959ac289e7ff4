// The checksums of the databases: kept by each operation that changes a key, or taken anew in slices (checksum_walk.h). Part of Store (store.h). Runs in md.
#include <algorithm>

#include "common/check.h"
#include "common/clock.h"
#include "md/store.h"

namespace millrace::md {

namespace {

constexpr uint64_t kBlock = KeyChecksum::kBlockBytes;

constexpr uint64_t blocks_in(uint64_t length) { return KeyChecksum::blocks_in(length); }

}  // namespace

uint64_t Store::checksum() const {
    CHECK(keeps_checksums());
    std::array<uint64_t, kDatabases> checksums;
    for (unsigned database = 0; database < kDatabases; ++database) checksums[database] = set_.read(&root().databases[database].checksum);
    return checksum_of_databases(checksums);
}

void Store::count_change(unsigned database, uint64_t hash, uint64_t difference) {
    if (keeps_checksums()) set_.add(&root().databases[database].checksum, difference);
    if (walk_.active) walk_.changes.push_back({ChecksumWalk::Change::Kind::key, database, hash, difference});
}

/// What putting a value changes. Of one that shares its bytes with what is there only the others are read.
uint64_t Store::difference_of(std::string_view key, const std::optional<FoundSlot>& found, const Value& value) const {
    const KeyChecksum checksum(key);
    if (!found) return items_.checksum_of(checksum, value);
    const Value old = items_.value_of(found->content.reference);
    const bool shares = value.stored_length != 0 && value.stored_length == old.stored_length && value.large == old.large && value.small == old.small;
    uint64_t first = 0, old_end = blocks_in(old.length()), end = blocks_in(value.length());
    if (shares && !value.patch.empty()) {
        first = value.patch_at / kBlock;
        old_end = end = blocks_in(value.patch_at + value.patch.size());
    } else if (shares) {
        first = value.rest.empty() ? end : value.stored_length / kBlock;
    }
    return checksum.of_frame(value.length(), value.expire_at_ms) - checksum.of_frame(old.length(), old.expire_at_ms) + items_.checksum_of_blocks(checksum, value, first, end) -
           items_.checksum_of_blocks(checksum, old, first, std::max(first, old_end));
}

/// The operation under way changes keys in a way that is not counted: they are taken anew.
void Store::drop_checksums() {
    if (walk_.active) walk_.changes.push_back({ChecksumWalk::Change::Kind::swap, 0, 0, 0});
    if (!keeps_checksums()) return;
    for (const st::DatabaseWords& words : root().databases) set_.write(&words.checksum, 0);
    set_.write(&root().checksums_kept, 0);
}

void Store::forget_checksums() {
    if (!keeps_checksums()) return;
    drop_checksums();
    commit();
}

void Store::keep_checksums() {
    for (unsigned database = 0; database < kDatabases; ++database) set_.write(&root().databases[database].checksum, walk_.sums[database]);
    set_.write(&root().checksums_kept, 1);
    walk_ = {};
    commit();
}

bool Store::walk_agrees() const {
    for (unsigned database = 0; database < kDatabases; ++database)
        if (root().databases[database].checksum != walk_.sums[database]) return false;
    return true;
}

/// W2. Sums up the keys of one index segment, but for long values.
void Store::begin_walk_part() {
    const st::Route route = index_.route_of(walk_.database);
    walk_.part = walk_.part_keys = walk_.end = 0;
    walk_.longs.clear();
    walk_.under_way = true;
    ++walk_.begun;
    if (route.directory == 0) return;
    const uint64_t entry = st::KeyPlace{walk_.position}.entry(route.depth);
    const uint64_t segment = index_.segment_at(route, entry);
    uint64_t begin = 0;
    if (route.depth != 0) {
        const uint64_t span = 1ull << (route.depth - index_.depth_of_segment(segment));  // entries that name this segment
        begin = (entry & ~(span - 1)) << (64 - route.depth);
        walk_.end = begin + (span << (64 - route.depth));
        if (span == 1ull << route.depth) walk_.end = 0;
    }
    std::string storage;
    for (unsigned number = 0; number < st::kBuckets; ++number) {
        const uint64_t at = segment + number * st::kBucketBytes;
        if (number + 1 < st::kBuckets) {
            const st::Bucket next = set_.read_bucket(at + st::kBucketBytes);
            for (unsigned slot = 0; slot < st::kSlots; ++slot)
                if (const uint64_t bits = next.slot_bits(slot); bits != 0) __builtin_prefetch(memory_.at(st::Slot::from(bits).reference));
        }
        const st::Bucket bucket = set_.read_bucket(at);
        for (unsigned slot = 0; slot < st::kSlots; ++slot) {
            const uint64_t item = st::Slot::from(bucket.slot_bits(slot)).reference;
            if (item == 0) continue;
            const std::string_view key = items_.key_view(item, storage);
            if (begin != walk_.position && place_of(key).hash < walk_.position) continue;  // the index was larger then
            const KeyChecksum checksum(key);
            const Value value = items_.value_of(item);
            ++walk_.part_keys;
            if (value.length() <= ChecksumWalk::kLongValue) {
                walk_.part += items_.checksum_of(checksum, value);
            } else {
                walk_.part += checksum.of_frame(value.length(), value.expire_at_ms);
                walk_.longs.push_back({item, 0});
            }
        }
    }
}

/// True when all of the part is summed up.
bool Store::read_long_values(uint64_t until_us) {
    constexpr uint64_t kPiece = 16;  ///< blocks
    std::string storage;
    while (!walk_.longs.empty()) {
        ChecksumWalk::Long& next = walk_.longs.back();
        const Value value = items_.value_of(next.item);
        const uint64_t blocks = blocks_in(value.length()), end = std::min(next.next_block + kPiece, blocks);
        walk_.part += items_.checksum_of_blocks(KeyChecksum(items_.key_view(next.item, storage)), value, next.next_block, end);
        next.next_block = end;
        if (end == blocks) walk_.longs.pop_back();
        if (walk_.begun <= ChecksumWalk::kPatience && monotonic_us() >= until_us) return walk_.longs.empty();
    }
    return true;
}

bool Store::walk_checksums(uint64_t until_us) {
    CHECK(walk_.active && set_.empty());
    while (walk_.database < kDatabases) {
        if (!walk_.under_way) begin_walk_part();
        if (!read_long_values(until_us)) return false;
        walk_.sums[walk_.database] += walk_.part;
        walk_.keys += walk_.part_keys;
        walk_.position = walk_.end;
        walk_.under_way = false;
        walk_.begun = 0;
        if (walk_.position == 0) ++walk_.database;
        if (monotonic_us() >= until_us) break;
    }
    return walk_.database == kDatabases;
}

}  // namespace millrace::md
