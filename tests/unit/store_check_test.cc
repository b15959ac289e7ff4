// The check: a store with something of everything is good, and each way of damaging it is reported, with no harm to who looks.
#include "md/store_check.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::kNoExpiry;

namespace {

/// A store with small and large keys, expiries, replies, garbage, free pages and holes.
struct Fixture {
    Fixture() {
        for (int i = 0; i < 3000; ++i) REQUIRE(store.set("key" + std::to_string(i), std::string(60, 'v'), i % 10 == 0 ? 5000 : kNoExpiry));
        REQUIRE(store.set("in database 1", "v", kNoExpiry, 1));
        REQUIRE(store.set("large", std::string(200000, 'l')));
        REQUIRE(store.set("pinned", std::string(200000, 'p')));
        REQUIRE(store.set("gone", std::string(200000, 'g')));
        for (const char* key : {"pinned", "gone"}) records.push_back(reply(key));
        records.push_back(reply(""));
        REQUIRE(store.erase("gone"));
        REQUIRE(store.set("garbage", std::string(300000, 'x')));
        REQUIRE(store.set("more", std::string(100 * st::kPageBytes, 'x')));
        REQUIRE(store.erase("more"));
        store.collect();
        while (store->give_back_some(8)) {}
        REQUIRE(store.erase("garbage"));
        for (int i = 0; i < 300; ++i) REQUIRE(store.set("key" + std::to_string(i), std::string(100, 'w'), kNoExpiry, 9));
        REQUIRE(store.clear(9));
        for (int i = 0; i < 100; ++i) REQUIRE(store.erase("key" + std::to_string(i)));
        REQUIRE(store->free_some(10));
    }
    uint64_t reply(std::string_view key) {
        const uint64_t item = key.empty() ? 0 : store.reference_of(key);
        const md::ReplyPart parts[2] = {{"first", item, item == 0 ? 0 : 200000u}, {"second", 0, 0}};
        uint64_t record = 0;
        REQUIRE(store.operation([&] { return (record = store->add_record(3, parts)) != 0; }));
        return record;
    }
    const md::StoreMemory& memory() { return store.memory(); }
    st::Root& root() { return store.root(); }
    template <class T>
    T& as(uint64_t reference) { return *memory().as<T>(reference); }
    uint64_t item(std::string_view key) { return store.reference_of(key); }
    uint64_t segment(std::string_view key) { return store.segment_of(key); }
    st::PageDescriptor& descriptor(uint64_t page) { return as<st::PageDescriptor>(st::descriptor_at(page)); }
    /// Changes the state of a page.
    void change(uint64_t page, const std::function<void(st::PageState&)>& how) {
        st::PageState state = st::PageState::from(descriptor(page).state);
        how(state);
        descriptor(page).state = state.word();
    }
    /// The page where a key's item is.
    uint64_t page(std::string_view key) { return item(key) >> st::kPageShift; }
    void set_slot(const md::FoundSlot& slot, uint64_t bits) { as<st::Bucket>(slot.bucket_at).set_slot_bits(slot.slot, bits); }
    void set_slot(std::string_view key, st::Slot content) { set_slot(store.slot_of(key), content.bits()); }
    st::Slot slot(std::string_view key) { return store.slot_of(key).content; }
    st::Route route() { return st::Route::from(root().databases[0].route); }
    uint32_t* entries() { return memory().as<uint32_t>(route().directory); }
    /// Makes the directory a table of four entries for three pages; entries() are the table's then.
    void make_deep() {
        while (route().depth < st::kDirectoryChunkDepthMax + 2) REQUIRE(store->split(0, {0}));
        REQUIRE(entries()[0] != entries()[1]);
        REQUIRE(entries()[2] == entries()[3]);
        REQUIRE(store.faults() == "");
    }
    /// A page of a kind, in no particular place.
    uint64_t page_of_kind(st::PageKind kind) {
        for (uint64_t number = 1; number < root().frontier; ++number)
            if (number % st::kRegionPages != 0 && st::PageState::from(descriptor(number).state).kind == kind) return number;
        FAIL("no such page");
        return 0;
    }
    /// A slab page with a free chunk in its list.
    uint64_t page_with_free_chunk() {
        for (uint64_t number = 1; number < root().frontier; ++number)
            if (const auto state = st::PageState::from(descriptor(number).state); state.kind == st::PageKind::slab && state.free_head != 0) return number;
        FAIL("no such page");
        return 0;
    }
    /// The first entry of the garbage list of a type.
    uint64_t garbage(st::ItemType type) {
        for (uint64_t at = root().garbage; at != 0; at = as<st::LargeItem>(at).garbage_next)
            if (as<st::ItemHeader>(at).type == type) return at;
        FAIL("no such garbage");
        return 0;
    }
    bool reports(const std::string& part) { return contains(store.faults(), part); }

