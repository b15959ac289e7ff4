// See store_check.h. Runs in md, `millrace check` and tests.
#include "md/store_check.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "md/items.h"

namespace millrace::md {

namespace {

class Walk {
  public:
    explicit Walk(const StoreMemory& memory) : memory_(memory), set_(memory), allocator_(memory, set_), items_(memory, set_, allocator_) {}

    StoreReport run() {
        if (root().committed.load(std::memory_order_relaxed) != 0) fault("a committed list is not applied");
        if (root().live_version % 2 != 0 || root().live_version > 2 * root().number)
            fault("the live options have version {} after commit {}", root().live_version, root().number);
        for (const st::LiveText& text : root().live_texts)
            if (text.length > st::kLiveTextBytesMax) fault("a live option has {} bytes", text.length);
        if (root().frontier > memory_.pages() || root().frontier < 2) {
            fault("the frontier is page {}, the segment has {}", root().frontier, memory_.pages());
            return std::move(report_);
        }
        look_at_pages();
        page_list(root().free_pages, st::PageKind::free, report_.free_pages, "free pages");
        page_list(root().holes, st::PageKind::hole, report_.holes, "holes");
        for (unsigned database = 0; database < st::kDatabases; ++database) walk_database(database);
        walk_garbage();
        for (unsigned channel = 0; channel < kMaxIoConns; ++channel) walk_records(fmt::format("channel {}", channel), root().channels[channel].records);
        walk_records("the oplog", root().oplog_records);
        walk_window();
        compare_pins();
        compare_pages();
        return std::move(report_);
    }

  private:
    struct Page {
        st::PageState state;
        uint32_t reached = 0;
        bool listed = false;
        std::unordered_set<uint32_t> free;
    };

    template <class... Values>
    void fault(std::string_view text, const Values&... values) {
        if (report_.faults.size() < StoreReport::kFaultsMax) report_.faults.push_back(fmt::format(fmt::runtime(text), values...));
    }
    const st::Root& root() const { return memory_.root(); }
    st::ItemHeader header_of(uint64_t reference) const { return *memory_.as<st::ItemHeader>(reference); }

    void look_at_pages() {
        for (uint64_t number = 0; number < root().frontier; ++number) {
            if (number % st::kRegionPages == 0) continue;
            const auto state = st::PageState::from(memory_.load(st::descriptor_at(number)));
            Page& page = pages_[number];
            page.state = state;
            index_pages_ += state.kind == st::PageKind::slab && state.size_class == st::kIndexClass;
            if (state.kind == st::PageKind::slab) look_at_slab(number, page);
            else if (state.kind == st::PageKind::none || state.kind > st::PageKind::system) fault("page {} has no kind", number);
            report_.pages += state.kind == st::PageKind::slab || state.kind == st::PageKind::whole;
        }
    }
    void look_at_slab(uint64_t number, Page& page) {
        if (page.state.size_class >= st::kClasses) return fault("page {} has size class {}", number, page.state.size_class);
        const uint32_t bytes = st::class_bytes(page.state.size_class);
        const uint64_t count = st::kPageBytes / bytes;
        if (page.state.bump > count) return fault("page {}: {} chunks were used and {} are there", number, page.state.bump, count);
        for (uint32_t next = page.state.free_head; next != 0;) {
            const uint32_t index = next - 1;
            if (index >= page.state.bump || !page.free.insert(index).second)
                return fault("page {}: the list of its free chunks is broken at chunk {}", number, index);
            next = static_cast<uint16_t>(memory_.load((number << st::kPageShift) + uint64_t{index} * bytes +
                                                      st::link_offset(page.state.size_class)));
        }
        if (page.state.used + page.free.size() != page.state.bump)
            fault("page {}: {} chunks used and {} free are not {}", number, page.state.used, page.free.size(), page.state.bump);
    }
    void page_list(uint64_t word, st::PageKind kind, uint64_t& count, const char* name) {
        for (uint64_t number = word & 0xffffffff; number != 0;) {
            const auto at = pages_.find(number);
            if (at == pages_.end() || at->second.state.kind != kind || at->second.listed)
                return fault("the list of {} is broken at page {}", name, number);
            at->second.listed = true;
            ++count;
            number = memory_.load(st::descriptor_at(number) + 8) & 0xffffffff;
        }
        if (count != word >> 32) fault("the list of {} has {} pages and says {}", name, count, word >> 32);
    }

