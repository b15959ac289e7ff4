// See index.h. Runs in md.
#include "md/index.h"

#include "common/check.h"
#include "md/seeded_bugs.h"

namespace millrace::md {

namespace {

/// Entries in a page of a deep directory, and its share of the depth.
constexpr unsigned kPageDepth = 14;
static_assert((1u << kPageDepth) * sizeof(uint32_t) == st::kPageBytes && kPageDepth == st::kDirectoryChunkDepthMax);

/// A directory's entry counts segments in units of their size.
constexpr uint64_t kEntryUnit = st::kIndexSegmentBytes;

uint32_t half_of(uint64_t word, bool upper) { return static_cast<uint32_t>(upper ? word >> 32 : word); }

uint64_t with_half(uint64_t word, bool upper, uint32_t half) {
    return upper ? (word & 0xffffffff) | uint64_t{half} << 32 : (word & ~uint64_t{0xffffffff}) | half;
}

}  // namespace

/// Offset of the word that holds a directory's entry; `read` gives the word at an offset.
template <class Read>
uint64_t Index::entry_word_at(st::Route route, uint64_t entry, const Read& read) const {
    if (route.depth <= st::kDirectoryChunkDepthMax) return route.directory + entry / 2 * 8;
    const uint64_t table = entry >> kPageDepth;
    const uint64_t page = half_of(read(route.directory + table / 2 * 8), table % 2 != 0);
    return (page << st::kPageShift) + entry % (1u << kPageDepth) / 2 * 8;
}

uint64_t Index::entry_word_at(st::Route route, uint64_t entry) const {
    return entry_word_at(route, entry, [this](uint64_t at) { return set_.read(at); });
}

uint64_t Index::segment_at(st::Route route, uint64_t entry) const {
    return half_of(set_.read(entry_word_at(route, entry)), entry % 2 != 0) * kEntryUnit;
}

uint64_t Index::segment_of(unsigned database, st::KeyPlace place) const {
    const st::Route route = route_of(database);
    return route.directory == 0 ? 0 : segment_at(route, place.entry(route.depth));
}

uint64_t Index::prefetch(unsigned database, st::KeyPlace place) const {
    const uint64_t segment = segment_of(database, place);
    if (segment == 0) return 0;
    __builtin_prefetch(memory_.at(segment + place.first() * st::kBucketBytes));
    __builtin_prefetch(memory_.at(segment + place.second() * st::kBucketBytes));
    return segment;
}

void Index::prefetch_item(uint64_t segment, st::KeyPlace place) const {
    if (segment == 0) return;
    for (const unsigned which : {place.first(), place.second()}) {
        const st::Bucket& bucket = *memory_.as<st::Bucket>(segment + which * st::kBucketBytes);
        for (unsigned candidates = bucket.slots_with_tag(place.tag()); candidates != 0; candidates &= candidates - 1)
            __builtin_prefetch(memory_.at(st::Slot::from(bucket.slot_bits(static_cast<unsigned>(__builtin_ctz(candidates)))).reference));
    }
}

unsigned Index::depth_of_segment(uint64_t segment) const {
    return static_cast<unsigned>(set_.read(segment + (st::kDepthAt & ~7u)) >> st::kDepthAt % 8 * 8 & 0xff);
}

unsigned Index::keys_in_segment(unsigned database, st::KeyPlace place) const {
    const uint64_t segment = segment_of(database, place);
    if (segment == 0) return 0;
    unsigned keys = 0;
    for (unsigned bucket = 0; bucket < st::kBuckets; ++bucket) {
        const st::Bucket content = set_.read_bucket(segment + bucket * st::kBucketBytes);
        for (unsigned slot = 0; slot < st::kSlots; ++slot) keys += content.slot_bits(slot) != 0;
    }
    return keys;
}

std::optional<unsigned> Index::free_slot(const st::Bucket& bucket) {
    const unsigned free = bucket.free_slots();
    if (free == 0) return std::nullopt;
    return static_cast<unsigned>(__builtin_ctz(free));
}

void Index::replace(const FoundSlot& found, uint64_t reference, bool expires) {
    st::Bucket bucket = set_.read_bucket(found.bucket_at);
    bucket.set_slot_bits(found.slot, st::Slot{found.content.tag, expires, reference}.bits());
    set_.write_bucket(found.bucket_at, bucket);
}

void Index::erase(const FoundSlot& found) {
    st::Bucket bucket = set_.read_bucket(found.bucket_at);
    bucket.set_slot_bits(found.slot, 0);
    set_.write_bucket(found.bucket_at, bucket);
}

std::optional<Index::Move> Index::find_move(uint64_t segment, st::KeyPlace place) const {
    for (const unsigned which : {place.first(), place.second()}) {
        const uint64_t at = segment + which * st::kBucketBytes;
        const st::Bucket bucket = set_.read_bucket(at);
        for (unsigned slot = 0; slot < st::kSlots; ++slot) {
            const st::Slot content = st::Slot::from(bucket.slot_bits(slot));
            const uint64_t to = segment + st::KeyPlace::other_bucket(which, content.tag) * st::kBucketBytes;
            if (const auto room = free_slot(set_.read_bucket(to))) return Move{{at, slot, content}, to, *room};
        }
    }
    return std::nullopt;
}

bool Index::has_room(unsigned database, st::KeyPlace place) const {
    const uint64_t segment = segment_of(database, place);
    if (segment == 0) return false;
    return free_slot(set_.read_bucket(segment + place.first() * st::kBucketBytes)) ||
           free_slot(set_.read_bucket(segment + place.second() * st::kBucketBytes)) || find_move(segment, place);
}

bool Index::insert(unsigned database, st::KeyPlace place, uint64_t reference, bool expires) {
    const uint64_t segment = segment_of(database, place);
    if (segment == 0) return false;
    const uint64_t bits = st::Slot{place.tag(), expires, reference}.bits();
    for (const unsigned which : {place.first(), place.second()}) {
        const uint64_t at = segment + which * st::kBucketBytes;
        st::Bucket bucket = set_.read_bucket(at);
        const auto room = free_slot(bucket);
        if (!room) continue;
        bucket.set_slot_bits(*room, bits);
        set_.write_bucket(at, bucket);
        return true;
    }
    const auto move = find_move(segment, place);
    if (!move) return false;
    st::Bucket to = set_.read_bucket(move->to_bucket_at);
    to.set_slot_bits(move->to_slot, move->from.content.bits());
    set_.write_bucket(move->to_bucket_at, to);
    st::Bucket from = set_.read_bucket(move->from.bucket_at);
    from.set_slot_bits(move->from.slot, bits);
    set_.write_bucket(move->from.bucket_at, from);
    return true;
}

/// An empty segment that nobody can reach yet; 0 without memory. The word that was its link goes through the list (T4), and
/// all its versions are those of the commit that makes it reachable.
uint64_t Index::new_segment(unsigned depth) {
    const uint64_t segment = allocator_.allocate_index_segment();
    if (segment == 0) return 0;
    const uint64_t version = 2 * committer_.next_number();
    set_.write(segment + st::link_offset(st::kIndexClass), 0);
    memory_.store(segment, version);
    for (uint64_t at = 16; at < st::kIndexSegmentBytes; at += 8)
        memory_.store(segment + at, at % st::kBucketBytes == 0 ? version : 0);
    memory_.store(segment + (st::kDepthAt & ~7u), uint64_t{depth} << st::kDepthAt % 8 * 8);
    return segment;
}

/// A directory that nobody can reach yet; 0 without memory.
uint64_t Index::new_directory(unsigned depth, const std::function<uint32_t(uint64_t entry)>& content) {
    const auto fill = [&](uint64_t at, uint64_t first_entry, uint64_t entries) {
        for (uint64_t i = 0; i < entries; i += 2) {
            const uint64_t word = content(first_entry + i) | (i + 1 < entries ? uint64_t{content(first_entry + i + 1)} << 32 : 0);
            if (i == 0) set_.write(at, word);  // T4
            else memory_.store(at + i * 4, word);
        }
    };
    const bool deep = depth > st::kDirectoryChunkDepthMax;
    const uint64_t entries = 1ull << depth;
    const uint64_t own_entries = deep ? entries >> kPageDepth : entries;
    if (own_entries * sizeof(uint32_t) > st::kPageBytes) return 0;  // 2^28 segments: more than any memory holds
    const uint64_t directory = allocator_.allocate(static_cast<uint32_t>(std::max<uint64_t>(own_entries * sizeof(uint32_t), 8)));
    if (directory == 0) return 0;
    if (!deep) {
        fill(directory, 0, entries);
        return directory;
    }
    for (uint64_t table = 0; table < own_entries; table += 2) {
        uint64_t word = 0;
        for (uint64_t half = 0; half < 2 && table + half < own_entries; ++half) {
            const uint64_t page = allocator_.allocate(st::kPageBytes);
            if (page == 0) return 0;
            fill(page, (table + half) << kPageDepth, 1u << kPageDepth);
            word = with_half(word, half != 0, static_cast<uint32_t>(page >> st::kPageShift));
        }
        if (table == 0) set_.write(directory, word);
        else memory_.store(directory + table * 4, word);
    }
    return directory;
}

void Index::free_directory(st::Route route) {
    if (route.depth > st::kDirectoryChunkDepthMax)
        for (uint64_t table = 0; table < 1ull << (route.depth - kPageDepth); ++table)
            allocator_.free(uint64_t{half_of(set_.read(route.directory + table / 2 * 8), table % 2 != 0)} << st::kPageShift);
    allocator_.free(route.directory);
}

bool Index::give_up() {
    set_.clear();
    allocator_.abandon();
    return false;
}

bool Index::commit_alone() {
    allocator_.settle();
    if (!committer_.reserve(set_)) return give_up();
    committer_.commit(set_);
    return true;
}

bool Index::make_directory(unsigned database) {
    const uint64_t segment = new_segment(0);
    const uint64_t directory =
        segment == 0 ? 0 : new_directory(0, [&](uint64_t) { return static_cast<uint32_t>(segment / kEntryUnit); });
    if (directory == 0) return give_up();
    set_.write(&memory_.root().databases[database].route, st::Route{directory, 0}.word());
    return commit_alone();
}

bool Index::double_directory(unsigned database) {
    const st::Route route = route_of(database);
    // The old directory as it is in memory: no operation is under way that could have changed it, and the look into the write set
    // would be most of what a large one costs.
    const auto load = [this](uint64_t at) { return memory_.load(at); };
    const auto old_entry = [&](uint64_t entry) { return half_of(load(entry_word_at(route, entry, load)), entry % 2 != 0); };
    const uint64_t directory = new_directory(route.depth + 1, [&](uint64_t entry) { return old_entry(entry / 2); });
    if (directory == 0) return give_up();
    set_.write(&memory_.root().databases[database].route, st::Route{directory, route.depth + 1}.word());
    free_directory(route);
    return commit_alone();
}

bool Index::split(unsigned database, st::KeyPlace place, const std::function<uint64_t(uint64_t)>& hash_of) {
    CHECK(set_.empty());
    ++splits_;
    st::Route route = route_of(database);
    if (route.directory == 0) return make_directory(database);
    const uint64_t old = segment_at(route, place.entry(route.depth));
    const unsigned depth = depth_of_segment(old);
    if (depth == route.depth) {
        if (!double_directory(database)) return false;
        route = route_of(database);
    }
    const uint64_t halves[2] = {new_segment(depth + 1), new_segment(depth + 1)};
    if (halves[0] == 0 || halves[1] == 0) return give_up();
    for (unsigned which = 0; which < st::kBuckets; ++which)  // the keys' lines, all under way at once
        for (unsigned slot = 0; slot < st::kSlots; ++slot) {
            const st::Slot content = st::Slot::from(memory_.as<st::Bucket>(old + which * st::kBucketBytes)->slot_bits(slot));
            if (content.reference != 0) __builtin_prefetch(memory_.at(content.reference));
        }
    for (unsigned which = 0; which < st::kBuckets; ++which) {
        const uint64_t at = which * st::kBucketBytes;
        const st::Bucket bucket = set_.read_bucket(old + at);
        st::Bucket into[2];
        for (unsigned half = 0; half < 2; ++half) into[half].words[7] = memory_.load(halves[half] + at + 56);
        for (unsigned slot = 0; slot < st::kSlots; ++slot) {
            const st::Slot content = st::Slot::from(bucket.slot_bits(slot));
            if (content.reference == 0) continue;
            into[hash_of(content.reference) >> (63 - depth) & 1].set_slot_bits(slot, content.bits());
        }
        for (unsigned half = 0; half < 2; ++half)
            for (unsigned word = 1; word < 8; ++word) {
                const uint64_t word_at = halves[half] + at + 8 * word;
                if (at + 8 * word == st::link_offset(st::kIndexClass)) set_.write(word_at, into[half].words[word]);  // T4
                else memory_.store(word_at, into[half].words[word]);
            }
        if constexpr (kSeededBug != SeededBug::split_without_touch) set_.touch_bucket(old + at);
    }
    const uint64_t span = 1ull << (route.depth - depth);  // entries that name the old segment
    const uint64_t first = place.entry(route.depth) & ~(span - 1);
    for (uint64_t i = 0; i < span; ++i) {
        const uint64_t word_at = entry_word_at(route, first + i);
        const auto name = static_cast<uint32_t>(halves[i >= span / 2] / kEntryUnit);
        set_.write(word_at, with_half(set_.read(word_at), (first + i) % 2 != 0, name));
    }
    allocator_.free(old);
    return commit_alone();
}

}  // namespace millrace::md
