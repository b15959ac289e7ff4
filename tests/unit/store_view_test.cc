// The store as io_conn reads it: mapped for reading only, replies read piece by piece where md has left them.
#include "io_conn/store_view.h"

#include <algorithm>

#include "md/store.h"
#include "tests/unit/folder.h"
#include "tests/unit/ring_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using io_conn::RecordReader;
using io_conn::StoreView;

namespace {

namespace st = millrace::store;

constexpr uint64_t kInstance = 0xabc, kStoreBytes = 16ull << 20, kOplogBytes = 1 << 16;
constexpr uint64_t kPage = st::kPageBytes;

/// A store in a file, as md has it, and what an io_conn sees of it.
struct Fixture {
    Fixture() {
        segment = Segment::create({path, st::kStoreLayout, kInstance, 1, kStoreBytes, kStoreBytes});
        std::byte* base = segment.payload<std::byte>() - kSegmentPayload;
        const md::StoreMemory memory(base, kStoreBytes, [](uint64_t, uint64_t) { return true; }, [](uint64_t, uint64_t) {});
        md::Store::format(memory, 1, kOplogBytes);
        segment.publish();
        store = std::make_unique<md::Store>(memory);
        view = StoreView(path, kInstance);
    }
    void put(std::string_view key, std::string_view bytes) {
        const st::KeyPlace place = store->place_of(key);
        REQUIRE(store->make_room(0, {&place, 1}));
        store->begin_record();
        REQUIRE(store->put(0, key, place, md::Value::of(bytes, md::kNoExpiry)) == md::Store::Put::done);
        store->end_record();
        REQUIRE(store->commit());
    }
    /// The reference of a key's value, which is large.
    uint64_t large(std::string_view key) {
        const auto value = store->find(0, key, store->place_of(key));
        REQUIRE(value);
        REQUIRE(value->large != 0);
        return value->large;
    }
    uint64_t record_of(const std::vector<md::ReplyPart>& parts) {
        const uint64_t record = store->add_record(3, parts);
        REQUIRE(record != 0);
        REQUIRE(store->commit());
        return record;
    }
    /// All pieces of a record; none is empty or longer than a page, and none crosses the end of a page.
    std::vector<std::string> read(uint64_t record) {
        std::vector<std::string> pieces;
        RecordReader reader(view, record);
        for (std::span<const std::byte> piece; !(piece = reader.next(view)).empty();) {
            const auto at = static_cast<uint64_t>(piece.data() - &view.at<std::byte>(kSegmentPayload)) + kSegmentPayload;
            REQUIRE(at / kPage == (at + piece.size() - 1) / kPage);
            pieces.push_back(text_of(piece));
        }
        REQUIRE(reader.next(view).empty());
        return pieces;
    }
    std::string read_all(uint64_t record) {
        std::string all;
        for (const std::string& piece : read(record)) all += piece;
        return all;
    }

    Folder folder;
    std::string path = folder.file("store");
    Segment segment;
    std::unique_ptr<md::Store> store;
    StoreView view;
};

/// Bytes of which every place is known by its neighbours.
std::string pattern(uint64_t length) {
    std::string bytes(length, 0);
    for (uint64_t i = 0; i < length; ++i) bytes[i] = static_cast<char>((i * 2654435761u) >> 13);
    return bytes;
}

}  // namespace

TEST_CASE("record reader: fields alone, in one chunk or several") {
    Fixture fixture;
    const std::string longest(st::kChunkBytesMax - sizeof(st::ReplyChunk), 'z');
    CHECK(fixture.read(fixture.record_of({{"abc", 0, 0}})) == std::vector<std::string>{"abc"});
    CHECK(fixture.read(fixture.record_of({{"abc", 0, 0}, {"d", 0, 0}, {"ef", 0, 0}})) == std::vector<std::string>{"abc", "d", "ef"});
    CHECK((fixture.read(fixture.record_of({{longest, 0, 0}, {longest, 0, 0}})) == std::vector<std::string>{longest, longest}));
}

TEST_CASE("record reader: a record without chunks, and chunks without bytes, have nothing to read") {
    Fixture fixture;
    CHECK(fixture.read(fixture.record_of({})).empty());
    CHECK(fixture.read(fixture.record_of({{"", 0, 0}})).empty());
    CHECK(fixture.read(fixture.record_of({{"", 0, 0}, {"a", 0, 0}, {"", 0, 0}, {"", 0, 0}, {"b", 0, 0}, {"", 0, 0}})) ==
          std::vector<std::string>{"a", "b"});
    CHECK(RecordReader().next(fixture.view).empty());
}