    bool in_used_page(uint64_t reference) const {
        const auto at = pages_.find(reference >> st::kPageShift);
        return at != pages_.end() && (at->second.state.kind == st::PageKind::slab || at->second.state.kind == st::PageKind::whole);
    }
    /// Bytes of a chunk or whole page that was reached.
    uint64_t room_of(uint64_t reference) const {
        const st::PageState& state = pages_.at(reference >> st::kPageShift).state;
        return state.kind == st::PageKind::slab ? st::class_bytes(state.size_class) : st::kPageBytes;
    }
    /// Counts a chunk or whole page of at least so many bytes as reached; false when it is not in use or was reached before.
    bool reach(uint64_t reference, const char* what, uint64_t least = 0) {
        const auto at = pages_.find(reference >> st::kPageShift);
        if (reference == 0 || at == pages_.end()) {
            fault("{} at {} is not in any page", what, reference);
            return false;
        }
        Page& page = at->second;
        if (page.state.kind == st::PageKind::slab && page.state.size_class >= st::kClasses) return false;  // was said
        const uint64_t bytes = room_of(reference);
        const uint64_t within = reference % st::kPageBytes;
        const bool in_use = page.state.kind == st::PageKind::whole ? within == 0
                            : page.state.kind == st::PageKind::slab && within % bytes == 0 && within / bytes < page.state.bump &&
                                  !page.free.contains(static_cast<uint32_t>(within / bytes));
        if (!in_use) {
            fault("{} at {} is not a chunk in use", what, reference);
            return false;
        }
        if (!reached_.insert(reference).second) {
            fault("{} at {} is reached twice", what, reference);
            return false;
        }
        ++page.reached;
        used_bytes_ += bytes;
        if (least > bytes) fault("{} at {} is longer than its chunk", what, reference);
        return least <= bytes;
    }

    /// False when the item cannot be read.
    bool reach_item(uint64_t reference, bool in_garbage = false) {
        if (!reach(reference, "an item", sizeof(st::ItemHeader))) return false;
        const st::ItemHeader header = header_of(reference);
        if ((header.flags & st::kLarge) == 0) {
            const uint64_t bytes = sizeof header + ((header.flags & st::kHasExpiry) != 0 ? 8 : 0) + header.key_length + header.value_length;
            if (bytes > room_of(reference)) fault("an item at {} is longer than its chunk", reference);
            return bytes <= room_of(reference);
        }
        const auto& item = *memory_.as<st::LargeItem>(reference);
        const uint64_t room = room_of(reference);
        if (room < sizeof item || item.page_count > (room - sizeof item) / sizeof(uint32_t)) {
            fault("an item at {} is longer than its chunk", reference);
            return false;
        }
        bool whole = item.tail == 0 || reach(item.tail, "a large value's tail");
        for (uint64_t i = 0; i < item.page_count; ++i)
            whole &= reach(uint64_t{memory_.as<uint32_t>(reference + sizeof item)[i]} << st::kPageShift, "an extent", st::kPageBytes);
        found_pins_[reference] = item.pins;
        if (in_garbage != ((item.pins & st::kInGarbage) != 0)) {
            fault("the large value at {} is {}in the garbage list and says otherwise", reference, in_garbage ? "" : "not ");
            return false;
        }
        if (!whole || in_garbage) return whole;  // of garbage some extents are gone already
        const uint64_t tail = item.key_length + item.value_length - item.page_count * st::kPageBytes;
        if (item.key_length > item.page_count * st::kPageBytes + st::kPageBytes || (item.tail == 0) != (tail == 0) ||
            (item.tail != 0 && tail > std::min(room_of(item.tail), st::kPageBytes - 1))) {
            fault("a large item at {} has lengths that are not those of its pages", reference);
            return false;
        }
        return true;
    }

    void walk_database(unsigned database) {
        const st::DatabaseWords& words = root().databases[database];
        const st::Route route = st::Route::from(words.route);
        uint64_t keys = 0, expires = 0;
        checksum_ = 0;
        if (route.directory != 0) walk_directory(route, 0, 0, &keys, &expires, database);
        if (root().checksums_kept != 0 && checksum_ != words.checksum)
            fault("database {} has the checksum {:016x} and says {:016x}: a key or a value is not what was written", database, checksum_, words.checksum);
        if (keys != words.keys) fault("database {} has {} keys and says {}", database, keys, words.keys);
        if (expires != words.expires) fault("database {} has {} keys with an expiry and says {}", database, expires, words.expires);
        report_.keys += keys;
        report_.expires += expires;
    }

