// What an image of a data folder holds: which records of the log count for which key, up to which moment, and what is refused.
#include <map>

#include "common/disk/data_image.h"
#include "common/disk/snapshot_writer.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::disk;
using namespace millrace::unit;

namespace {

std::string set(const std::string& key, const std::string& value, int64_t expire_at_ms = -1, uint8_t database = 0) {
    std::string bytes;
    append_effect(bytes, {EffectKind::set, database, 0, 0, 0, expire_at_ms}, key, value);
    return bytes;
}
std::string effect(EffectKind kind, const std::string& key, const std::string& value = {}, int64_t number = -1, uint8_t database = 0, uint16_t other = 0) {
    std::string bytes;
    append_effect(bytes, {kind, database, other, 0, 0, number}, key, value);
    return bytes;
}
std::string erase(const std::string& key) { return effect(EffectKind::erase, key); }
std::string clear(uint8_t database = 0) { return effect(EffectKind::clear_database, "", "", -1, database); }
std::string swap(uint8_t one, uint16_t other) { return effect(EffectKind::swap_databases, "", "", -1, one, other); }
std::string write_range(const std::string& key, uint64_t offset, const std::string& bytes) { return effect(EffectKind::write_range, key, bytes, static_cast<int64_t>(offset)); }
std::string set_expiry(const std::string& key, int64_t at_ms) { return effect(EffectKind::set_expiry, key, "", at_ms); }

struct Item {
    std::string key, value;
    uint64_t stamp;
};

/// A folder with a log and, where a test wants it, snapshots.
struct Data {
    explicit Data(const std::map<uint64_t, std::string>& records, uint64_t after = 0) {
        LogWriter writer(folder.path(), {7, 1 << 20, false});
        REQUIRE(writer.open_new(after, false));
        for (const auto& [number, effects] : records) add(writer, number, effects);
        REQUIRE((writer.write() && writer.sync()));
    }
    void snapshot(uint64_t start, uint64_t end, const std::vector<Item>& items) const {
        SnapshotWriter writer(folder.path(), 7, start, true);
        REQUIRE(writer.begin());
        for (const Item& item : items) REQUIRE(writer.add(0, item.key, item.value, -1, item.stamp));
        REQUIRE(writer.finish(end));
    }
    DataImage image(Until until = {}) const { return DataImage::of_folder(folder.path(), until); }
    /// "k=v k2=v2@expiry" of database 0.
    std::string text(Until until = {}) const { return text_of(image(until)); }
    static std::string text_of(const DataImage& image, size_t database = 0) {
        std::map<std::string, std::string> sorted;
        for (const auto& [key, entry] : image.databases()[database]) sorted[key] = entry.value + (entry.expire_at_ms == -1 ? "" : "@" + std::to_string(entry.expire_at_ms));
        std::string all;
        for (const auto& [key, value] : sorted) all += (all.empty() ? "" : " ") + key + "=" + value;
        return all;
    }

    Folder folder;
};

}  // namespace

TEST_CASE("image: a log alone, every kind of effect") {
    const Data data({{1, set("a", "1") + set("b", "2", 99)},
                     {2, write_range("a", 1, "23")},
                     {4, set_expiry("a", 55) + erase("b")},
                     {5, set("c", "x", -1, 3) + set("d", "y", -1, 3)},
                     {6, swap(3, 4)},
                     {7, set("e", "z", -1, 3) + clear(3)}});
    const DataImage image = data.image();
    CHECK(Data::text_of(image) == "a=123@55");
    CHECK(Data::text_of(image, 3).empty());
    CHECK(Data::text_of(image, 4) == "c=x d=y");
    CHECK(image.number() == 7);
    CHECK(image.instance() == 7);
    CHECK(image.keys() == 3);
}

TEST_CASE("image: several effects of one record on one key all count") {
    CHECK(Data({{1, set("k", "a") + write_range("k", 1, "b") + set_expiry("k", 9)}, {2, erase("k") + set("k", "c") + write_range("k", 0, "dd")}}).text() == "k=dd");
}

TEST_CASE("image: a record counts for a key only behind its stamp, and for one that is not there behind the start") {
    // A snapshot from 4 to 8: `old` was met at 4, `late` at 8, `gone` was removed at 7 before it was met.
    const Data data({{4, set("old", "4")},
                     {5, set("old", "5") + set("late", "5")},
                     {6, write_range("late", 0, "LATE") + set("gone", "6") + set_expiry("missing", 3) + write_range("missing", 7, "x")},
                     {7, erase("gone") + set("late", "7")},
                     {8, set("late", "8")},
                     {9, set("new", "9")},
                     {10, write_range("late", 1, "+10")}});
    data.snapshot(4, 8, {{"old", "4", 4}, {"late", "8", 8}});
    CHECK(data.text() == "late=8+10 new=9 old=5");
}

TEST_CASE("image: what was written into a value before the snapshot met it is not looked for in what it became") {
    // `k` was long at 4; at 6 it was written behind the end that it has had since 7 or 8.
    const Data before({{6, write_range("k", 5, "x")}, {8, set("k", "ab")}});
    before.snapshot(4, 8, {{"k", "ab", 8}});
    CHECK(before.text() == "k=ab");
    const Data at({{8, write_range("k", 5, "x") + set("k", "ab")}, {9, write_range("k", 2, "c")}});
    at.snapshot(4, 8, {{"k", "ab", 8}});
    CHECK(at.text() == "k=abc");
}

TEST_CASE("image: clearing a database leaves what the snapshot has from later") {
    const Data data({{5, set("a", "5")}, {6, clear()}, {7, set("b", "7")}});
    data.snapshot(4, 7, {{"a", "4", 4}, {"b", "7", 7}, {"c", "4", 4}});
    CHECK(data.text() == "b=7");
}

