// The allocator: size classes, pages that go from class to class, free pages and holes, T4, and what happens without memory.
#include "md/allocator.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/unit/store_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

/// An allocator over a formatted store, with a commit behind each operation.
struct Fixture {
    explicit Fixture(uint64_t pages = TestMemory::kPagesDefault) : store(pages) {}

    void commit() {
        allocator.settle();
        REQUIRE(committer.reserve(set));
        committer.commit(set);
    }
    /// An operation of one allocation. The chunk is filled, as far as T4 lets its owner.
    uint64_t take(uint32_t bytes) {
        const uint64_t chunk = allocator.allocate(bytes);
        if (chunk != 0) fill(chunk, allocator.capacity_of(chunk));
        commit();
        return chunk;
    }
    void fill(uint64_t chunk, uint32_t bytes) { std::memset(store.memory().at(chunk + 8), 0x5a, bytes - 8); }
    void give(uint64_t chunk) {
        allocator.free(chunk);
        commit();
    }
    st::PageState state_of(uint64_t chunk) const {
        return st::PageState::from(store.memory().load(st::descriptor_at(page_of(chunk))));
    }
    uint64_t take_on_page(uint32_t bytes) { return page_of(take(bytes)); }
    static uint64_t page_of(uint64_t chunk) { return chunk >> st::kPageShift; }
    uint64_t free_pages() const { return store.root().free_pages >> 32; }
    uint64_t holes() const { return store.root().holes >> 32; }
    /// Faults that do not come from chunks that only the test refers to.
    std::string list_faults() const {
        std::string text;
        for (const std::string& fault : md::check_store(store.memory()).faults)
            if (!contains(fault, "reached") && !contains(fault, "are counted")) text += fault + "\n";
        return text;
    }

    TestStore store;
    md::WriteSet set{store.memory()};
    md::Committer committer{store.memory()};
    md::Allocator allocator{store.memory(), set};
};

}  // namespace

TEST_CASE("size classes: for each length the smallest class that holds it, an eighth wasted at most") {
    for (uint32_t bytes = 1; bytes <= st::kChunkBytesMax; ++bytes) {
        CAPTURE(bytes);
        const unsigned size_class = st::class_for(bytes);
        REQUIRE(size_class < st::kItemClasses);
        REQUIRE(st::class_bytes(size_class) >= bytes);
        if (size_class > 0) REQUIRE(st::class_bytes(size_class - 1) < bytes);
        if (bytes > 128) REQUIRE(st::class_bytes(size_class) - bytes < bytes / 8 + 1);
    }
    for (unsigned size_class = 0; size_class < st::kItemClasses; ++size_class) {
        REQUIRE(st::class_bytes(size_class) % 8 == 0);
        REQUIRE(st::class_for(st::class_bytes(size_class)) == size_class);
        REQUIRE(st::kPageBytes / st::class_bytes(size_class) <= 4096);
    }
    CHECK(st::class_bytes(st::kIndexClass) == st::kIndexSegmentBytes);
}

TEST_CASE("allocator: chunks have room, are aligned, do not overlap and are counted, for every length") {
    Fixture fixture;
    std::map<uint64_t, uint32_t> chunks;
    uint64_t used = 0;
    for (uint32_t bytes = 1; bytes <= st::kPageBytes; bytes += bytes < 300 ? 1 : bytes / 9) {
        CAPTURE(bytes);
        const uint64_t chunk = fixture.take(bytes);
        REQUIRE(chunk != 0);
        REQUIRE(chunk % 8 == 0);
        const uint32_t capacity = fixture.allocator.capacity_of(chunk);
        REQUIRE(capacity >= bytes);
        REQUIRE(chunk % st::kPageBytes + capacity <= st::kPageBytes);
        chunks[chunk] = capacity;
        used += capacity;
        REQUIRE(fixture.store.root().used_bytes == used);
    }
    uint64_t end = 0;
    for (const auto& [chunk, capacity] : chunks) {
        REQUIRE(chunk >= end);
        end = chunk + capacity;
    }
    CHECK(fixture.list_faults() == "");
    for (const auto& [chunk, capacity] : chunks) fixture.give(chunk);
    CHECK(fixture.store.root().used_bytes == 0);
    CHECK(fixture.store.faults() == "");
}

