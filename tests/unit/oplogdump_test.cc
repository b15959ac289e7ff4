// What oplogdump prints of logs and snapshots, and what it says of whole and of damaged folders.
#include <fmt/format.h>

#include <map>

#include "common/disk/snapshot_writer.h"
#include "tests/unit/log_fixture.h"
#include "tools/oplogdump/dump.h"
#include "tools/oplogdump/verify.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::disk;
using namespace millrace::unit;
using namespace millrace::oplogdump;

namespace {

const std::string kLog0 = "data/log-00000000000000000000", kLog6 = "data/log-00000000000000000006", kSnapshot = "data/snapshot-00000000000000000004";

/// An instance folder: records 1..6 in one file, 7..12 in the next, and a snapshot at 4 that needs the log up to 8.
struct Instance {
    Instance() : data(folder.file("data")) {
        std::filesystem::create_directory(data);
        LogWriter writer(data, {7, 1 << 20, false});
        REQUIRE(writer.open_new(0, false));
        for (uint64_t number = 1; number <= 12; ++number) {
            add(writer, number, effects_of(number, 20));
            if (number % 2 == 0) REQUIRE((writer.write() && writer.sync()));
            if (number == 6) REQUIRE(writer.open_new(6, true));
        }
        SnapshotWriter snapshot(data, 7, 4, false);
        REQUIRE((snapshot.begin() && snapshot.add(2, "key", "value", -1, 5) && snapshot.add(3, "other\xff", std::string(100, 'v'), 1'800'000'000'000, 6) && snapshot.finish(8)));
    }
    std::string file(const std::string& name) const { return folder.file(name); }

    Folder folder;
    std::string data;
};

struct Found {
    std::map<std::string, Finding> by_name;
    bool fine = true;

    explicit Found(const Instance& instance) {
        for (const Finding& finding : verify(instance.folder.path())) {
            by_name[finding.name] = finding;
            fine = fine && !finding.problem;
        }
    }
    bool problem(const std::string& name) const { return by_name.at(name).problem; }
    const std::string& text(const std::string& name) const { return by_name.at(name).text; }
};

struct Printed {
    std::vector<std::string> lines, remarks;
    bool fine;

    explicit Printed(const std::string& path, Selection selection = {}, Style style = {}) {
        fine = dump(path, selection, style, [&](const std::string& line, bool remark) { (remark ? remarks : lines).push_back(line); });
    }
};

std::string line(EffectHeader header, std::string_view key, std::string_view value, Style style = {}) {
    return line_of({"file", 64, 5, 1'700'000'000'123}, {header, key, value}, style);
}

}  // namespace

TEST_CASE("oplogdump: a line for each effect") {
    const std::string front = "5 2023-11-14T22:13:20.123Z ";
    CHECK(line({EffectKind::set, 0, 0, 0, 0, -1}, "key", "a\"b\\\n\xff ~") == front + R"(db0 set "key" "a\"b\\\n\xff ~")");
    CHECK(line({EffectKind::set, 1, 0, 0, 0, 9}, "", "") == front + R"(db1 set "" "" expires 9)");
    CHECK(line({EffectKind::erase, 15, 0, 0, 0, -1}, "key", "") == front + R"(db15 erase "key")");
    CHECK(line({EffectKind::clear_database, 3, 0, 0, 0, -1}, "", "") == front + "db3 clear");
    CHECK(line({EffectKind::swap_databases, 3, 4, 0, 0, -1}, "", "") == front + "db3 swap db4");
    CHECK(line({EffectKind::write_range, 3, 0, 0, 0, 77}, "k", "v") == front + R"(db3 write "k" at 77 "v")");
    const std::string value(65, 'v');
    CHECK(line({EffectKind::set, 0, 0, 0, 0, -1}, "k", value) == front + "db0 set \"k\" \"" + value.substr(1) + "\"... (65 bytes)");
    CHECK(line({EffectKind::set, 0, 0, 0, 0, -1}, "k", value, {false, true}) == front + "db0 set \"k\" \"" + value + "\"");
}

TEST_CASE("oplogdump: JSON") {
    CHECK(line({EffectKind::set, 0, 0, 0, 0, -1}, "k\"\xff", "v", {true, false}) ==
          R"({"file": "file", "offset": 64, "number": 5, "time": "2023-11-14T22:13:20.123Z", "effect": "set", "database": 0, "key": "k\\\"\\xff", "value": "v", "value_bytes": 1, "expire_at_ms": -1})");
    CHECK(contains(line({EffectKind::swap_databases, 3, 4, 0, 0, -1}, "", "", {true, false}), R"("effect": "swap", "database": 3, "other": 4})"));
    const std::string cut = line({EffectKind::write_range, 0, 0, 0, 0, 7}, "k", std::string(100, 'v'), {true, false});
    CHECK(contains(cut, R"("at": 7, "value": ")" + std::string(64, 'v') + R"(", "value_bytes": 100})"));
}

TEST_CASE("oplogdump: a folder's records, a part of them, a snapshot's items") {
    const Instance instance;
    const Printed all(instance.folder.path());
    CHECK(all.fine);
    REQUIRE(all.lines.size() == 12);
    CHECK(contains(all.lines[6], "db7 set \"key7\" "));
    CHECK(all.remarks.size() == 2);
    const Printed part(instance.data, {6, 8});
    REQUIRE(part.lines.size() == 3);
    CHECK(part.lines[0].starts_with("6 "));
    CHECK(Printed(instance.data, {8, 8}).remarks.size() == 1);  // the other file has nothing of it
    CHECK(Printed(instance.file(kLog6)).lines.size() == 6);
    const Printed items(instance.file(kSnapshot));
    CHECK(items.fine);
    REQUIRE(items.lines.size() == 2);
    CHECK(items.lines[0] == R"(5 db2 "key" "value")");
    CHECK(items.lines[1] == R"(6 db3 "other\xff" ")" + std::string(64, 'v') + R"("... (100 bytes) expires 1800000000000)");
    CHECK(contains(error_of([&] { Printed(instance.file("none")); }), "neither a folder"));
}