TEST_CASE("record reader: a large value at the end, in the middle, at the beginning, and twice") {
    Fixture fixture;
    const std::string bytes = pattern(150'000);
    fixture.put("key", bytes);
    const uint64_t item = fixture.large("key");
    CHECK((fixture.read_all(fixture.record_of({{"head", item, bytes.size()}})) == "head" + bytes));
    CHECK((fixture.read_all(fixture.record_of({{"head", item, bytes.size()}, {"tail", 0, 0}})) == "head" + bytes + "tail"));
    CHECK((fixture.read_all(fixture.record_of({{"", item, bytes.size()}, {"tail", 0, 0}})) == bytes + "tail"));
    CHECK((fixture.read_all(fixture.record_of({{"a", item, bytes.size()}, {"b", item, bytes.size()}, {"", item, bytes.size()}})) ==
           "a" + bytes + "b" + bytes + bytes));
}

TEST_CASE("record reader: values that end at, before and behind the end of a page") {
    Fixture fixture;
    const std::string key = "12345";
    for (const uint64_t pages : {1, 2, 5})
        for (const int beyond : {-9, -8, -7, -1, 0, 1, 7, 8, 9, 48, 49, 1000, 40'000}) {
            CAPTURE(pages);
            CAPTURE(beyond);
            const std::string bytes = pattern(pages * kPage - key.size() + static_cast<uint64_t>(beyond));
            fixture.put(key, bytes);
            const std::vector<std::string> pieces = fixture.read(fixture.record_of({{"f", fixture.large(key), bytes.size()}}));
            CHECK(pieces.size() == 1 + pages + (beyond > 0));
            std::string all;
            for (const std::string& piece : pieces) all += piece;
            REQUIRE((all == "f" + bytes));
        }
}

TEST_CASE("record reader: keys longer than a page, and of whole pages") {
    Fixture fixture;
    for (const uint64_t key_length : {kPage - 1, kPage, kPage + 1, 2 * kPage, 2 * kPage + 777})
        for (const uint64_t length : {uint64_t{1}, uint64_t{100}, kPage - 777, kPage - 1, kPage, kPage + 1, 3 * kPage}) {
            CAPTURE(key_length);
            CAPTURE(length);
            const std::string key(key_length, 'k'), bytes = pattern(length);
            fixture.put(key, bytes);
            REQUIRE((fixture.read_all(fixture.record_of({{"f", fixture.large(key), length}})) == "f" + bytes));
        }
}

TEST_CASE("record reader: a value that was lengthened and deleted meanwhile is read as it was") {
    Fixture fixture;
    const std::string bytes = pattern(100'000), more = pattern(5000);
    fixture.put("key", bytes);
    const uint64_t record = fixture.record_of({{"f", fixture.large("key"), bytes.size()}, {"g", 0, 0}});
    RecordReader reader(fixture.view, record);
    std::string all = text_of(reader.next(fixture.view));
    all += text_of(reader.next(fixture.view));
    for (int i = 0; i < 20; ++i) {  // where it lies at first, then as a new item
        md::Value longer = fixture.store->find(0, "key", fixture.store->place_of("key")).value();
        longer.rest = more;
        fixture.store->begin_record();
        REQUIRE(fixture.store->put(0, "key", fixture.store->place_of("key"), longer) == md::Store::Put::done);
        fixture.store->end_record();
        REQUIRE(fixture.store->commit());
        REQUIRE((fixture.read_all(record) == "f" + bytes + "g"));
    }
    REQUIRE(fixture.store->erase(0, "key", fixture.store->place_of("key")));
    REQUIRE(fixture.store->commit());
    while (fixture.store->free_some(1)) {}
    fixture.put("other", std::string(300'000, 'x'));  // takes what was freed
    for (std::span<const std::byte> piece; !(piece = reader.next(fixture.view)).empty();) all += text_of(piece);
    CHECK((all == "f" + bytes + "g"));
}

TEST_CASE("record reader: a part of a value, as long as its record says") {
    Fixture fixture;
    const std::string bytes = pattern(200'000);
    fixture.put("key", bytes);
    for (const uint64_t length : {uint64_t{1}, kPage - 3, kPage - 2, kPage, 2 * kPage + 5, uint64_t{199'999}})
        CHECK((fixture.read_all(fixture.record_of({{"", fixture.large("key"), length}})) == bytes.substr(0, length)));
}

TEST_CASE("store view: another instance's store is refused, a missing one is named") {
    Fixture fixture;
    CHECK(contains(error_of([&] { StoreView(fixture.path, kInstance + 1); }), "belongs to instance"));
    CHECK(contains(error_of([&] { StoreView(fixture.folder.file("none"), kInstance); }), "none"));
}

TEST_CASE("store view: it is current until another store takes the place of its file, and stays readable after that") {
    Fixture fixture;
    const uint64_t record = fixture.record_of({{"still here", 0, 0}});
    CHECK(fixture.view.is_current());
    std::filesystem::rename(fixture.path, fixture.path + ".refused");
    CHECK_FALSE(fixture.view.is_current());
    Segment::create({fixture.path, st::kStoreLayout, kInstance, 2, kStoreBytes, kPageSize}).publish();
    CHECK_FALSE(fixture.view.is_current());
    CHECK(StoreView(fixture.path, kInstance).is_current());
    CHECK(fixture.read_all(record) == "still here");
}

TEST_CASE("store view: it cannot be written to") {
    Fixture fixture;
    CHECK_FALSE(survives([&] { const_cast<st::Root&>(fixture.view.at<st::Root>(st::kRootAt)).number = 1; }));
    CHECK(fixture.view.at<st::Root>(st::kRootAt).number == fixture.segment.payload<st::Root>(st::kRootAt - kSegmentPayload)->number);
}
