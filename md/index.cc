// See index.h. Runs in md.
#include "md/index.h"

#include "common/check.h"
#include "md/seeded_bugs.h"

namespace millrace::md {

namespace {

constexpr unsigned kPageDepth = st::kDirectoryChunkDepthMax;  ///< a directory's page has 2^kPageDepth entries

/// A directory's entry counts segments in units of their size.
constexpr uint64_t kEntryUnit = st::kIndexSegmentBytes;

uint32_t half_of(uint64_t word, bool upper) { return static_cast<uint32_t>(upper ? word >> 32 : word); }

uint64_t with_half(uint64_t word, bool upper, uint32_t half) {
    return upper ? (word & 0xffffffff) | uint64_t{half} << 32 : (word & ~uint64_t{0xffffffff}) | half;
}

}  // namespace

uint32_t Index::read_entry(uint64_t at) const { return half_of(set_.read(at & ~7ull), at % 8 != 0); }

void Index::write_entry(uint64_t at, uint32_t content) {
    set_.write(at & ~7ull, with_half(set_.read(at & ~7ull), at % 8 != 0, content));
}

/// The page of a deep directory that holds an entry.
st::DirectoryPage Index::page_at(st::Route route, uint64_t entry) const {
    return st::DirectoryPage::from(read_entry(route.directory + (entry >> kPageDepth) * sizeof(uint32_t)));
}

/// Where a directory's entry lies.
uint64_t Index::entry_at(st::Route route, uint64_t entry) const {
    if (route.depth <= kPageDepth) return route.directory + entry * sizeof(uint32_t);
    return page_at(route, entry).name_at(entry, route.depth);
}

uint64_t Index::segment_at(st::Route route, uint64_t entry) const { return read_entry(entry_at(route, entry)) * kEntryUnit; }

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
        for (uint64_t candidates = bucket.tags_equal(place.tag()); candidates != 0; candidates &= candidates - 1)
            __builtin_prefetch(memory_.at(st::Slot::from(bucket.slot_bits(st::Bucket::slot_of(candidates))).reference));
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
        marks_.put_in(at, *room);
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
    marks_.move(move->from.bucket_at, move->from.slot, move->to_bucket_at, move->to_slot);
    marks_.put_in(move->from.bucket_at, move->from.slot);
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

/// A chunk or page of entries that nobody can reach yet; 0 without memory.
template <class Content>
uint64_t Index::new_entries(uint64_t count, const Content& content) {
    const uint64_t at = allocator_.allocate(static_cast<uint32_t>(std::max<uint64_t>(count * sizeof(uint32_t), 8)));
    if (at == 0) return 0;
    for (uint64_t i = 0; i < count; i += 2) {
        const uint64_t word = content(i) | (i + 1 < count ? uint64_t{content(i + 1)} << 32 : 0);
        if (i == 0) set_.write(at, word);  // T4
        else memory_.store(at + i * sizeof(uint32_t), word);
    }
    return at;
}

void Index::free_directory(st::Route route) {
    if (route.depth > kPageDepth)
        for (uint64_t entry = 0; entry < 1ull << route.depth;) {
            const st::DirectoryPage page = page_at(route, entry);
            allocator_.free(page.page << st::kPageShift);
            entry += 1ull << (route.depth - page.prefix);
        }
    allocator_.free(route.directory);
}

void Index::swap_routes(unsigned one, unsigned other, uint64_t number) {
    st::Root& root = memory_.root();
    const st::DatabaseWords &first = root.databases[one], &second = root.databases[other];
    const st::Route routes[2] = {route_of(one), route_of(other)};
    // Both words change, whatever they name: readers see that they have to look again (T8).
    set_.write(&first.route, routes[0].next(routes[1].directory, routes[1].depth).word());
    set_.write(&second.route, routes[1].next(routes[0].directory, routes[0].depth).word());
    for (const auto field : {&st::DatabaseWords::keys, &st::DatabaseWords::expires}) {
        const uint64_t before = set_.read(&(first.*field));
        set_.write(&(first.*field), set_.read(&(second.*field)));
        set_.write(&(second.*field), before);
    }
    set_.write(&root.routed_at, number);
    set_.write(&root.swapped_at, number);
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
    const uint64_t directory = segment == 0 ? 0 : new_entries(1, [&](uint64_t) { return static_cast<uint32_t>(segment / kEntryUnit); });
    if (directory == 0) return give_up();
    set_.write(&memory_.root().databases[database].route, route_of(database).next(directory, 0).word());
    return commit_alone();
}

/// Makes the directory tell one bit more apart: twice the entries while it is one chunk or page, then a table of pages, first of
/// this one page, and twice the table. Never more than a page is written.
bool Index::deepen_directory(unsigned database) {
    const st::Route route = route_of(database);
    if (route.depth >= 2 * kPageDepth) return give_up();  // 2^28 segments: more than any memory holds
    uint64_t directory;
    if (route.depth == kPageDepth) {
        const st::DirectoryPage only{route.directory >> st::kPageShift, 0};
        directory = new_entries(2, [&](uint64_t) { return only.word(); });
    } else {
        const uint64_t count = 2ull << (route.depth > kPageDepth ? route.depth - kPageDepth : route.depth);
        directory = new_entries(count, [&](uint64_t i) { return read_entry(route.directory + i / 2 * sizeof(uint32_t)); });
    }
    if (directory == 0) return give_up();
    set_.write(&memory_.root().databases[database].route, route.next(directory, route.depth + 1).word());
    if (route.depth != kPageDepth) allocator_.free(route.directory);
    return commit_alone();
}

/// Puts two pages, in which each entry stands twice, into the place of the one that holds this entry of a deep directory.
bool Index::split_page(st::Route route, uint64_t entry) {
    const st::DirectoryPage old = page_at(route, entry);
    constexpr uint64_t kEntries = 1ull << kPageDepth;
    st::DirectoryPage halves[2];
    for (uint64_t half = 0; half < 2; ++half) {
        const uint64_t from = (old.page << st::kPageShift) + half * (st::kPageBytes / 2);
        const uint64_t page = new_entries(kEntries, [&](uint64_t i) { return read_entry(from + i / 2 * sizeof(uint32_t)); });
        if (page == 0) return give_up();
        halves[half] = {page >> st::kPageShift, old.prefix + 1};
    }
    const uint64_t span = 1ull << (route.depth - kPageDepth - old.prefix);  // entries of the table that name the old page
    const uint64_t first = entry >> kPageDepth & ~(span - 1);
    for (uint64_t i = 0; i < span; ++i) write_entry(route.directory + (first + i) * sizeof(uint32_t), halves[i >= span / 2].word());
    allocator_.free(old.page << st::kPageShift);
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
        if (!deepen_directory(database)) return false;
        route = route_of(database);
    }
    const uint64_t entry = place.entry(route.depth);
    const bool page_is_exhausted = route.depth > kPageDepth && depth == page_at(route, entry).prefix + kPageDepth;
    if (page_is_exhausted && !split_page(route, entry)) return false;
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
        st::Bucket into[2]{};
        for (unsigned half = 0; half < 2; ++half) into[half].words[7] = memory_.load(halves[half] + at + 56);
        for (unsigned slot = 0; slot < st::kSlots; ++slot) {
            const st::Slot content = st::Slot::from(bucket.slot_bits(slot));
            if (content.reference == 0) continue;
            const uint64_t half = hash_of(content.reference) >> (63 - depth) & 1;
            into[half].set_slot_bits(slot, content.bits());
            marks_.move(old + at, slot, halves[half] + at, slot);
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
    const uint64_t first = entry & ~(span - 1);
    for (uint64_t i = 0; i < span; ++i)
        write_entry(entry_at(route, first + i), static_cast<uint32_t>(halves[i >= span / 2] / kEntryUnit));
    allocator_.free(old);
    return commit_alone();
}

}  // namespace millrace::md