TEST_CASE("oplogdump: printing goes on behind damage, and says so") {
    const Instance instance;
    const KnownFrame third = frames_of(instance.file(kLog0))[4];  // the second batch: mark, 3, 4
    overwrite(instance.file(kLog0), third.begin + 40, uint64_t{0x5555555555555555});
    const Printed printed(instance.data);
    CHECK_FALSE(printed.fine);
    REQUIRE(printed.lines.size() == 10);
    CHECK(printed.lines[2].starts_with("5 "));
    CHECK(contains(printed.remarks[1], "the checksum is wrong; reading goes on"));
}

TEST_CASE("oplogdump: a whole folder is fine") {
    const Instance instance;
    instance.folder.write("data/snapshot-00000000000000000009.partial", "half");
    const Found found(instance);
    CHECK(found.fine);
    CHECK(found.by_name.size() == 5);
    CHECK(found.text(kLog0) == fmt::format("6 records, 6 effects, from behind 0 to 6, {} bytes", std::filesystem::file_size(instance.file(kLog0))));
    CHECK(contains(found.text(kSnapshot), "2 items at record 4, complete with the log up to 8"));
    CHECK(found.text("data") == "the snapshot at record 4 and the log make the data up to record 12");
    CHECK(found.by_name.at(kLog6).line().starts_with("ok       data/log-00000000000000000006: 6 records"));
}

TEST_CASE("oplogdump: an undurable tail is fine and is mentioned") {
    const Instance instance;
    std::ofstream(instance.file(kLog6), std::ios::binary | std::ios::app) << "torn";
    const Found found(instance);
    CHECK(found.fine);
    CHECK(contains(found.text(kLog6), "4 bytes at offset"));
    CHECK(contains(found.text(kLog6), "were never durable"));
    CHECK(Printed(instance.data).fine);
}

TEST_CASE("oplogdump: damage is told with its offset and what is lost") {
    const Instance instance;
    const KnownFrame ninth = frames_of(instance.file(kLog6))[4];
    overwrite(instance.file(kLog6), ninth.begin + 40, uint64_t{0x5555555555555555});
    const Found found(instance);
    CHECK_FALSE(found.problem(kLog0));
    REQUIRE(found.problem(kLog6));
    CHECK(contains(found.text(kLog6), fmt::format("offset {}: the checksum is wrong; lost: what is behind record 8 up to record 10, ", ninth.begin)));
    CHECK(contains(found.text(kLog6), "4 records"));
    CHECK(found.problem("data"));
    CHECK(contains(found.text("data"), "is damaged at offset"));
}

TEST_CASE("oplogdump: a log that ends before the snapshot needs it, and one with a file missing") {
    const Instance instance;
    const KnownFrame seventh = frames_of(instance.file(kLog6))[1];
    std::filesystem::resize_file(instance.file(kLog6), seventh.end);
    const Found short_log(instance);
    CHECK_FALSE(short_log.problem(kLog6));
    CHECK(short_log.problem("data"));
    CHECK(contains(short_log.text("data"), "needs the log up to record 8, which ends with 7"));
    std::filesystem::remove(instance.file(kLog0));
    CHECK(contains(Found(instance).text("data"), "begins after record 6, and the log is wanted from record 4"));
}

TEST_CASE("oplogdump: a damaged snapshot is told, and the one before counts") {
    const Instance instance;
    SnapshotWriter writer(instance.data, 7, 10, false);
    REQUIRE((writer.begin() && writer.add(0, "key", std::string(3'000'000, 'x'), -1, 10) && writer.finish(11)));
    CHECK(contains(Found(instance).text("data"), "the snapshot at record 10"));
    overwrite(snapshot_path(instance.data, 10), 2'000'000, uint64_t{1});
    const Found found(instance);
    CHECK(contains(found.text("data/snapshot-00000000000000000010"), "the checksum is wrong; lost: 1 of 1 items"));
    CHECK_FALSE(found.problem("data"));
    CHECK(contains(found.text("data"), "the snapshot at record 4"));
    overwrite(instance.file(kLog0), 0, uint64_t{0});
    CHECK(contains(Found(instance).text(kLog0), "offset 0: it does not begin as a log file does; all of it is lost"));
}

TEST_CASE("oplogdump: what a writer has given up and said again is fine") {
    const Folder folder;
    LogWriter writer(folder.path(), {7, 1 << 20, false});
    REQUIRE(writer.open_new(0, false));
    for (uint64_t number = 1; number <= 3; ++number) {
        add(writer, number, effects_of(number, 20));
        REQUIRE(writer.write());
        if (number == 1) REQUIRE(writer.sync());
    }
    writer.sync_failed(EIO);
    REQUIRE(writer.open_new(1, true));
    for (uint64_t number = 2; number <= 4; ++number) add(writer, number, effects_of(number, 20));
    REQUIRE(writer.write());
    overwrite(log_path(folder.path(), 0), frames_of(log_path(folder.path(), 0))[3].begin + 40, uint64_t{1});
    for (const Finding& finding : verify(folder.path())) CHECK_FALSE(finding.problem);
}