    TestStore store;
    std::vector<uint64_t> records;
};

}  // namespace

TEST_CASE("check: a good store has no faults, and is counted") {
    Fixture fixture;
    const md::StoreReport report = fixture.store.report();
    CHECK(fixture.store.faults() == "");
    CHECK(report.good());
    CHECK(report.keys == 2900 + 2 + 1);
    CHECK(report.expires == 290);
    CHECK(report.records == 3);
    CHECK(report.garbage == 2);
    CHECK(report.free_pages >= 60);
    CHECK(report.holes > 10);
    CHECK(report.index_segments > 5);
    CHECK(report.pages > 10);
}

TEST_CASE("check: an empty store is good, and one that was emptied") {
    TestStore empty;
    CHECK(empty.faults() == "");
    Fixture fixture;
    for (unsigned database = 0; database < st::kDatabases; ++database) REQUIRE(fixture.store.clear(database));
    REQUIRE(fixture.store.operation([&] {
        fixture.store->reset_channel(3, 1);
        return true;
    }));
    fixture.store.collect();
    fixture.store->give_back_some(~0u);
    CHECK(fixture.store.faults() == "");
    CHECK(fixture.store.report().pages == 0);
    CHECK(fixture.root().used_bytes == 0);
}

TEST_CASE("check: every kind of damage is reported") {
    struct Damage {
        const char* what;
        std::function<void(Fixture&)> how;
        const char* report;
    };
    const std::vector<Damage> damages = {
        {"a list is left", [](Fixture& f) { f.root().committed = f.root().number; }, "a committed list is not applied"},
        {"the frontier is too far", [](Fixture& f) { f.root().frontier = f.memory().pages() + 1; }, "the frontier is page"},
        {"the frontier is nowhere", [](Fixture& f) { f.root().frontier = 0; }, "the frontier is page 0"},

        {"a page of no kind", [](Fixture& f) { f.change(f.page("key500"), [](st::PageState& s) { s.kind = st::PageKind::none; }); }, "has no kind"},
        {"a page of a kind that is none", [](Fixture& f) { f.change(f.page("key500"), [](st::PageState& s) { s.kind = st::PageKind{77}; }); }, "has no kind"},
        {"a page of a class that is none", [](Fixture& f) { f.change(f.page("key500"), [](st::PageState& s) { s.size_class = 200; }); }, "has size class 200"},
        {"a page of another class", [](Fixture& f) { f.change(f.page("key500"), [](st::PageState& s) { ++s.size_class; }); }, "is not a chunk in use"},
        {"more chunks than a page has", [](Fixture& f) { f.change(f.page("key500"), [](st::PageState& s) { s.bump = 60000; }); }, "60000 chunks were used"},
        {"a chunk too many in use", [](Fixture& f) { f.change(f.page("key500"), [](st::PageState& s) { ++s.used; }); }, "chunks used and"},
        {"a chunk in use too many, and one less was never used",
         [](Fixture& f) { f.change(f.page("key2999"), [](st::PageState& s) { ++s.used; ++s.bump; }); }, "chunks in use"},
        {"a free chunk that was never used", [](Fixture& f) { f.change(f.page_with_free_chunk(), [](st::PageState& s) { s.free_head = 65535; }); },
         "the list of its free chunks is broken at chunk 65534"},
        {"a list of free chunks that is a circle",
         [](Fixture& f) {
             const uint64_t page = f.page_with_free_chunk();
             const auto state = st::PageState::from(f.descriptor(page).state);
             f.memory().store(page * st::kPageBytes + (state.free_head - 1u) * st::class_bytes(state.size_class) + st::link_offset(state.size_class),
                              state.free_head);
         },
         "the list of its free chunks is broken"},
        {"a list of free chunks that is lost", [](Fixture& f) { f.change(f.page_with_free_chunk(), [](st::PageState& s) { s.free_head = 0; }); }, "chunks used and 0 free"},

        {"free pages that are none", [](Fixture& f) { f.root().free_pages = f.page("key500") | 1ull << 32; }, "the list of free pages is broken"},
        {"free pages beyond the frontier", [](Fixture& f) { f.root().free_pages = 0xfffff | 1ull << 32; }, "the list of free pages is broken"},
        {"free pages that are a circle",
         [](Fixture& f) { f.descriptor(f.root().free_pages & 0xffffffff).next = static_cast<uint32_t>(f.root().free_pages); }, "the list of free pages is broken"},
        {"free pages that are lost", [](Fixture& f) { f.root().free_pages = 0; }, "is free and in no list"},
        {"free pages miscounted", [](Fixture& f) { f.root().free_pages += 1ull << 32; }, "the list of free pages has"},
        {"holes that are none", [](Fixture& f) { f.root().holes = f.root().free_pages; }, "the list of holes is broken"},
        {"holes that are lost", [](Fixture& f) { f.root().holes = 0; }, "is free and in no list"},
        {"holes miscounted", [](Fixture& f) { f.root().holes -= 1ull << 32; }, "the list of holes has"},
        {"pages with room that are lost",
         [](Fixture& f) { f.root().partial[st::class_for(8 + 60 + 7)] = 0; }, "not in the list of pages with room"},
        {"pages with room of another class", [](Fixture& f) { f.root().partial[st::kItemClasses - 1] = f.page("key500"); }, "pages with room of class 78 is broken"},
        {"pages with room that lead back", [](Fixture& f) { ++f.descriptor(f.root().partial[st::class_for(8 + 60 + 7)]).previous; }, "pages with room of class"},
        {"a full page among those with room",
         [](Fixture& f) {
             for (uint64_t page = 1; page < f.root().frontier; ++page) {
                 const auto state = st::PageState::from(f.descriptor(page).state);
                 if (state.kind != st::PageKind::slab || state.used != st::kPageBytes / st::class_bytes(state.size_class)) continue;
                 const uint64_t first = f.root().partial[state.size_class];
                 f.descriptor(page).next = static_cast<uint32_t>(first);
                 f.descriptor(page).previous = 0;
                 if (first != 0) f.descriptor(first).previous = static_cast<uint32_t>(page);
                 f.root().partial[state.size_class] = page;
                 return;
             }
             FAIL("no full page");
         },
         "is in the list of pages with room"},
        {"bytes miscounted", [](Fixture& f) { f.root().used_bytes += 8; }, "are counted"},

        {"a directory out of the segment", [](Fixture& f) { f.root().databases[0].route = st::Route{1ull << 40, 3}.word(); }, "a directory at 1099511627776 is not in any page"},
        {"a directory of an impossible depth", [](Fixture& f) { f.root().databases[0].route = st::Route{f.route().directory, 60}.word(); }, "has depth 60"},
        {"a directory deeper than its chunk", [](Fixture& f) { f.root().databases[0].route = st::Route{f.route().directory, 14}.word(); }, "a directory at"},
        {"a directory of two levels that is none", [](Fixture& f) { f.root().databases[0].route = st::Route{f.route().directory, 15}.word(); }, "a directory's page at"},
        {"a directory's page in two places", [](Fixture& f) { f.make_deep(); f.entries()[1] = f.entries()[0]; }, "a directory's page at"},
        {"a directory's page named by half of its entries", [](Fixture& f) { f.make_deep(); f.entries()[3] = f.entries()[1]; }, "does not name the directory's page"},
        {"a directory's page that tells too much apart", [](Fixture& f) { f.make_deep(); f.entries()[1] += 1u << st::DirectoryPage::kPageBits; }, "has a prefix of 3 bits"},
        {"a directory's page that begins in the middle", [](Fixture& f) { f.make_deep(); f.entries()[1] -= 1u << st::DirectoryPage::kPageBits; }, "has a prefix of 1 bits at entry 16384"},
        {"one directory for two databases", [](Fixture& f) { f.root().databases[5].route = f.root().databases[0].route; }, "is reached twice"},
        {"a directory that is lost", [](Fixture& f) { f.root().databases[0].route = 0; }, "are reached"},
        {"an entry without a segment", [](Fixture& f) { f.entries()[0] = 0; }, "an index segment at 0 is not in any page"},
        {"an entry that names a free page", [](Fixture& f) { f.entries()[0] = static_cast<uint32_t>((f.root().free_pages & 0xffffffff) * 16); }, "is not a chunk in use"},
        {"an entry that names a segment of others",
         [](Fixture& f) {
             const uint64_t last = (1ull << f.route().depth) - 1;
             f.entries()[last] = f.entries()[0];
         },
         "segment"},
        {"a segment too deep", [](Fixture& f) { f.as<uint8_t>(f.segment("key500") + st::kDepthAt) = 40; }, "has depth 40 under a directory of"},
        {"a segment too shallow", [](Fixture& f) { f.as<uint8_t>(f.segment("key500") + st::kDepthAt) = 0; }, "segment"},

        {"an odd version", [](Fixture& f) { ++f.as<uint64_t>(f.store.slot_of("key500").bucket_at); }, "has version"},
        {"a version of the future", [](Fixture& f) { f.as<uint64_t>(f.store.slot_of("key500").bucket_at) = 2 * f.root().number + 2; }, "has version"},
        {"a slot with a tag only", [](Fixture& f) { f.set_slot("key500", {3, false, 0}); }, "has an empty slot with a tag"},
        {"a slot with another tag", [](Fixture& f) { st::Slot s = f.slot("key500"); s.tag ^= 1; f.set_slot("key500", s); }, "where it is not looked for"},
        {"a slot in another segment",
         [](Fixture& f) {
             const md::FoundSlot a = f.store.slot_of("key500");
             for (int i = 501;; ++i) {
                 const std::string other = "key" + std::to_string(i);
                 const md::FoundSlot b = f.store.slot_of(other);
                 if (f.segment("key500") == f.segment(other)) continue;
                 f.set_slot(a, b.content.bits());
                 f.set_slot(b, a.content.bits());
                 return;
             }
         },
         "where it is not looked for"},
        {"a slot that says nothing of an expiry", [](Fixture& f) { st::Slot s = f.slot("key510"); s.expires = false; f.set_slot("key510", s); }, "disagree about an expiry"},
        {"a slot that says too much of one", [](Fixture& f) { st::Slot s = f.slot("key511"); s.expires = true; f.set_slot("key511", s); }, "disagree about an expiry"},
        {"a slot that is lost", [](Fixture& f) { f.set_slot("key500", {}); }, "keys and says"},
        {"two slots with one item",
         [](Fixture& f) {
             const md::FoundSlot found = f.store.slot_of("key500");
             const uint64_t at = f.segment("key500") + st::KeyPlace::other_bucket(static_cast<unsigned>(found.bucket_at / 64 % 64), found.content.tag) * 64;
             f.set_slot({at, 3, {}}, found.content.bits());
         },
         "is reached twice"},
        {"a slot beyond the frontier", [](Fixture& f) { f.set_slot("key500", {1, false, f.root().frontier << st::kPageShift}); }, "is not in any page"},
        {"a slot into the middle of a chunk", [](Fixture& f) { st::Slot s = f.slot("key500"); s.reference += 8; f.set_slot("key500", s); }, "is not a chunk in use"},
        {"a slot into a free page", [](Fixture& f) { f.set_slot("key500", {1, false, (f.root().free_pages & 0xffffffff) << st::kPageShift}); }, "is not a chunk in use"},
        {"a slot into a hole", [](Fixture& f) { f.set_slot("key500", {1, false, (f.root().holes & 0xffffffff) << st::kPageShift}); }, "is not a chunk in use"},
        {"a slot into the journal", [](Fixture& f) { f.set_slot("key500", {1, false, st::kJournalAt}); }, "is not a chunk in use"},
        {"keys miscounted", [](Fixture& f) { ++f.root().databases[1].keys; }, "database 1 has 1 keys and says 2"},
        {"expiries miscounted", [](Fixture& f) { --f.root().databases[0].expires; }, "database 0 has 290 keys with an expiry and says 289"},
        {"a key twice",
         [](Fixture& f) {
             const std::string key = "key500";
             std::memcpy(f.memory().at(f.item("key501") + 8), key.data(), key.size());
         },
         "a key is there twice"},
        {"another key", [](Fixture& f) { f.as<char>(f.item("key501") + 8 + 5) ^= 1; }, "where it is not looked for"},

        {"an item longer than its chunk", [](Fixture& f) { f.as<st::ItemHeader>(f.item("key500")).value_length = 1u << 30; }, "is longer than its chunk"},
        {"a key longer than its chunk", [](Fixture& f) { f.as<st::ItemHeader>(f.item("key500")).key_length = 0xffff; }, "is longer than its chunk"},
        {"a small item that says that it is large", [](Fixture& f) { f.as<st::ItemHeader>(f.item("key500")).flags |= st::kLarge; }, "at"},
        {"a large item with too many pages", [](Fixture& f) { f.as<st::LargeItem>(f.item("large")).page_count = 1ull << 40; }, "is longer than its chunk"},
        {"a large item with an extent less", [](Fixture& f) { --f.as<st::LargeItem>(f.item("large")).page_count; }, "has lengths that are not those of its pages"},
        {"a large item of another length", [](Fixture& f) { f.as<st::LargeItem>(f.item("large")).value_length += 100000; }, "has lengths that are not those of its pages"},
        {"a large item with an endless key", [](Fixture& f) { f.as<st::LargeItem>(f.item("large")).key_length = ~0ull; }, "has lengths that are not those of its pages"},
        {"an extent beyond everything", [](Fixture& f) { f.as<uint32_t>(f.item("large") + sizeof(st::LargeItem)) = ~0u; }, "an extent at"},
        {"an extent that is in a list",
         [](Fixture& f) { f.as<uint32_t>(f.item("large") + sizeof(st::LargeItem)) = static_cast<uint32_t>(f.root().free_pages); }, "is in use and not reached"},
        {"an extent of two items",
         [](Fixture& f) {
             f.as<uint32_t>(f.item("large") + sizeof(st::LargeItem)) = f.as<uint32_t>(f.item("pinned") + sizeof(st::LargeItem));
         },
         "an extent at"},
        {"a tail that is lost", [](Fixture& f) { f.as<st::LargeItem>(f.item("large")).tail = 0; }, "are reached"},
        {"a tail that is no chunk", [](Fixture& f) { f.as<st::LargeItem>(f.item("large")).tail += 8; }, "a large value's tail at"},

        {"a pin too many", [](Fixture& f) { ++f.as<st::LargeItem>(f.item("large")).pins; }, "is pinned 0 times and says 1"},
        {"a pin too few", [](Fixture& f) { --f.as<st::LargeItem>(f.item("pinned")).pins; }, "is pinned 1 times and says 0"},
        {"an item that no slot has and that does not say so",
         [](Fixture& f) {
             const uint64_t chunk = f.as<st::ReplyRecord>(f.records[1]).first_chunk;
             f.as<st::LargeItem>(f.as<st::ReplyChunk>(chunk).item).pins = 1;
         },
         "says that a slot has it"},
        {"a reply that refers to nothing",
         [](Fixture& f) { f.as<st::ReplyChunk>(f.as<st::ReplyRecord>(f.records[0]).first_chunk).item = 1ull << 45; }, "an item at 35184372088832 is not in any page"},
        {"a reply that refers to a hole",
         [](Fixture& f) { f.as<st::ReplyChunk>(f.as<st::ReplyRecord>(f.records[0]).first_chunk).item = (f.root().holes & 0xffffffff) << st::kPageShift; },
         "which is not a large value"},
        {"a reply that refers to a small item",
         [](Fixture& f) { f.as<st::ReplyChunk>(f.as<st::ReplyRecord>(f.records[0]).first_chunk).item = f.item("key500"); }, "which is not a large value"},
        {"a reply without its chunks", [](Fixture& f) { f.as<st::ReplyRecord>(f.records[2]).first_chunk = 0; }, "are reached"},
        {"a chunk of a reply that is none", [](Fixture& f) { f.as<st::ReplyRecord>(f.records[2]).first_chunk += 8; }, "a chunk of a reply at"},
        {"a chunk of a reply that is longer than its chunk",
         [](Fixture& f) { f.as<st::ReplyChunk>(f.as<st::ReplyRecord>(f.records[2]).first_chunk).bytes = 1u << 20; }, "a chunk of a reply at"},
        {"chunks of a reply that are a circle",
         [](Fixture& f) {
             const uint64_t chunk = f.as<st::ReplyRecord>(f.records[2]).first_chunk;
             f.as<st::ReplyChunk>(chunk).next_chunk = chunk;
         },
         "is reached twice"},
        {"a list of replies that leads back elsewhere", [](Fixture& f) { f.as<st::ReplyRecord>(f.records[1]).previous_record = 0; }, "the list of its records is broken"},
        {"a list of replies that is a circle", [](Fixture& f) { f.as<st::ReplyRecord>(f.records[0]).next_record = f.records[2]; }, "a reply record at"},
        {"replies that are lost", [](Fixture& f) { f.root().channels[3].records = 0; }, "are reached"},
        {"replies of two channels", [](Fixture& f) { f.root().channels[9].records = f.root().channels[3].records; }, "is reached twice"},
        {"replies that are nowhere", [](Fixture& f) { f.root().channels[9].records = 12345; }, "a reply record at 12345"},

        {"garbage that is nowhere", [](Fixture& f) { f.root().garbage = 1ull << 44; }, "an entry of the garbage list at"},
        {"garbage in a hole", [](Fixture& f) { f.root().garbage = (f.root().holes & 0xffffffff) << st::kPageShift; }, "an entry of the garbage list at"},
        {"garbage that is lost", [](Fixture& f) { f.root().garbage = 0; }, "are reached"},
        {"garbage that is a circle",
         [](Fixture& f) {
             const uint64_t last = f.garbage(st::ItemType::string);
             f.as<st::LargeItem>(last).garbage_next = last;
         },
         "is reached twice"},
        {"a cleared database that goes on at the wrong place",
         [](Fixture& f) { f.as<st::ClearedDatabase>(f.garbage(st::ItemType::cleared_database)).next_bucket = 0; }, "is not a chunk in use"},
        {"a cleared database that goes on too late",
         [](Fixture& f) { f.as<st::ClearedDatabase>(f.garbage(st::ItemType::cleared_database)).next_bucket += 20; }, "are reached"},
        {"a cleared database that is of everybody",
         [](Fixture& f) { f.as<st::ClearedDatabase>(f.garbage(st::ItemType::cleared_database)).route = f.root().databases[0].route; }, "is reached twice"},
        {"garbage that does not say so", [](Fixture& f) { f.as<st::LargeItem>(f.garbage(st::ItemType::string)).pins = st::kUnlinked; }, "says otherwise"},
        {"a large item that says that it is garbage", [](Fixture& f) { f.as<st::LargeItem>(f.item("large")).pins = st::kUnlinked | st::kInGarbage; }, "says otherwise"},
        {"a small item in the garbage",
         [](Fixture& f) { f.root().garbage = f.item("key500"); }, "is reached twice"},
        {"garbage that a slot has too", [](Fixture& f) { f.set_slot("key500", {1, false, f.garbage(st::ItemType::string)}); }, "is reached twice"},
    };
    Fixture fixture;
    const TestMemory::Image good = fixture.store.space.image();
    for (const auto& [what, how, report] : damages) {
        CAPTURE(std::string(what));
        how(fixture);
        const std::string faults = fixture.store.faults();
        CHECK_FALSE(faults.empty());
        CHECK_MESSAGE(contains(faults, report), std::string(report) << " is not in\n" << faults);
        fixture.store.space.restore(good);
    }
    CHECK(fixture.store.faults() == "");
}

