// See store.h. Runs in md.
#include "md/store.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>

#include "common/check.h"
#include "common/racing_copy.h"
#include "md/seeded_bugs.h"

namespace millrace::md {

namespace {

/// First word of a reply record, before and after it was released.
uint64_t record_word(bool released) {
    return st::ItemHeader{released, 0, st::ItemType::reply_record, 0}.word();
}

}  // namespace

void Store::format(const StoreMemory& memory, uint64_t hash_seed, uint64_t oplog_bytes) {
    // A ring from whole pages that ends before the second region's descriptors.
    CHECK(oplog_bytes >= st::kPageBytes && (oplog_bytes & (oplog_bytes - 1)) == 0 && fixed_pages(oplog_bytes) <= st::kRegionPages);
    st::Root& root = *new (memory.at(st::kRootAt)) st::Root{};
    root.hash_seed = hash_seed;
    root.oplog_bytes = oplog_bytes;
    root.frontier = fixed_pages(oplog_bytes);
    for (uint64_t page = 0; page < root.frontier; ++page)
        memory.as<st::PageDescriptor>(st::descriptor_at(page))->state = st::PageState{st::PageKind::system, 0, 0, 0, 0}.word();
}

Store::Store(StoreMemory memory, Marks marks)
    : memory_(std::move(memory)),
      marks_(std::move(marks)),
      set_(memory_),
      committer_(memory_),
      recovered_(committer_.recover()),
      allocator_(memory_, set_, marks_),
      index_(memory_, set_, allocator_, committer_, marks_),
      items_(memory_, set_, allocator_),
      oplog_(memory_, set_),
      window_(memory_, set_, allocator_, index_, items_, oplog_, committer_) {
    const unsigned depth = index_.route_of(expire_database_).depth;
    expire_entry_ = st::KeyPlace{root().number * 0x9e3779b97f4a7c15ull}.entry(depth);
    marks_ended_by_ = committer_.next_number();
    marks_.look(memory_);
}

st::KeyPlace Store::place_of(std::string_view key) const {
    return {XXH3_64bits_withSeed(key.data(), key.size(), root().hash_seed)};
}

std::optional<Value> Store::find(unsigned database, std::string_view key, st::KeyPlace place) const {
    const auto found = find_slot(database, key, place);
    if (!found) return std::nullopt;
    return items_.value_of(found->content.reference);
}

std::optional<Value> Store::find_and_use(unsigned database, std::string_view key, st::KeyPlace place) {
    const auto found = find_slot(database, key, place);
    if (!found) return std::nullopt;
    marks_.use(found->bucket_at, found->slot);
    return items_.value_of(found->content.reference);
}

std::optional<uint32_t> Store::mark_of(unsigned database, std::string_view key, st::KeyPlace place) const {
    const auto found = find_slot(database, key, place);
    if (!found || marks_.kept() == MarkKind::none) return std::nullopt;
    return marks_.read(found->bucket_at, found->slot);
}

std::optional<uint64_t> Store::memory_of(unsigned database, std::string_view key, st::KeyPlace place) const {
    // A slot's share of a full segment.
    constexpr uint64_t kSlotBytes = (st::kIndexSegmentBytes + st::kBuckets * st::kSlots - 1) / (st::kBuckets * st::kSlots);
    const auto found = find_slot(database, key, place);
    if (!found) return std::nullopt;
    return items_.memory_of(found->content.reference) + kSlotBytes + (marks_.kept() == MarkKind::none ? 0 : sizeof(uint32_t));
}

uint64_t Store::token_of(unsigned database, std::string_view key, st::KeyPlace place, int64_t now_ms) const {
    const auto found = find_slot(database, key, place);
    if (!found) return 0;
    const Value value = items_.value_of(found->content.reference);
    if (value.expire_at_ms != kNoExpiry && value.expire_at_ms <= now_ms) return 0;
    const uint64_t seed = root().hash_seed ^ static_cast<uint64_t>(value.expire_at_ms);
    const uint64_t large[3] = {value.large, value.stored_length, set_.read(found->bucket_at)};
    const uint64_t token = value.large == 0 ? XXH3_64bits_withSeed(value.small, value.stored_length, seed) : XXH3_64bits_withSeed(large, sizeof large, seed);
    return std::max<uint64_t>(token, 1);
}

void Store::set_mark(unsigned database, std::string_view key, st::KeyPlace place, uint32_t mark) {
    if (marks_.kept() == MarkKind::none) return;
    if (const auto found = find_slot(database, key, place)) marks_.write(found->bucket_at, found->slot, mark);
}

uint64_t Store::taken_bytes() const {
    const uint64_t frontier = set_.read(&root().frontier);
    return (frontier - (set_.read(&root().holes) >> 32)) << st::kPageShift;
}

bool Store::split(unsigned database, st::KeyPlace place) {
    return index_.split(database, place, [this](uint64_t item) { return items_.hash_of(item, root().hash_seed); });
}

bool Store::make_room(unsigned database, std::span<const st::KeyPlace> places) {
    const auto hash_of = [this](uint64_t item) { return items_.hash_of(item, root().hash_seed); };
    constexpr size_t kFew = 16;
    if (places.size() > kFew) {
        // Many keys of one operation may meet in a segment: split those that would be too full, until none is.
        // A key that is there twice arrives once: no split would tell it from itself.
        constexpr unsigned kSafeKeys = st::kBuckets * st::kSlots * 8 / 10;
        std::vector<st::KeyPlace> distinct(places.begin(), places.end());
        std::ranges::sort(distinct, {}, &st::KeyPlace::hash);
        const auto same = [](st::KeyPlace one, st::KeyPlace other) { return one.hash == other.hash; };
        distinct.erase(std::unique(distinct.begin(), distinct.end(), same), distinct.end());
        for (bool again = true; again;) {
            again = false;
            std::unordered_map<uint64_t, unsigned> arriving;
            for (const st::KeyPlace place : distinct) ++arriving[index_.segment_of(database, place)];
            for (const st::KeyPlace place : distinct) {
                const auto at = arriving.find(index_.segment_of(database, place));
                if (at == arriving.end() || at->second == 0) continue;
                if (at->first != 0 && at->second + index_.keys_in_segment(database, place) <= kSafeKeys) {
                    at->second = 0;
                    continue;
                }
                at->second = 0;
                if (!split(database, place)) return false;
                again = true;
            }
        }
    }
    for (const st::KeyPlace place : places)
        if (!index_.make_room(database, place, hash_of)) return false;
    return true;
}

Store::Put Store::put(unsigned database, std::string_view key, st::KeyPlace place, const Value& value) {
    const auto found = find_slot(database, key, place);
    if (!counts_checksums()) [[likely]] return put_found(database, key, place, value, found);
    const uint64_t difference = difference_of(key, found, value);
    const Put outcome = put_found(database, key, place, value, found);
    if (outcome == Put::done) count_change(database, place.hash, difference);
    return outcome;
}

Store::Put Store::put_found(unsigned database, std::string_view key, st::KeyPlace place, const Value& value, const std::optional<FoundSlot>& found) {
    const bool expires = value.expire_at_ms != kNoExpiry;
    const bool expired_before = found && found->content.expires;
    if (found) marks_.use(found->bucket_at, found->slot);
    const bool in_place = found && !window_.is_on();  // W1 of pair_layout.h
    if (in_place && value.stored_length != 0 && value.patch.empty() && expires == expired_before &&
        items_.expiry_of(found->content.reference) == value.expire_at_ms && items_.append_in_place(found->content.reference, value)) {
        set_.touch_bucket(found->bucket_at);
        oplog_.add_range(database, key, value.stored_length, value.rest);
        return Put::done;
    }
    if (in_place && !value.patch.empty() && expires == expired_before && items_.expiry_of(found->content.reference) == value.expire_at_ms &&
        items_.patch_in_place(found->content.reference, value)) {
        set_.touch_bucket(found->bucket_at);
        oplog_.add_range(database, key, value.patch_at, value.patch);
        return Put::done;
    }
    if (in_place && items_.is_value_of(found->content.reference, value) && items_.set_expiry(found->content.reference, value.expire_at_ms)) {
        if (expires != expired_before) {
            index_.replace(*found, found->content.reference, expires);
            set_.add(&root().databases[database].expires, uint64_t{expires} - uint64_t{expired_before});
        } else {
            set_.touch_bucket(found->bucket_at);
        }
        oplog_.add_expiry(database, key, value.expire_at_ms);
        return Put::done;
    }
    if constexpr (kSeededBug == SeededBug::write_in_place) {
        if (in_place && value.stored_length == 0 && items_.value_of(found->content.reference).stored_length == value.rest.size()) {
            std::memcpy(const_cast<char*>(items_.value_of(found->content.reference).small), value.rest.data(), value.rest.size());
            return Put::done;
        }
    }
    if (in_place && items_.overwrite(found->content.reference, value, set_.may_be_touched(found->bucket_at))) {
        set_.touch_bucket(found->bucket_at);
        oplog_.add_set(database, key, value, found->content.reference);
        return Put::done;
    }
    const uint64_t item = items_.build(key, value);
    if (item == 0) return Put::no_memory;
    if (window_.is_on()) window_.keep_item(database, place.hash, found ? found->content.reference : 0, item, stream_number_);
    if (found) {
        index_.replace(*found, item, expires);
        if (!window_.is_on() || kSeededBug == SeededBug::window_not_kept) items_.release(found->content.reference);
    } else {
        if (!index_.insert(database, place, item, expires)) return Put::no_slot;
        if constexpr (kSeededBug == SeededBug::relative_count)
            memory_.store(memory_.offset_of(&root().databases[database].keys), keys(database) + 1);
        else set_.add(&root().databases[database].keys, 1);
    }
    if (expires != expired_before)
        set_.add(&root().databases[database].expires, uint64_t{expires} - uint64_t{expired_before});
    log_put(database, key, value, item);
    return Put::done;
}

void Store::erase_slot(unsigned database, const FoundSlot& found) {
    if (counts_checksums()) {
        std::string storage;
        const std::string_view key = items_.key_view(found.content.reference, storage);
        count_change(database, place_of(key).hash, 0 - items_.checksum_of(KeyChecksum(key), items_.value_of(found.content.reference)));
    }
    index_.erase(found);
    const uint64_t item = found.content.reference;
    if (window_.is_on()) window_.keep_item(database, items_.hash_of(item, root().hash_seed), item, 0, stream_number_);
    else items_.release(item);
    set_.add(&root().databases[database].keys, 0 - uint64_t{1});
    if (found.content.expires) set_.add(&root().databases[database].expires, 0 - uint64_t{1});
}

bool Store::erase(unsigned database, std::string_view key, st::KeyPlace place) {
    const auto found = find_slot(database, key, place);
    if (!found) return false;
    erase_slot(database, *found);
    oplog_.add_erase(database, key);
    return true;
}

bool Store::clear(unsigned database) {
    const st::DatabaseWords& words = root().databases[database];
    const st::Route route = index_.route_of(database);
    if (route.directory == 0) return true;
    const uint64_t garbage = allocator_.allocate(sizeof(st::ClearedDatabase), Allocator::Need::urgent);
    if (garbage == 0) return false;
    set_.write(garbage, st::ItemHeader{0, 0, st::ItemType::cleared_database, 0}.word());
    auto& cleared = *memory_.as<st::ClearedDatabase>(garbage);
    memory_.store(&cleared.route, route.word());
    memory_.store(&cleared.next_entry, 0);
    memory_.store(&cleared.next_bucket, 0);
    if (window_.is_on()) window_.keep_clear(database, garbage, keys(database), keys_with_expiry(database), stream_number_);
    else items_.push_garbage(garbage);
    set_.write(&words.route, route.next(0, 0).word());
    set_.write(&words.keys, 0);
    set_.write(&words.expires, 0);
    if (keeps_checksums()) set_.write(&words.checksum, 0);
    if (walk_.active) walk_.changes.push_back({ChecksumWalk::Change::Kind::clear, database, 0, 0});
    set_.write(&root().routed_at, committer_.next_number());
    oplog_.add_clear(database);
    return true;
}

bool Store::drop_empty_index() {
    if (window_.is_on()) return false;
    for (unsigned database = 0; database < kDatabases; ++database) {
        if (keys(database) != 0 || index_.route_of(database).depth == 0) continue;
        oplog_.begin();
        if (!clear(database) || !end_record()) return abandon(), false;
        return commit();
    }
    return false;
}

void Store::swap_databases(unsigned one, unsigned other) {
    if (one == other) return;
    index_.swap_routes(one, other, committer_.next_number());
    const uint64_t checksum = set_.read(&root().databases[one].checksum);
    set_.write(&root().databases[one].checksum, set_.read(&root().databases[other].checksum));
    set_.write(&root().databases[other].checksum, checksum);
    if (walk_.active) walk_.changes.push_back({ChecksumWalk::Change::Kind::swap, one, 0, 0});
    if (window_.is_on()) window_.keep_swap(one, other, stream_number_);
    oplog_.add_swap(one, other);
}

// --- channels and replies ---------------------------------------------------------------------------------------------

void Store::set_cursors(unsigned channel, uint64_t request_head, uint64_t reply_tail) {
    const st::ChannelWords& words = root().channels[channel];
    if constexpr (kSeededBug == SeededBug::cursors_direct) memory_.store(memory_.offset_of(&words.request_head), request_head);
    set_.write_first(&words.request_head, request_head);
    set_.write_first(&words.reply_tail, reply_tail);
}

uint64_t Store::add_record(unsigned channel, std::span<const ReplyPart> parts) { return build_record(root().channels[channel].records, channel + 1, parts); }

/// A chain of chunks, first in the list whose first word is `head`.
uint64_t Store::build_record(const uint64_t& head, uint64_t owner, std::span<const ReplyPart> parts) {
    const uint64_t record = allocator_.allocate(sizeof(st::ReplyRecord), Allocator::Need::urgent);
    if (record == 0) return 0;
    set_.write(record, record_word(false));
    uint64_t next = 0;
    for (size_t i = parts.size(); i-- > 0;) {
        const ReplyPart& part = parts[i];
        const uint64_t chunk = allocator_.allocate(static_cast<uint32_t>(sizeof(st::ReplyChunk) + part.fields.size()), Allocator::Need::urgent);
        if (chunk == 0) return 0;
        set_.write(chunk, next);  // T4
        auto& body = *memory_.as<st::ReplyChunk>(chunk);
        memory_.store(&body.bytes, part.fields.size());
        memory_.store(&body.item, part.item);
        memory_.store(&body.item_length, part.item_length);
        racing_copy_in(memory_.at(chunk + sizeof body), part.fields.data(), part.fields.size());
        if (part.item != 0) items_.pin(part.item);
        next = chunk;
    }
    auto& body = *memory_.as<st::ReplyRecord>(record);
    memory_.store(&body.first_chunk, next);
    memory_.store(&body.previous_record, 0);
    memory_.store(&body.owner, owner);
    const uint64_t old_first = set_.read(&head);
    memory_.store(&body.next_record, old_first);
    if (old_first != 0) set_.write(&memory_.as<st::ReplyRecord>(old_first)->previous_record, record);
    set_.write(&head, record);
    return record;
}

void Store::unlink_record(const uint64_t& head, uint64_t record) {
    const auto& body = *memory_.as<st::ReplyRecord>(record);
    const uint64_t next = set_.read(&body.next_record), previous = set_.read(&body.previous_record);
    if (next != 0) set_.write(&memory_.as<st::ReplyRecord>(next)->previous_record, previous);
    if (previous != 0) set_.write(&memory_.as<st::ReplyRecord>(previous)->next_record, next);
    else set_.write(&head, next);
    set_.write(record, record_word(true));
    items_.push_garbage(record);
}

/// Whether a reference, which comes from a ring, is that of a record of this owner: a chunk in use of its class whose
/// first word and owner say so. No other chunk begins like one.
bool Store::is_record(uint64_t owner, uint64_t reference) const {
    const uint64_t page = reference >> st::kPageShift;
    if (reference % 8 != 0 || page == 0 || page >= set_.read(&root().frontier) || page % st::kRegionPages == 0) return false;
    const auto state = st::PageState::from(set_.read(st::descriptor_at(page)));
    constexpr unsigned kClass = st::class_for(sizeof(st::ReplyRecord));
    if (state.kind != st::PageKind::slab || state.size_class != kClass) return false;
    const uint64_t within = reference % st::kPageBytes;
    if (within % st::class_bytes(kClass) != 0 || within / st::class_bytes(kClass) >= state.bump) return false;
    return set_.read(reference) == record_word(false) && set_.read(&memory_.as<st::ReplyRecord>(reference)->owner) == owner;
}

bool Store::release_record(unsigned channel, uint64_t record) {
    if (!is_record(channel + 1, record)) return false;
    unlink_record(root().channels[channel].records, record);
    return true;
}

void Store::reset_channel(unsigned channel, uint64_t generation) {
    const st::ChannelWords& words = root().channels[channel];
    set_.write(&words.generation, generation);
    set_cursors(channel, 0, 0);
    while (const uint64_t record = set_.read(&words.records)) unlink_record(words.records, record);
}

// --- the commit -------------------------------------------------------------------------------------------------------

bool Store::commit() {
    allocator_.settle();
    if (!committer_.reserve(set_)) {
        abandon();
        return false;
    }
    committer_.commit(set_);
    stream_number_ = 0;
    if (walk_.active) walk_.settle();
    if (pair_changed_) {
        pair_changed_ = false;
        window_.look();
    }
    return true;
}

void Store::abandon() {
    set_.clear();
    window_.end_operation();
    pair_changed_ = false;
    stream_number_ = 0;
    walk_.changes.clear();
    allocator_.abandon();
}

// --- slices -----------------------------------------------------------------------------------------------------------

bool Store::any_expiry() const {
    return std::any_of(root().databases.begin(), root().databases.end(),
                       [this](const st::DatabaseWords& words) { return set_.read(&words.expires) != 0; });
}

void Store::prefetch_expiring(uint64_t bucket_at) const {
    const auto& bucket = *memory_.as<st::Bucket>(bucket_at);
    for (unsigned expiring = bucket.slots_with_expiry(); expiring != 0; expiring &= expiring - 1)
        __builtin_prefetch(memory_.at(st::Slot::from(bucket.slot_bits(static_cast<unsigned>(__builtin_ctz(expiring)))).reference));
}

unsigned Store::expire_some(int64_t now_ms, unsigned work) {
    constexpr unsigned kBucketsAhead = 4;
    unsigned removed = 0;
    expire_pass_ended_ = false;
    for (unsigned done = 0; done < work && !expire_pass_ended_; ++done) {
        const st::Route route = index_.route_of(expire_database_);
        if (keys_with_expiry(expire_database_) == 0 || expire_entry_ >= 1ull << route.depth) {
            expire_database_ = (expire_database_ + 1) % kDatabases;
            expire_entry_ = expire_bucket_ = 0;
            expire_pass_ended_ = expire_database_ == 0;
            continue;
        }
        const uint64_t segment = index_.segment_at(route, expire_entry_);
        const uint64_t at = segment + expire_bucket_ * st::kBucketBytes;
        if (expire_bucket_ + kBucketsAhead < st::kBuckets) prefetch_expiring(at + kBucketsAhead * st::kBucketBytes);
        const st::Bucket bucket = set_.read_bucket(at);
        unsigned here = 0;
        for (unsigned expiring = bucket.slots_with_expiry(); expiring != 0; expiring &= expiring - 1) {
            const auto slot = static_cast<unsigned>(__builtin_ctz(expiring));
            const st::Slot content = st::Slot::from(bucket.slot_bits(slot));
            done += kLookWork;
            if (items_.expiry_of(content.reference) > now_ms) continue;
            done += kRemovalWork;
            if (here++ == 0) oplog_.begin();
            oplog_.add_erase(expire_database_, items_.key_of(content.reference));
            erase_slot(expire_database_, {at, slot, content});
        }
        if (here != 0) {
            if (!end_record()) return abandon(), removed;
            if (!commit()) return removed;
            removed += here;
        }
        if (++expire_bucket_ < st::kBuckets) continue;
        expire_bucket_ = 0;
        const uint64_t span = 1ull << (route.depth - index_.depth_of_segment(segment));  // entries that name this segment
        expire_entry_ = (expire_entry_ & ~(span - 1)) + span;
    }
    return removed;
}

uint64_t Store::walk_keys(unsigned database, uint64_t position, uint64_t wanted, const KeyVisitor& visit) const {
    const st::Route route = index_.route_of(database);
    if (route.directory == 0) return 0;
    constexpr unsigned kHomeBits = 6;
    static_assert(1u << kHomeBits == st::kBuckets);
    unsigned home = position % st::kBuckets;
    uint64_t entry = position >> kHomeBits >> (kWalkDepth - route.depth);
    unsigned segments = 0;
    for (uint64_t seen = 0; seen < wanted && segments < kWalkSegments; ++segments) {
        if (entry >= 1ull << route.depth) return 0;
        const uint64_t segment = index_.segment_at(route, entry);
        // A key is in its home bucket or in the other one, so a segment is read whole, and its keys are put in order.
        std::array<std::vector<st::Slot>, st::kBuckets> by_home;
        for (unsigned which = 0; which < st::kBuckets; ++which) {
            const st::Bucket bucket = set_.read_bucket(segment + which * st::kBucketBytes);
            for (unsigned slot = 0; slot < st::kSlots; ++slot) {
                const st::Slot content = st::Slot::from(bucket.slot_bits(slot));
                if (content.reference != 0) by_home[st::KeyPlace{items_.hash_of(content.reference, root().hash_seed)}.first()].push_back(content);
            }
        }
        for (; home < st::kBuckets && seen < wanted; ++home)
            for (const st::Slot& content : by_home[home]) {
                visit(items_.key_of(content.reference), items_.value_of(content.reference));
                ++seen;
            }
        const uint64_t span = 1ull << (route.depth - index_.depth_of_segment(segment));  // entries that name this segment
        if (home < st::kBuckets) return (entry & ~(span - 1)) << (kWalkDepth - route.depth) << kHomeBits | home;
        home = 0;
        entry = (entry & ~(span - 1)) + span;
    }
    return entry >= 1ull << route.depth ? 0 : entry << (kWalkDepth - route.depth) << kHomeBits;
}

bool Store::evict(unsigned database, const FoundSlot& found) {
    oplog_.begin();
    oplog_.add_erase(database, items_.key_of(found.content.reference));
    erase_slot(database, found);
    if (!end_record()) return abandon(), false;
    return commit();
}

/// M3: the kind that is kept is kept no more.
bool Store::end_marks() {
    set_.write(&root().marks_kept, static_cast<uint64_t>(MarkKind::none));
    if (!commit()) return false;
    marks_ended_by_ = root().number;
    marks_.look(memory_);
    return true;
}

bool Store::tend_marks(unsigned limit) {
    const MarkKind wanted = marks_.wanted();
    if (!marks_wait()) return false;
    if (marks_.kept() != MarkKind::none && marks_.kept() != wanted && !end_marks()) return false;
    if (marks_tended_at_ != marks_.changes()) {
        marks_tended_ = false;
        marks_tended_at_ = marks_.changes();
        marks_page_ = 1;
    }
    if (wanted == MarkKind::none && marks_.is_empty()) marks_tended_ = true;
    if (marks_tended_) return false;
    if (marks_.kept() == MarkKind::none && !readers_.all_passed(marks_ended_by_)) return false;
    for (const uint64_t frontier = root().frontier; limit > 0 && marks_page_ < frontier; --limit, ++marks_page_) {
        if (!allocator_.is_index_page(marks_page_) || wanted == MarkKind::none) {
            marks_.give_page(marks_page_);
        } else if (marks_.kept() == MarkKind::none) {
            if (!marks_.take_page(marks_page_)) return false;
        } else if (!marks_.keep_page(marks_page_)) {
            // A page that has none, and no memory for them: what is kept is not what M2 says. It begins anew when there is memory.
            marks_page_ = 1;
            end_marks();
            return false;
        }
    }
    if (marks_page_ < root().frontier) return true;
    if (marks_.kept() != wanted) {
        set_.write(&root().marks_kept, static_cast<uint64_t>(wanted));
        if (!commit()) return false;
        marks_.look(memory_);
    }
    marks_tended_ = true;
    return false;
}

bool Store::free_database_slice(uint64_t garbage, unsigned limit) {
    const auto& cleared = *memory_.as<st::ClearedDatabase>(garbage);
    const st::Route route = st::Route::from(set_.read(&cleared.route));
    uint64_t entry = set_.read(&cleared.next_entry), bucket = set_.read(&cleared.next_bucket);
    for (unsigned freed = 0; freed < limit && entry < 1ull << route.depth;) {
        const uint64_t segment = index_.segment_at(route, entry);
        const st::Bucket content = set_.read_bucket(segment + bucket * st::kBucketBytes);
        for (unsigned slot = 0; slot < st::kSlots; ++slot)
            if (const st::Slot item = st::Slot::from(content.slot_bits(slot)); item.reference != 0) {
                items_.release(item.reference);
                ++freed;
            }
        if (++bucket < st::kBuckets) continue;
        bucket = 0;
        entry += 1ull << (route.depth - index_.depth_of_segment(segment));
        allocator_.free(segment);
        ++freed;
    }
    if (entry < 1ull << route.depth) {
        set_.write(&cleared.next_entry, entry);
        set_.write(&cleared.next_bucket, bucket);
        return false;
    }
    index_.free_directory(route);
    allocator_.free(garbage);
    return true;
}

bool Store::free_record_slice(uint64_t garbage, unsigned limit) {
    const uint64_t& first = memory_.as<st::ReplyRecord>(garbage)->first_chunk;
    uint64_t chunk = set_.read(&first);
    for (; limit > 0 && chunk != 0; --limit) {
        const auto& body = *memory_.as<st::ReplyChunk>(chunk);
        const uint64_t next = set_.read(&body.next_chunk), item = set_.read(&body.item);
        if (item != 0) items_.unpin(item);
        allocator_.free(chunk);
        chunk = next;
    }
    if (chunk != 0) {
        set_.write(&first, chunk);
        return false;
    }
    allocator_.free(garbage);
    return true;
}

bool Store::free_some(unsigned limit) {
    const uint64_t garbage = set_.read(&root().garbage);
    if (garbage == 0) return false;
    // Taken off the list first: what it refers to may be pushed while it is freed. It comes back if something is left.
    set_.write(&root().garbage, set_.read(garbage + offsetof(st::LargeItem, garbage_next)));
    const st::ItemType type = st::ItemHeader::from(set_.read(garbage)).type;
    bool done;
    if (type == st::ItemType::cleared_database) done = free_database_slice(garbage, limit);
    else if (type == st::ItemType::reply_record) done = free_record_slice(garbage, limit);
    else done = items_.free_large(garbage, limit);
    if (!done) items_.push_garbage(garbage);
    return commit();
}

bool Store::fill_reserve_some() { return allocator_.fill_reserve() && commit(); }

bool Store::give_back_some(unsigned limit) {
    if (!allocator_.give_back_holes(readers_)) return false;
    const unsigned released = allocator_.release_index_pages(readers_, limit);
    if (released != 0 && !commit()) return false;
    allocator_.give_back_marks();
    const unsigned retired = allocator_.retire_free_pages(free_pages_kept_, limit);
    if (retired != 0 && !commit()) return false;
    return allocator_.give_back_holes(readers_) && (retired == limit || released == limit);
}

void Store::set_readers(Readers readers) {
    readers_ = readers;
    allocator_.find_index_pages(kIndexPagesLookedAt);
    allocator_.find_holes(2 * kGiveBackSlicePages);
}

}  // namespace millrace::md