TEST_CASE("allocator: more than a page is our own bug") {
    Fixture fixture;
    CHECK_FALSE(survives([&] { fixture.allocator.allocate(st::kPageBytes + 1); }));
}

TEST_CASE("allocator: random chunks taken and given in operations of many, some of them given up, against a list of what is in use") {
    Random random;
    INFO("SEED=" << random.seed);
    Fixture fixture;
    std::map<uint64_t, uint32_t> in_use;  // by offset
    uint64_t used = 0;
    const auto overlaps = [&](uint64_t chunk, uint32_t capacity) {
        const auto next = in_use.lower_bound(chunk);
        if (next != in_use.end() && next->first < chunk + capacity) return true;
        return next != in_use.begin() && std::prev(next)->first + std::prev(next)->second > chunk;
    };
    const auto take = [&] {
        static constexpr uint32_t kLimits[] = {16, 130, 1000, 5000, 32768, 65536};
        const bool index = random.below(20) == 0;
        const uint64_t chunk = index ? fixture.allocator.allocate_index_segment()
                                     : fixture.allocator.allocate(static_cast<uint32_t>(1 + random.below(kLimits[random.below(std::size(kLimits))])));
        REQUIRE(chunk != 0);
        const uint32_t capacity = fixture.allocator.capacity_of(chunk);
        REQUIRE_FALSE(overlaps(chunk, capacity));
        in_use[chunk] = capacity;
        used += capacity;
        fixture.set.write(chunk + (index ? st::link_offset(st::kIndexClass) : 0), ~uint64_t{0});  // T4
        if (!index) fixture.fill(chunk, capacity);
    };
    for (int operation = 0; operation < 1500; ++operation) {
        const bool growing = operation / 100 % 2 == 0;
        const bool given_up = random.below(10) == 0;
        const auto in_use_before = in_use;
        const uint64_t used_before = used;
        std::set<uint64_t> given;
        for (uint64_t i = random.below(12); i > 0; --i) {
            if (in_use.empty() || (random.below(3) == 0) != growing) {
                take();
                continue;
            }
            const uint64_t chunk = std::prev(in_use.upper_bound(in_use.begin()->first + random.below(in_use.rbegin()->first)))->first;
            if (given.insert(chunk).second) fixture.allocator.free(chunk);  // it stays in the list until the commit: T4
        }
        if (given_up) {
            fixture.set.clear();
            fixture.allocator.abandon();
            in_use = in_use_before;
            used = used_before;
        } else {
            fixture.commit();
            for (const uint64_t chunk : given) {
                used -= in_use[chunk];
                in_use.erase(chunk);
            }
        }
        REQUIRE(fixture.store.root().used_bytes == used);
        if (operation % 100 == 99) REQUIRE(fixture.list_faults() == "");
    }
    for (const auto& [chunk, capacity] : in_use) fixture.allocator.free(chunk);
    fixture.commit();
    CHECK(fixture.store.root().used_bytes == 0);
    fixture.allocator.release_index_pages(md::Readers(), ~0u);
    fixture.commit();
    CHECK(fixture.store.report().pages == 0);
    CHECK(fixture.store.faults() == "");
}

TEST_CASE("allocator: a page holds as many chunks as fit, and the next one is another page") {
    for (const uint32_t bytes : {16u, 24u, 128u, 144u, 5120u, 32768u}) {
        CAPTURE(bytes);
        Fixture fixture;
        const uint64_t first = fixture.take_on_page(bytes);
        for (uint32_t i = 1; i < st::kPageBytes / bytes; ++i) REQUIRE(fixture.take_on_page(bytes) == first);
        CHECK(fixture.take_on_page(bytes) != first);
        CHECK(fixture.list_faults() == "");
    }
}

TEST_CASE("allocator: chunks come back last in first out, from full pages too") {
    Fixture fixture;
    std::vector<uint64_t> chunks;
    for (uint32_t i = 0; i < 3 * st::kPageBytes / 32768; ++i) chunks.push_back(fixture.take(32768));
    fixture.give(chunks[0]);
    fixture.give(chunks[2]);
    CHECK(fixture.list_faults() == "");
    CHECK(fixture.take(32768) == chunks[2]);
    CHECK(fixture.take(32768) == chunks[0]);
    CHECK(fixture.list_faults() == "");
}