    uint64_t segment_at(st::Route route, uint64_t entry) const {
        if (route.depth <= st::kDirectoryChunkDepthMax) return uint64_t{memory_.as<uint32_t>(route.directory)[entry]} * st::kIndexSegmentBytes;
        return uint64_t{*memory_.as<uint32_t>(page_at(route, entry).name_at(entry, route.depth))} * st::kIndexSegmentBytes;
    }
    st::DirectoryPage page_at(st::Route route, uint64_t entry) const {
        return st::DirectoryPage::from(memory_.as<uint32_t>(route.directory)[entry >> st::kDirectoryChunkDepthMax]);
    }

    /// The pages of a deep directory: false if one cannot be followed.
    bool walk_pages(st::Route route) {
        const unsigned table_depth = route.depth - st::kDirectoryChunkDepthMax;
        for (uint64_t entry = 0; entry < 1ull << route.depth;) {
            const st::DirectoryPage page = page_at(route, entry);
            if (!reach(page.page << st::kPageShift, "a directory's page", st::kPageBytes)) return false;
            const uint64_t span = page.prefix > table_depth ? 0 : 1ull << (route.depth - page.prefix);
            if (span == 0 || entry % span != 0) {
                fault("the directory's page {} has a prefix of {} bits at entry {} of a directory of {}", page.page, page.prefix, entry, route.depth);
                return false;
            }
            for (uint64_t i = entry; i < entry + span; i += 1ull << st::kDirectoryChunkDepthMax)
                if (page_at(route, i).word() != page.word()) {
                    fault("entry {} does not name the directory's page {}", i, page.page);
                    return false;
                }
            entry += span;
        }
        return true;
    }
    /// How deep a segment can be that this entry names.
    unsigned depth_limit(st::Route route, uint64_t entry) const {
        return route.depth <= st::kDirectoryChunkDepthMax ? route.depth : page_at(route, entry).prefix + st::kDirectoryChunkDepthMax;
    }

    /// `keys`: null for what remains of a cleared database, of which entries before first_entry and first_bucket are gone.
    void walk_directory(st::Route route, uint64_t first_entry, uint64_t first_bucket, uint64_t* keys, uint64_t* expires, unsigned database) {
        if (route.depth > 2 * st::kDirectoryChunkDepthMax) return fault("a directory at {} has depth {}", route.directory, route.depth);
        const bool deep = route.depth > st::kDirectoryChunkDepthMax;
        const uint64_t own_entries = 1ull << (deep ? route.depth - st::kDirectoryChunkDepthMax : route.depth);
        if (!reach(route.directory, "a directory", own_entries * sizeof(uint32_t))) return;
        if (deep && !walk_pages(route)) return;
        for (uint64_t entry = first_entry; entry < 1ull << route.depth;) {
            const uint64_t segment = segment_at(route, entry);
            if (!reach(segment, "an index segment", st::kIndexSegmentBytes)) return;
            ++report_.index_segments;
            const unsigned depth = *memory_.as<uint8_t>(segment + st::kDepthAt);
            if (const unsigned limit = depth_limit(route, entry); depth > limit)
                return fault("segment {} has depth {} under a directory of {}", segment, depth, limit);
            const uint64_t span = 1ull << (route.depth - depth);
            if (entry % span != 0) return fault("segment {} begins at entry {}", segment, entry);
            for (uint64_t i = 1; i < span; ++i)
                if (segment_at(route, entry + i) != segment) fault("entry {} does not name segment {}", entry + i, segment);
            for (unsigned bucket = entry == first_entry ? static_cast<unsigned>(first_bucket) : 0; bucket < st::kBuckets; ++bucket)
                walk_bucket(segment, bucket, route, entry, span, keys, expires, database);
            entry += span;
        }
    }

