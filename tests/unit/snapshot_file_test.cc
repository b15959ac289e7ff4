// Snapshots on disk: what was put in comes out; a file that is not whole is no snapshot; a file that was changed gives nothing wrong.
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

namespace {

/// One block and the end: several blocks would be megabytes.
struct SmallSnapshot {
    explicit SmallSnapshot(bool zstd) {
        for (unsigned i = 0; i < 12; ++i) items.push_back({i, "key" + std::to_string(i), std::string(20 + i, static_cast<char>('a' + i)), -1, 100 + i});
        path = write_snapshot(folder, items, zstd);
        content = content_of(path);
        REQUIRE(content.size() < 1500);
    }
    ReadSnapshot read_with(const std::string& changed) const {
        rewrite(path, changed);
        return ReadSnapshot(path);
    }
    bool begins_with(const std::vector<Kept>& given) const { return given.size() <= items.size() && std::equal(given.begin(), given.end(), items.begin()); }

    Folder folder;
    std::vector<Kept> items;
    std::string path, content;
};

/// A snapshot whose checksums are right, with these raw bytes and this end.
std::string forged(std::string_view raw, BlockHeader block, SnapshotEnd end) {
    SnapshotHeader header{};
    std::memcpy(header.magic, kSnapshotMagic, sizeof header.magic);
    header.version = kSnapshotVersion;
    header.crc = crc_of(header);
    block.crc = crc32c(raw.substr(0, block.stored_bytes), crc_of(block, header.crc));
    BlockHeader last{0, BlockKind::end, sizeof end, 0};
    last.crc = crc32c_of(end, 0, crc_of(last, header.crc));
    std::string bytes;
    const auto append = [&](const auto& structure) { bytes.append(reinterpret_cast<const char*>(&structure), sizeof structure); };
    append(header);
    append(block);
    bytes += raw;
    bytes.resize(round_up(bytes.size(), 8));
    append(last);
    append(end);
    return bytes;
}

std::string raw_item(ItemHeader header, std::string_view rest) { return std::string(reinterpret_cast<const char*>(&header), sizeof header).append(rest); }

}  // namespace

TEST_CASE("snapshot: torn at every byte it is none") {
    for (const bool zstd : {false, true}) {
        const SmallSnapshot snapshot(zstd);
        for (size_t length = 0; length < snapshot.content.size(); ++length) {
            CAPTURE(length);
            const ReadSnapshot read = snapshot.read_with(snapshot.content.substr(0, length));
            REQUIRE_FALSE(read.opened);
            REQUIRE(contains(read.sentence, snapshot.path + ": at offset"));
        }
        CHECK(snapshot.read_with(snapshot.content).items == snapshot.items);
        CHECK_FALSE(snapshot.read_with(snapshot.content + std::string(8, '\0')).opened);
    }
}

TEST_CASE("snapshot: every bit of every byte flipped") {
    for (const bool zstd : {false, true}) {
        const SmallSnapshot snapshot(zstd);
        unsigned harmless = 0;
        for (size_t offset = 0; offset < snapshot.content.size(); ++offset)
            for (unsigned bit = 0; bit < 8; ++bit) {
                CAPTURE(offset);
                CAPTURE(bit);
                std::string changed = snapshot.content;
                changed[offset] = static_cast<char>(changed[offset] ^ (1 << bit));
                const ReadSnapshot read = snapshot.read_with(changed);
                REQUIRE(snapshot.begins_with(read.items));
                if (read.last == Outcome::end) {
                    REQUIRE(read.items == snapshot.items);
                    ++harmless;
                } else {
                    REQUIRE(contains(read.sentence, ": at offset"));
                }
            }
        CHECK(harmless < 8 * 8);  // the zeros behind a block
    }
}

TEST_CASE("snapshot: what was before the damage is given") {
    Random random;
    INFO("SEED=", random.seed);
    const std::vector<Kept> items = mixed_items(random);
    const Folder folder;
    const std::string path = write_snapshot(folder, items, false), content = content_of(path);
    for (unsigned round = 0; round < 20; ++round) {
        std::string changed = content;
        const size_t offset = sizeof(SnapshotHeader) + random.below(content.size() - sizeof(SnapshotHeader) - kEndBlockBytes);
        CAPTURE(offset);
        changed[offset] = static_cast<char>(~changed[offset]);
        rewrite(path, changed);
        const ReadSnapshot read(path);
        REQUIRE(read.items.size() <= items.size());
        REQUIRE(std::equal(read.items.begin(), read.items.end(), items.begin()));
        if (read.last != Outcome::damage) continue;  // the zeros behind a block
        uint64_t bytes = 0, whole = 0;  // all items in the blocks before
        const uint64_t good = (offset - sizeof(SnapshotHeader)) / block_bytes(kBlockBytesMax) * kBlockBytesMax;
        while (whole < items.size() && (bytes += sizeof(ItemHeader) + items[whole].key.size() + items[whole].value.size()) <= good) ++whole;
        CHECK(read.items.size() == whole);
    }
}