TEST_CASE("allocator: a page whose last chunk is freed serves any other class, and large extents") {
    Fixture fixture;
    const uint64_t a = fixture.take(1000), b = fixture.take(1000);
    fixture.give(a);
    CHECK(fixture.free_pages() == 0);
    fixture.give(b);
    CHECK(fixture.free_pages() == 1);
    CHECK(fixture.state_of(a).kind == st::PageKind::free);
    const uint64_t whole = fixture.take(st::kPageBytes);
    CHECK(fixture.page_of(whole) == fixture.page_of(a));
    CHECK(fixture.free_pages() == 0);
    fixture.give(whole);
    const uint64_t small = fixture.take(16);
    CHECK(small == whole);
    CHECK(fixture.state_of(small).size_class == 0);
    fixture.give(small);
    const uint64_t segment = fixture.allocator.allocate_index_segment();
    fixture.commit();
    CHECK(segment == whole);
    CHECK(fixture.state_of(segment).size_class == st::kIndexClass);
    CHECK(fixture.list_faults() == "");
}

TEST_CASE("allocator T4: what an operation frees it never gets, whether chunks are left or not") {
    for (const uint32_t bytes : {16u, 1000u, 32768u, 65536u}) {
        CAPTURE(bytes);
        Fixture fixture;
        std::set<uint64_t> freed;
        for (int i = 0; i < 5; ++i) freed.insert(fixture.take(bytes));
        for (const uint64_t chunk : freed) fixture.allocator.free(chunk);
        for (int i = 0; i < 100; ++i) REQUIRE_FALSE(freed.contains(fixture.allocator.allocate(bytes)));
        fixture.commit();
        CHECK(fixture.list_faults() == "");
        CHECK(freed.contains(fixture.take(bytes)));
    }
}

TEST_CASE("allocator T2 T4: until the commit no byte of what is in use or free has changed") {
    Fixture fixture;
    const uint64_t a = fixture.take(64), b = fixture.take(64), c = fixture.take(64);
    fixture.give(b);
    const TestMemory::Image before = fixture.store.space.image();
    fixture.allocator.free(a);
    fixture.allocator.allocate(64);
    fixture.allocator.free(c);
    fixture.allocator.settle();
    CHECK(fixture.store.space.image() == before);
    fixture.set.clear();
    fixture.allocator.abandon();
    CHECK(fixture.take(64) == b);
}

TEST_CASE("allocator: the frontier crosses regions, whose first pages are their descriptors'") {
    Fixture fixture;
    const uint64_t first = fixture.store.root().frontier;
    std::set<uint64_t> pages;
    for (uint64_t i = 0; i < 2 * st::kRegionPages; ++i) {
        const uint64_t page = fixture.take_on_page(st::kPageBytes);
        REQUIRE(page % st::kRegionPages != 0);
        REQUIRE(pages.insert(page).second);
    }
    CHECK(*pages.rbegin() == first + 2 * st::kRegionPages + 1);
    for (const uint64_t region : {1, 2}) {
        CHECK(fixture.store.space.is_backed(st::descriptor_at(region * st::kRegionPages)));
        CHECK_FALSE(fixture.store.space.is_backed(region * st::kRegionPages << st::kPageShift));
        CHECK_FALSE(fixture.store.space.is_backed(st::descriptor_at(region * st::kRegionPages) + kPageSize));
    }
    CHECK(fixture.list_faults() == "");
    for (const uint64_t page : pages) fixture.give(page << st::kPageShift);
    CHECK(fixture.store.faults() == "");
    CHECK(fixture.free_pages() == pages.size());
}

TEST_CASE("allocator: memory is taken in steps, and never far beyond what is used") {
    Fixture fixture;
    const uint64_t calls = fixture.store.space.calls, backed = fixture.store.space.backed_bytes();
    for (int i = 0; i < 1000; ++i) fixture.take(st::kPageBytes);
    CHECK(fixture.store.space.calls - calls < 250);
    CHECK(fixture.store.space.backed_bytes() - backed <= 1016 * st::kPageBytes);
}