TEST_CASE("image: of a key that occurs twice the higher stamp counts, in any order") {
    const Data data({{9, set("x", "9")}});
    data.snapshot(4, 8, {{"k", "new", 7}, {"k", "old", 5}, {"l", "old", 5}, {"l", "new", 6}});
    CHECK(data.text() == "k=new l=new x=9");
}

TEST_CASE("image: up to a number, from the newest snapshot that is old enough") {
    const Data data({{1, set("k", "1")}, {2, set("k", "2")}, {3, set("k", "3")}, {5, set("k", "5")}, {6, set("k", "6")}});
    data.snapshot(2, 3, {{"k", "2", 2}, {"only here", "", 2}});
    CHECK(data.text({1, INT64_MAX}) == "k=1");
    CHECK(data.text({2, INT64_MAX}) == "k=2");
    CHECK(data.text({3, INT64_MAX}) == "k=3 only here=");
    CHECK(data.text({4, INT64_MAX}) == "k=3 only here=");  // no record has that number
    CHECK(data.image({5, INT64_MAX}).number() == 5);
    CHECK(data.text() == "k=6 only here=");
    CHECK(contains(error_of([&] { data.image({7, INT64_MAX}); }), "there is no record 7: the log ends with record 6"));
}

TEST_CASE("image: up to a time") {
    const Folder folder;
    LogWriter writer(folder.path(), {7, 1 << 20, false});
    REQUIRE(writer.open_new(0, false));
    std::vector<int64_t> times;
    for (uint64_t number = 1; number <= 3; ++number) {
        add(writer, number, set("k", std::to_string(number)));
        REQUIRE((writer.write() && writer.sync()));
        LogReader reader(folder.path(), number - 1);
        REQUIRE(reader.next() == LogReader::Outcome::record);
        times.push_back(reader.wall_ms());
        usleep(3000);
    }
    const auto at = [&](int64_t ms) { return Data::text_of(DataImage::of_folder(folder.path(), {UINT64_MAX, ms})); };
    CHECK(at(times[0] - 1).empty());
    CHECK(at(times[0]) == "k=1");
    CHECK(at(times[1]) == "k=2");
    CHECK(at(times[2] - 1) == "k=2");
    CHECK(at(INT64_MAX) == "k=3");
}

TEST_CASE("image: a damaged snapshot is passed over for the one before, and that is told") {
    const Data data({{1, set("k", "1")}, {2, set("k", "2")}, {3, set("k", "3")}});
    data.snapshot(1, 1, {{"k", "1", 1}});
    data.snapshot(2, 2, {{"k", std::string(3'000'000, 'x'), 2}});
    overwrite(snapshot_path(data.folder.path(), 2), 100, uint64_t{1});
    const DataImage image = data.image();
    CHECK(Data::text_of(image) == "k=3");
    REQUIRE(image.remarks().size() == 1);
    CHECK(contains(image.remarks()[0], "snapshot-00000000000000000002"));
}

TEST_CASE("image: a snapshot without the log that it needs, a hole, damage") {
    const Data late({{6, set("k", "6")}}, 5);
    CHECK(contains(error_of([&] { late.image(); }), "begins after record 5"));
    late.snapshot(5, 9, {{"k", "5", 5}});
    CHECK(contains(error_of([&] { late.image(); }), "needs the log up to record 9, and what there is of it ends with record 6"));
    const Folder alone;
    SnapshotWriter writer(alone.path(), 7, 1, true);
    REQUIRE((writer.begin() && writer.add(0, "k", "v", 5, 1) && writer.finish(1)));
    DataImage image = DataImage::of_folder(alone.path());
    CHECK(Data::text_of(image) == "k=v@5");
    CHECK(image.remove_expired(4) == 0);
    CHECK(image.remove_expired(5) == 1);
    CHECK(image.keys() == 0);
}

TEST_CASE("image: damage behind what was asked for does no harm, before it does") {
    const Folder folder;
    LogWriter writer(folder.path(), {7, 1 << 20, false});
    REQUIRE(writer.open_new(0, false));
    for (uint64_t number = 1; number <= 4; ++number) {
        add(writer, number, set("k", std::to_string(number)));
        REQUIRE((writer.write() && writer.sync()));
    }
    overwrite(log_path(folder.path(), 0), frames_of(log_path(folder.path(), 0))[5].begin + 40, uint64_t{0x5555});  // record 3
    CHECK(Data::text_of(DataImage::of_folder(folder.path(), {2, INT64_MAX})) == "k=2");
    CHECK(contains(error_of([&] { DataImage::of_folder(folder.path(), {3, INT64_MAX}); }), "is damaged at offset"));
    CHECK(contains(error_of([&] { DataImage::of_folder(folder.path()); }), "is damaged at offset"));
}

TEST_CASE("image: effects that do not fit are refused") {
    CHECK(contains(error_of([] { Data({{1, set("k", "ab")}, {2, write_range("k", 3, "x")}}).image(); }), "the effects of record 2 do not fit"));
    const Data spanning({{5, swap(0, 1)}, {9, set("k", "9")}});
    spanning.snapshot(4, 8, {});
    CHECK(contains(error_of([&] { spanning.image(); }), "the effects of record 5 do not fit"));
    DataImage image;
    CHECK_FALSE(image.apply(1, "no effects"));
}

TEST_CASE("image: a torn tail is left out and told") {
    const Data data({{1, set("k", "1")}});
    std::ofstream(log_path(data.folder.path(), 0), std::ios::binary | std::ios::app) << "torn";
    const DataImage image = data.image();
    CHECK(Data::text_of(image) == "k=1");
    REQUIRE(image.remarks().size() == 1);
    CHECK(contains(image.remarks()[0], "never durable"));
}
