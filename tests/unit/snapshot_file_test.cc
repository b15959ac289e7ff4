// Snapshots on disk: what was put in comes out; a file that is not whole is no snapshot; a file that was changed gives nothing wrong.
#include <sys/resource.h>

#include "common/disk/snapshot_reader.h"
#include "common/disk/snapshot_writer.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::disk;
using namespace millrace::unit;
using Outcome = SnapshotReader::Outcome;

namespace {

struct Kept {
    unsigned database;
    std::string key, value;
    int64_t expire_at_ms;
    uint64_t stamp;
    bool operator==(const Kept&) const = default;
};

std::string write_snapshot(const Folder& folder, const std::vector<Kept>& items, bool zstd, uint64_t start = 100) {
    SnapshotWriter writer(folder.path(), 0x77, start, zstd);
    REQUIRE(writer.begin());
    for (const Kept& item : items) REQUIRE(writer.add(static_cast<uint8_t>(item.database), item.key, item.value, item.expire_at_ms, item.stamp));
    REQUIRE(writer.finish(start + 50));
    CHECK(writer.items() == items.size());
    return snapshot_path(folder.path(), start);
}

struct ReadSnapshot {
    bool opened;
    std::vector<Kept> items;
    Outcome last = Outcome::item;
    std::string sentence;

    explicit ReadSnapshot(const std::string& path) {
        SnapshotReader reader(path);
        opened = reader.open();
        SnapshotReader::Item item;
        while (opened && (last = reader.next(item)) == Outcome::item)
            items.push_back({item.database, std::string(item.key), std::string(item.value), item.expire_at_ms, item.stamp});
        if (opened) REQUIRE(reader.next(item) == last);
        sentence = reader.sentence();
    }
};

/// Items of many sizes, some of them longer than a block.
std::vector<Kept> mixed_items(Random& random) {
    std::vector<Kept> items;
    for (unsigned i = 0; i < 400; ++i) {
        const size_t length = i % 100 == 7 ? 3 * kBlockBytesMax + i : random.below(i % 10 == 0 ? 100'000 : 200);
        std::string value = i % 2 == 0 ? random.bytes(length) : std::string(length, static_cast<char>('a' + i % 26));
        items.push_back({i % 16, "key" + std::to_string(i), std::move(value), i % 3 == 0 ? int64_t{1'700'000'000'000} + i : -1, 100 + i});
    }
    items.push_back({0, std::string(kBlockBytesMax + 5, 'K'), std::string(2 * kBlockBytesMax, 'V'), -1, 1});
    items.push_back({0, "", "", -1, 2});
    return items;
}

}  // namespace

TEST_CASE("snapshot: round trip") {
    Random random;
    INFO("SEED=", random.seed);
    const std::vector<Kept> items = mixed_items(random);
    for (const bool zstd : {false, true}) {
        CAPTURE(zstd);
        const Folder folder;
        const std::string path = write_snapshot(folder, items, zstd);
        const ReadSnapshot read(path);
        REQUIRE(read.opened);
        CHECK(read.last == Outcome::end);
        CHECK(read.items == items);
        SnapshotReader reader(path);
        REQUIRE(reader.open());
        CHECK(reader.start() == 100);
        CHECK(reader.end() == 150);
        CHECK(reader.items() == items.size());
        CHECK(reader.instance() == 0x77);
        CHECK(reader.created_ms() > 1'600'000'000'000);
        CHECK(reader.file_bytes() == std::filesystem::file_size(path));
    }
}

TEST_CASE("snapshot: blocks of zstd are smaller, and those that would not be are as they are") {
    Random random;
    INFO("SEED=", random.seed);
    const Folder plain, packed, noise;
    const std::vector<Kept> items{{0, "key", std::string(5'000'000, 'x'), -1, 1}};
    const std::vector<Kept> random_items{{0, "key", random.bytes(5'000'000), -1, 1}};
    CHECK(std::filesystem::file_size(write_snapshot(plain, items, false)) > 5'000'000);
    CHECK(std::filesystem::file_size(write_snapshot(packed, items, true)) < 50'000);
    const uint64_t bytes = std::filesystem::file_size(write_snapshot(noise, random_items, true));
    CHECK(bytes < 5'000'000 + 1000);
    CHECK(ReadSnapshot(snapshot_path(noise.path(), 100)).items == random_items);
}

TEST_CASE("snapshot: every length around a block's end") {
    for (size_t length = kBlockBytesMax - 80; length <= kBlockBytesMax; ++length) {
        CAPTURE(length);
        const Folder folder;
        const std::vector<Kept> items{{1, "a", std::string(length, 'x'), -1, 7}, {2, "second", "value", -1, 8}, {3, "third", "", 5, 9}};
        const ReadSnapshot read(write_snapshot(folder, items, length % 2 == 0));
        REQUIRE(read.last == Outcome::end);
        REQUIRE(read.items == items);
    }
}

TEST_CASE("snapshot: a value in parts, and no item at all") {
    const Folder folder;
    SnapshotWriter writer(folder.path(), 1, 5, true);
    REQUIRE(writer.begin());
    REQUIRE(writer.begin_item(9, "key", 10, -1, 6));
    REQUIRE(writer.add_bytes("0123"));
    REQUIRE(writer.add_bytes(""));
    REQUIRE(writer.add_bytes("456789"));
    REQUIRE(writer.finish(7));
    CHECK(ReadSnapshot(snapshot_path(folder.path(), 5)).items == std::vector<Kept>{{9, "key", "0123456789", -1, 6}});
    const ReadSnapshot empty(write_snapshot(folder, {}, false, 6));
    CHECK(empty.last == Outcome::end);
    CHECK(empty.items.empty());
}

TEST_CASE("snapshot: it has its name only when it is finished") {
    const Folder folder;
    {
        SnapshotWriter writer(folder.path(), 1, 5, false);
        REQUIRE(writer.begin());
        REQUIRE(writer.add(0, "key", std::string(3'000'000, 'x'), -1, 6));
        CHECK(snapshot_files(folder.path()).empty());
        CHECK(partial_files(folder.path()).size() == 1);
        CHECK_FALSE(ReadSnapshot(partial_path(snapshot_path(folder.path(), 5))).opened);
    }
    CHECK(partial_files(folder.path()).empty());
    write_snapshot(folder, {}, false, 9);
    write_snapshot(folder, {}, false, 1000);
    write_snapshot(folder, {}, false, 10);
    folder.write("snapshot-12", "");
    folder.write("snapshot-0000000000000000001x", "");
    CHECK(snapshot_files(folder.path()) == std::vector{snapshot_path(folder.path(), 1000), snapshot_path(folder.path(), 10), snapshot_path(folder.path(), 9)});
    CHECK(partial_files(folder.path()).empty());
}