TEST_CASE("allocator: a successor goes on at the frontier, in the middle of a region and at its end") {
    TestStore store;
    for (uint64_t i = 0; i < 300; ++i) {
        md::WriteSet set(store.memory());
        md::Committer committer(store.memory());
        md::Allocator allocator(store.memory(), set);
        const uint64_t page = allocator.allocate(st::kPageBytes);
        REQUIRE(page != 0);
        std::memset(store.memory().at(page), 1, st::kPageBytes);
        committer.commit(set);
    }
    CHECK(store.root().frontier > st::kRegionPages);
}

TEST_CASE("allocator: the segment's last page is used, and after it there is nothing until something is freed") {
    for (const uint64_t pages : {uint64_t{20}, st::kRegionPages - 1, st::kRegionPages, st::kRegionPages + 1, st::kRegionPages + 2}) {
        CAPTURE(pages);
        Fixture fixture(pages);
        std::vector<uint64_t> taken;
        while (const uint64_t page = fixture.take(st::kPageBytes)) taken.push_back(page);
        const uint64_t last = pages - 1 - (pages == st::kRegionPages + 1);
        CHECK(fixture.page_of(taken.back()) == last);
        CHECK(fixture.take(16) == 0);
        CHECK(fixture.allocator.allocate_index_segment() == 0);
        CHECK(fixture.set.empty());
        fixture.give(taken[0]);
        CHECK(fixture.take(16) == taken[0]);
        CHECK(fixture.list_faults() == "");
    }
}

TEST_CASE("allocator: the reserve is for what is urgent, and is filled again from what is freed or from the system") {
    constexpr uint64_t kReserve = 3;
    Fixture fixture(20);
    fixture.allocator.set_reserve(kReserve);
    while (fixture.allocator.fill_reserve()) fixture.commit();
    CHECK(fixture.free_pages() == kReserve);
    std::vector<uint64_t> taken;
    while (const uint64_t page = fixture.take(st::kPageBytes)) taken.push_back(page);
    CHECK(fixture.free_pages() == kReserve);
    CHECK(fixture.take(16) == 0);
    CHECK(fixture.allocator.allocate(16, md::Allocator::Need::urgent) != 0);
    fixture.commit();
    CHECK(fixture.free_pages() == kReserve - 1);
    CHECK_FALSE(fixture.allocator.fill_reserve());
    CHECK(fixture.take(st::kPageBytes) == 0);
    fixture.give(taken[0]);
    CHECK(fixture.free_pages() == kReserve);
    CHECK(fixture.take(st::kPageBytes) == 0);
    fixture.give(taken[1]);
    CHECK(fixture.take(st::kPageBytes) != 0);
    CHECK(fixture.list_faults() == "");
}

TEST_CASE("allocator: the system has a page but not several") {
    Fixture fixture;
    fixture.store.space.longest = st::kPageBytes;
    for (int i = 0; i < 300; ++i) REQUIRE(fixture.take(st::kPageBytes) != 0);
    CHECK(fixture.list_faults() == "");
}

TEST_CASE("allocator: without memory chunks that are there are still handed out, a page more is refused and nothing changed") {
    Fixture fixture;
    const uint64_t a = fixture.take(32768);
    fixture.store.space.calls_left = 0;
    const uint64_t b = fixture.take(32768);
    CHECK(fixture.page_of(b) == fixture.page_of(a));
    uint64_t pages = 0;
    while (fixture.take(st::kPageBytes) != 0) ++pages;
    CHECK(pages < 16);  // what had been taken in advance
    CHECK(fixture.set.empty());
    CHECK(fixture.list_faults() == "");
    fixture.store.space.calls_left = TestMemory::kUnlimited;
    CHECK(fixture.take(st::kPageBytes) != 0);
    CHECK(fixture.list_faults() == "");
}