    void walk_bucket(uint64_t segment, unsigned number, st::Route route, uint64_t entry, uint64_t span, uint64_t* keys,
                     uint64_t* expires, unsigned database) {
        const st::Bucket bucket = *memory_.as<st::Bucket>(segment + number * st::kBucketBytes);
        if (bucket.version() % 2 != 0 || bucket.version() > 2 * root().number)
            fault("segment {} bucket {} has version {} after commit {}", segment, number, bucket.version(), root().number);
        for (unsigned slot = 0; slot < st::kSlots; ++slot) {
            const st::Slot content = st::Slot::from(bucket.slot_bits(slot));
            if (content.reference == 0) {
                if (bucket.slot_bits(slot) != 0) fault("segment {} bucket {} has an empty slot with a tag", segment, number);
                continue;
            }
            if (!reach_item(content.reference) || keys == nullptr) continue;
            ++*keys;
            *expires += content.expires;
            const std::string key = items_.key_of(content.reference);
            if (root().checksums_kept != 0) checksum_ += items_.checksum_of(KeyChecksum(key), items_.value_of(content.reference));
            const st::KeyPlace place{XXH3_64bits_withSeed(key.data(), key.size(), root().hash_seed)};
            if (place.tag() != content.tag || (place.first() != number && place.second() != number) ||
                place.entry(route.depth) / span != entry / span)
                fault("database {}: a key is in bucket {} of segment {}, where it is not looked for", database, number, segment);
            if (content.expires != (items_.expiry_of(content.reference) != kNoExpiry))
                fault("database {}: a slot and its item disagree about an expiry", database);
            if (!keys_.insert(std::to_string(database) + ":" + key).second) fault("database {}: a key is there twice", database);
        }
    }

    void walk_garbage() {
        for (uint64_t at = root().garbage; at != 0; at = memory_.as<st::LargeItem>(at)->garbage_next) {
            ++report_.garbage;
            if (!in_used_page(at)) return fault("an entry of the garbage list at {} is not a chunk in use", at);
            const st::ItemHeader header = header_of(at);
            if (header.type == st::ItemType::cleared_database) {
                if (!reach(at, "a cleared database", sizeof(st::ClearedDatabase))) return;
                const auto& cleared = *memory_.as<st::ClearedDatabase>(at);
                walk_directory(st::Route::from(cleared.route), cleared.next_entry, cleared.next_bucket, nullptr, nullptr, 0);
            } else if (header.type == st::ItemType::reply_record) {
                if (!reach_record(at)) return;
            } else if (!reach_item(at, true)) {
                return;
            }
        }
    }

    /// W1 and W2 of common/pair_layout.h.
    void walk_window() {
        const st::PairWords& words = root().pair;
        uint64_t previous = 0, number = 0, stream = 0, changes = 0, bytes = 0;
        bool first_seen = words.first_open == 0;
        for (uint64_t at = words.oldest; at != 0; previous = at, at = memory_.as<st::WindowEntry>(at)->newer) {
            if (!reach(at, "an entry of the open window", sizeof(st::WindowEntry))) return;
            const auto& entry = *memory_.as<st::WindowEntry>(at);
            if (entry.older != previous) return fault("the open window's list is broken at {}", at);
            if (entry.number < number || entry.stream < stream || entry.number > root().number) fault("the numbers of the open window do not rise at {}", at);
            number = entry.number, stream = entry.stream;
            first_seen |= at == words.first_open;
            ++changes, bytes += sizeof entry;
            if (entry.kind() == st::WindowKind::clear) {
                if (!reach(entry.was, "a database of the open window", sizeof(st::ClearedDatabase))) return;
                const auto& cleared = *memory_.as<st::ClearedDatabase>(entry.was);
                uint64_t keys = 0, expires = 0;
                const auto seen = std::move(keys_);  // keys of the same name may be there anew
                walk_directory(st::Route::from(cleared.route), 0, 0, &keys, &expires, entry.database());
                keys_ = std::move(seen);
                if (keys != entry.became || expires != entry.hash) fault("a cleared database in the open window has {} keys and says {}", keys, entry.became);
            } else if (entry.kind() == st::WindowKind::item && entry.was != 0) {
                if (!reach_item(entry.was)) return;
                bytes += items_.memory_of(entry.was);
            }
        }
        if (previous != words.newest || !first_seen) fault("the open window's ends are not those of its list");
        if (changes != words.changes || bytes != words.bytes) fault("the open window has {} changes of {} bytes and says {} of {}", changes, bytes, words.changes, words.bytes);
        if (words.first_open != 0 && words.shown >= memory_.as<st::WindowEntry>(words.first_open)->number) fault("more is shown than is confirmed");
    }