TEST_CASE("check: no more than so many faults are told") {
    Fixture fixture;
    for (int i = 100; i < 300; ++i) fixture.set_slot("key" + std::to_string(i), {});
    for (unsigned database = 0; database < st::kDatabases; ++database) fixture.root().databases[database].keys += 7;
    for (uint64_t bucket = 0; bucket < st::kBuckets; ++bucket) ++fixture.as<uint64_t>(fixture.segment("key500") + bucket * st::kBucketBytes);
    CHECK(fixture.store.report().faults.size() == md::StoreReport::kFaultsMax);
}

TEST_CASE("check: random damage of what others refer to does no harm to who looks") {
    Random random;
    INFO("SEED=" << random.seed);
    Fixture fixture;
    const TestMemory::Image good = fixture.store.space.image();
    const uint64_t frontier = fixture.root().frontier;
    const std::vector<std::pair<uint64_t, uint64_t>> places = {
        {fixture.memory().offset_of(&fixture.root()), sizeof(st::Root)},
        {st::kDescriptorsAt, fixture.root().frontier * sizeof(st::PageDescriptor)},
        {fixture.segment("key500"), st::kIndexSegmentBytes},
        {fixture.route().directory, 4ull << fixture.route().depth},
        {fixture.item("large"), sizeof(st::LargeItem) + 16},
        {fixture.item("key500"), 8},
        {fixture.records[0], sizeof(st::ReplyRecord)},
        {fixture.as<st::ReplyRecord>(fixture.records[0]).first_chunk, sizeof(st::ReplyChunk)},
        {fixture.root().garbage, sizeof(st::ClearedDatabase)},
        {fixture.garbage(st::ItemType::string), sizeof(st::LargeItem)},
    };
    CHECK(survives([&] {
        fixture.store.space.uncover();
        for (int round = 0; round < 150; ++round) {
            for (uint64_t i = 1 + random.below(3); i > 0; --i) {
                const auto [from, bytes] = places[random.below(places.size())];
                const uint64_t at = from + random.below(bytes / 8) * 8;
                uint64_t word = fixture.memory().load(at);
                switch (random.below(4)) {
                    case 0: word = random.below(~uint64_t{0}); break;
                    case 1: word ^= 1ull << random.below(64); break;
                    case 2: word += 8 * random.below(3); break;
                    default: word = fixture.memory().load(from + random.below(bytes / 8) * 8); break;
                }
                fixture.memory().store(at, word);
            }
            // Descriptors that are not there are a mapping without memory behind it, which is no matter of the check.
            fixture.root().frontier = std::min(fixture.root().frontier, frontier);
            md::check_store(fixture.memory());
            fixture.store.space.restore(good);
        }
    }));
}