TEST_CASE("allocator: free pages beyond those that are kept become holes, whose memory goes and comes back") {
    Fixture fixture;
    std::vector<uint64_t> pages;
    for (int i = 0; i < 20; ++i) pages.push_back(fixture.take(st::kPageBytes));
    for (const uint64_t page : pages) fixture.give(page);
    CHECK(fixture.allocator.free_page_count() == 20);

    CHECK(fixture.allocator.retire_free_pages(5, 10) == 10);
    fixture.commit();
    CHECK(fixture.store.space.given_back == 0);
    CHECK(fixture.allocator.give_back_holes(md::Readers()));
    CHECK(fixture.store.space.given_back == 10 * st::kPageBytes);
    CHECK(fixture.allocator.retire_free_pages(5, 10) == 5);
    fixture.commit();
    CHECK(fixture.allocator.give_back_holes(md::Readers()));
    CHECK(fixture.allocator.retire_free_pages(5, 10) == 0);
    CHECK(fixture.set.empty());
    CHECK(fixture.allocator.give_back_holes(md::Readers()));
    CHECK(fixture.store.space.given_back == 15 * st::kPageBytes);
    CHECK(fixture.free_pages() == 5);
    CHECK(fixture.holes() == 15);
    CHECK(fixture.store.faults() == "");

    const uint64_t frontier = fixture.store.root().frontier;
    fixture.store.space.calls_left = 0;
    for (int i = 0; i < 5; ++i) CHECK(fixture.take(st::kPageBytes) != 0);
    CHECK(fixture.take(st::kPageBytes) == 0);
    CHECK(fixture.set.empty());
    CHECK(fixture.holes() == 15);
    fixture.store.space.calls_left = TestMemory::kUnlimited;
    for (int i = 0; i < 15; ++i) CHECK(fixture.take(st::kPageBytes) != 0);
    CHECK(fixture.holes() == 0);
    CHECK(fixture.store.root().frontier == frontier);
    CHECK(fixture.list_faults() == "");
}

TEST_CASE("allocator: holes that were not given back after all stay memory that is backed, and are used again") {
    Fixture fixture;
    const uint64_t page = fixture.take(st::kPageBytes);
    fixture.give(page);
    CHECK(fixture.allocator.retire_free_pages(0, 10) == 1);
    fixture.commit();  // and here the process dies
    CHECK(fixture.store.faults() == "");
    CHECK(fixture.take(st::kPageBytes) == page);
}

TEST_CASE("allocator: memory fails at the n-th time of asking, for every n: the operation has not happened, the next ones go on") {
    // Small and large values, splits, deeper directories, a list longer than the journal's page, and the way back.
    constexpr int kMany = 2500;
    const std::string large(150000, 'l'), longer(32700, 'x');
    std::vector<std::string> names;
    for (int i = 0; i < kMany; ++i) names.push_back("many" + std::to_string(i));
    bool failed = true;
    for (uint64_t n = 0; failed; ++n) {
        CAPTURE(n);
        TestStore store(300);
        failed = false;
        std::map<std::string, std::string> oracle;
        const auto check_after_failure = [&] {
            failed = true;
            REQUIRE(store.faults() == "");
            for (const auto& [key, bytes] : oracle) REQUIRE(store.get(key) == bytes);
            REQUIRE(store->keys(0) == oracle.size());
            store.space.calls_left = TestMemory::kUnlimited;
        };
        const auto set = [&](const std::string& key, const std::string& bytes) {
            if (!store.set(key, bytes)) {
                check_after_failure();
                REQUIRE(store.set(key, bytes));
            }
            oracle[key] = bytes;
        };
        const auto set_many = [&] {
            std::vector<st::KeyPlace> places;
            for (const std::string& name : names) places.push_back(store->place_of(name));
            return store->make_room(0, places) && store.operation([&] {
                for (size_t i = 0; i < names.size(); ++i)
                    if (store->put(0, names[i], places[i], md::Value::of("v", md::kNoExpiry)) != md::Store::Put::done) return false;
                return true;
            });
        };
        store.space.calls_left = n;
        for (int i = 0; i < 20; ++i) {
            set("large", large + std::to_string(i));
            set("small" + std::to_string(i), std::string(static_cast<size_t>(1) << i % 15, 's'));
            set("longer" + std::to_string(i % 3), longer);
        }
        if (!set_many()) {
            check_after_failure();
            REQUIRE(set_many());
        }
        for (const std::string& name : names) oracle[name] = "v";
        if (!store.clear()) {
            check_after_failure();
            REQUIRE(store.clear());
        }
        oracle.clear();
        set("large", large);
        while (store->free_some(1000)) {}
        REQUIRE(store.faults() == "");
        for (const auto& [key, bytes] : oracle) REQUIRE(store.get(key) == bytes);
        if (n > 1000) FAIL("memory is asked for without end");
    }
}