    bool reach_record(uint64_t record) {
        if (!reach(record, "a reply record", sizeof(st::ReplyRecord))) return false;
        for (uint64_t chunk = memory_.as<st::ReplyRecord>(record)->first_chunk; chunk != 0;) {
            if (!reach(chunk, "a chunk of a reply", sizeof(st::ReplyChunk))) return false;
            const auto& body = *memory_.as<st::ReplyChunk>(chunk);
            if (body.bytes > room_of(chunk) - sizeof body) fault("a chunk of a reply at {} is longer than its chunk", chunk);
            if (body.item != 0) ++expected_pins_[body.item];
            chunk = body.next_chunk;
        }
        return true;
    }
    void walk_records(const std::string& whose, uint64_t first) {
        uint64_t previous = 0;
        for (uint64_t at = first; at != 0;) {
            if (!reach_record(at)) return;
            ++report_.records;
            const auto& record = *memory_.as<st::ReplyRecord>(at);
            if (record.previous_record != previous) fault("{}: the list of its records is broken at {}", whose, at);
            previous = at;
            at = record.next_record;
        }
    }

    void compare_pins() {
        for (const auto& [item, pins] : expected_pins_) {
            if (found_pins_.contains(item)) continue;
            // One that no slot refers to any more is reached from the replies that pin it.
            reach_item(item);
            if (!found_pins_.contains(item)) fault("a reply refers to {}, which is not a large value", item);
            else if ((found_pins_[item] & st::kUnlinked) == 0) fault("the large value at {} is in replies only and says that a slot has it", item);
        }
        for (const auto& [item, word] : found_pins_) {
            const uint64_t pins = expected_pins_.contains(item) ? expected_pins_.at(item) : 0;
            if (st::pin_count(word) != pins) fault("the large value at {} is pinned {} times and says {}", item, pins, st::pin_count(word));
        }
    }

    void compare_pages() {
        for (const auto& [number, page] : pages_) {
            switch (page.state.kind) {
                case st::PageKind::slab:
                    if (page.reached != page.state.used)
                        fault("page {} of class {} has {} chunks in use, {} are reached", number, page.state.size_class, page.state.used, page.reached);
                    break;
                case st::PageKind::whole:
                    if (page.reached != 1) fault("page {} is in use and not reached", number);
                    break;
                case st::PageKind::free:
                case st::PageKind::hole:
                    if (!page.listed) fault("page {} is free and in no list", number);
                    break;
                default: break;
            }
        }
        if (index_pages_ != root().index_pages) fault("{} pages of index segments are there, {} are counted", index_pages_, root().index_pages);
        if (used_bytes_ != root().used_bytes) fault("{} bytes are in use, {} are counted", used_bytes_, root().used_bytes);
        for (unsigned size_class = 0; size_class < st::kClasses; ++size_class) walk_partial(size_class);
        for (const auto& [number, page] : pages_)
            if (page.state.kind == st::PageKind::slab && page.state.size_class < st::kClasses) {
                const bool has_room = page.state.used < st::kPageBytes / st::class_bytes(page.state.size_class);
                if (has_room != page.listed) fault("page {} of class {} is {}in the list of pages with room", number, page.state.size_class, has_room ? "not " : "");
            }
    }
    void walk_partial(unsigned size_class) {
        uint64_t previous = 0;
        for (uint64_t number = root().partial[size_class]; number != 0;) {
            const auto at = pages_.find(number);
            const uint64_t links = at == pages_.end() ? 0 : memory_.load(st::descriptor_at(number) + 8);
            if (at == pages_.end() || at->second.state.kind != st::PageKind::slab || at->second.state.size_class != size_class ||
                at->second.listed || links >> 32 != previous)
                return fault("the list of pages with room of class {} is broken at page {}", size_class, number);
            at->second.listed = true;
            previous = number;
            number = links & 0xffffffff;
        }
    }

    const StoreMemory& memory_;
    WriteSet set_;
    Allocator allocator_;
    Items items_;
    StoreReport report_;
    std::unordered_map<uint64_t, Page> pages_;
    std::unordered_set<uint64_t> reached_;
    std::unordered_set<std::string> keys_;
    std::unordered_map<uint64_t, uint64_t> expected_pins_, found_pins_;
    uint64_t used_bytes_ = 0, index_pages_ = 0, checksum_ = 0;
};

}  // namespace

StoreReport check_store(const StoreMemory& memory) { return Walk(memory).run(); }

}  // namespace millrace::md