TEST_CASE("snapshot: a newer one is refused") {
    const SmallSnapshot snapshot(false);
    std::string changed = snapshot.content;
    changed[offsetof(SnapshotHeader, version)] = 2;
    CHECK(contains(snapshot.read_with(changed).sentence, "made by a newer millrace"));
    SnapshotReader reader(snapshot.path);
    CHECK_FALSE(reader.open());
    CHECK(reader.newer());
}

TEST_CASE("snapshot: enormous lengths take no memory, and impossible numbers are damage") {
    const Folder folder;
    const std::string path = folder.write("snapshot", "");
    const auto outcome_of = [&](const std::string& content) {
        rewrite(path, content);
        const ReadSnapshot read(path);
        REQUIRE(read.opened);
        REQUIRE(read.items.empty());
        return read.last;
    };
    const auto with_item = [&](ItemHeader item, uint64_t items) {
        const std::string raw = raw_item(item, "keyvalue");
        return forged(raw, {0, BlockKind::raw, raw.size(), raw.size()}, {items, 1, 1});
    };
    rewrite(path, with_item({1, {}, 3, 5, 7, -1}, 1));
    CHECK(ReadSnapshot(path).items == std::vector<Kept>{{1, "key", "value", -1, 7}});
    rewrite(path, with_item({1, {}, 3, 5, 7, -1}, 2));
    CHECK(ReadSnapshot(path).last == Outcome::damage);
    for (const ItemHeader& item : {ItemHeader{1, {}, UINT32_MAX, 5, 7, -1}, ItemHeader{1, {}, 3, UINT64_MAX, 7, -1}, ItemHeader{1, {}, 512 << 20, 5, 7, -1}, ItemHeader{1, {}, 3, 512 << 20, 7, -1},
                                   ItemHeader{16, {}, 3, 5, 7, -1}, ItemHeader{1, {}, 3, 5, 7, -2}, ItemHeader{1, {}, 3, 6, 7, -1}}) {
        const auto read = [&] { if (outcome_of(with_item(item, 1)) != Outcome::damage) std::abort(); };
        CHECK(survives_with(64 << 20, [](auto&& action) { return survives(action); }, read));
    }
    const std::string raw = raw_item({1, {}, 3, 5, 7, -1}, "keyvalue");
    for (const BlockHeader& block : {BlockHeader{0, BlockKind::raw, UINT64_MAX, raw.size()}, BlockHeader{0, BlockKind::raw, raw.size(), UINT64_MAX}, BlockHeader{0, BlockKind::zstd, raw.size(), uint64_t{1} << 40},
                                     BlockHeader{0, BlockKind::zstd, raw.size(), 1000}, BlockHeader{0, BlockKind::raw, 8, 16}, BlockHeader{0, static_cast<BlockKind>(9), 8, 8}, BlockHeader{0, BlockKind::raw, 0, 0}}) {
        const auto read = [&] { if (outcome_of(forged(raw, block, {1, 1, 1})) != Outcome::damage) std::abort(); };
        CHECK(survives_with(64 << 20, [](auto&& action) { return survives(action); }, read));
    }
}

TEST_CASE("snapshot: where there is no room it fails and leaves nothing") {
    const Folder folder;
    for (const uint64_t room : {0u, 63u, 64u, 1000u, 1'500'000u, 2'090'200u}) {
        CAPTURE(room);
        SnapshotWriter writer(folder.path(), 1, 5, false);
        const FileSizeLimit limit(room);
        const bool finished = writer.begin() && writer.add(0, "key", std::string(2'000'000, 'x'), -1, 6) && writer.add(0, "other", std::string(90'000, 'x'), -1, 6) && writer.finish(7);
        REQUIRE_FALSE(finished);
        CHECK(writer.error() == EFBIG);
        CHECK(contains(writer.sentence(), "cannot write " + snapshot_path(folder.path(), 5) + ".partial"));
        CHECK_FALSE(writer.finish(7));
        writer.discard();
        CHECK(partial_files(folder.path()).empty());
        CHECK(snapshot_files(folder.path()).empty());
    }
    SnapshotWriter nowhere(folder.file("none"), 1, 5, false);
    CHECK_FALSE(nowhere.begin());
    CHECK(nowhere.error() == ENOENT);
}
