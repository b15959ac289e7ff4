// Backups of data folders, also while somebody writes to them and cleans them up; copies that were verified; and the times that restore takes.
#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "common/disk/data_image.h"
#include "common/disk/snapshot_writer.h"
#include "tests/unit/log_fixture.h"
#include "tools/convert/copies.h"
#include "tools/convert/snapshot_output.h"
#include "tools/oplogdump/verify.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::disk;
using namespace millrace::unit;

namespace {

/// A data folder with a log of records 1..12 in three files, and an empty folder for copies.
struct Pair {
    Pair() : data(folder.file("data")), copy(folder.file("copy")) {
        std::filesystem::create_directory(data);
        std::filesystem::create_directory(copy);
        LogWriter writer(data, {7, 1 << 20, true});
        REQUIRE(writer.open_new(0, false));
        for (uint64_t number = 1; number <= 12; ++number) {
            add(writer, number, effects_of(number, 20));
            REQUIRE((writer.write() && writer.sync()));
            if (number % 5 == 0) REQUIRE(writer.open_new(number, true));
        }
    }
    void snapshot(uint64_t start, uint64_t end) const {
        const DataImage image = DataImage::of_folder(data, {start, INT64_MAX});
        SnapshotWriter writer(data, 7, start, true);
        REQUIRE(writer.begin());
        for (uint8_t database = 0; database < kEffectDatabases; ++database)
            for (const auto& [key, entry] : image.databases()[database]) REQUIRE(writer.add(database, key, entry.value, -1, start));
        REQUIRE(writer.finish(end));
    }
    std::vector<std::string> copied() const {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(copy)) names.push_back(entry.path().filename().string());
        std::sort(names.begin(), names.end());
        return names;
    }

    Folder folder;
    std::string data, copy;
};

std::string log_name(uint64_t after) { return fmt::format("log-{:020}", after); }

}  // namespace

TEST_CASE("backup: a log alone, and a snapshot with what it needs") {
    const Pair pair;
    CHECK(convert::copy_live(pair.data, pair.copy) == 12);
    CHECK(pair.copied() == std::vector<std::string>{log_name(0), log_name(5), log_name(10)});
    pair.snapshot(7, 9);
    pair.folder.write("data/instance", "id = 0000000000000007\n");
    pair.folder.write("data/snapshot-00000000000000000009.partial", "half");
    CHECK(convert::copy_live(pair.data, pair.copy) == 12);
    CHECK(pair.copied() == std::vector<std::string>{"instance", log_name(5), log_name(10), "snapshot-00000000000000000007"});
    CHECK(DataImage::of_folder(pair.copy).keys() == 12);
    CHECK(content_of(pair.copy + "/" + log_name(5)) == content_of(pair.data + "/" + log_name(5)));
}

TEST_CASE("backup: what is not whole at the log's end is not copied") {
    const Pair pair;
    std::ofstream(pair.data + "/" + log_name(10), std::ios::binary | std::ios::app) << "a frame that is being written";
    CHECK(convert::copy_live(pair.data, pair.copy) == 12);
    CHECK(content_of(pair.data + "/" + log_name(10)).starts_with(content_of(pair.copy + "/" + log_name(10))));
    for (const oplogdump::Finding& finding : oplogdump::verify(pair.copy)) CHECK_FALSE(contains(finding.text, "never durable"));
}

TEST_CASE("backup: a log that does not reach back, an empty folder, damage") {
    const Pair pair;
    std::filesystem::remove(pair.data + "/" + log_name(0));
    CHECK(contains(error_of([&] { convert::copy_live(pair.data, pair.copy); }), "run BGSAVE first"));
    const Folder empty;
    CHECK(contains(error_of([&] { convert::copy_live(empty.path(), pair.copy); }), "there is nothing to copy; run BGSAVE first"));
    const Pair damaged;
    overwrite(damaged.data + "/" + log_name(5), 200, uint64_t{1});
    CHECK(contains(error_of([&] { convert::copy_live(damaged.data, damaged.copy); }), "is damaged at offset"));
}

TEST_CASE("backup: beside a writer and a cleaner") {
    const Folder folder;
    const std::string data = folder.file("data");
    std::filesystem::create_directory(data);
    std::atomic<bool> stop = false;
    std::thread writing([&] {
        LogWriter writer(data, {7, 1 << 20, false});
        writer.open_new(0, false);
        DataImage image;
        for (uint64_t number = 1; !stop; ++number) {
            const std::string effects = effects_of(number, 2000);
            add(writer, number, effects);
            image.apply(number, effects);
            writer.write();
            if (number % 50 != 0) continue;
            convert::write_snapshot(image, data, 7, number);
            writer.open_new(number, true);
            // Only the newest snapshot and its log stay, which is less than the real one leaves.
            for (const std::string& path : snapshot_files(data))
                if (path != snapshot_path(data, number)) std::filesystem::remove(path);
            for (const NumberedFile& log : numbered_logs(data))
                if (log.number < number) std::filesystem::remove(log.path);
        }
    });
    while (snapshot_files(data).empty()) usleep(1000);
    unsigned whole = 0;
    for (unsigned i = 0; i < 15; ++i) {
        const Folder copy;
        uint64_t number = 0;
        const std::string sentence = error_of([&] { number = convert::copy_live(data, copy.path()); });
        CHECK((sentence.empty() || contains(sentence, "change too fast")));
        if (!sentence.empty()) continue;
        ++whole;
        CHECK(DataImage::of_folder(copy.path()).number() == number);
        CHECK(DataImage::of_folder(copy.path()).keys() == number);
    }
    stop = true;
    writing.join();
    CHECK(whole > 0);
}

TEST_CASE("restore: all data files, if they are fine") {
    const Pair pair;
    pair.snapshot(3, 3);
    pair.snapshot(7, 9);
    pair.folder.write("data/instance", "id = 0000000000000007\n");
    pair.folder.write("data/note", "somebody's");
    convert::copy_verified(pair.data, pair.copy);
    CHECK(pair.copied().size() == 6);
    overwrite(pair.data + "/" + log_name(0), 100, uint64_t{1});
    CHECK(contains(error_of([&] { convert::copy_verified(pair.data, pair.copy); }), "the checksum is wrong"));
    const Folder empty;
    CHECK(contains(error_of([&] { convert::copy_verified(empty.path(), pair.copy); }), "holds no snapshot and no log"));
}

TEST_CASE("restore: times") {
    CHECK(convert::parse_time("1970-01-01T00:00:01Z") == 1999);
    CHECK(convert::parse_time("1970-01-01T00:00:01.5Z") == 1500);
    CHECK(convert::parse_time("2026-11-26T14:00:00.123Z") == 1'795'701'600'123);
    CHECK(convert::parse_time("2024-02-29T00:00:00Z"));
    const auto local = convert::parse_time("2026-11-26T14:00:00.000");
    REQUIRE(local);
    const time_t seconds = *local / 1000;
    struct tm fields {};
    localtime_r(&seconds, &fields);
    CHECK(fields.tm_hour == 14);
    for (const char* text : {"", "now", "2026-11-26", "2026-11-26 14:00:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-26T14:60:00Z",
            "2026-11-26T14:00:00.Z", "2026-11-26T14:00:00.1234Z",
                             "2026-11-26T14:00:00ZZ", "2026-11-26T14:00:00+1"})
        CHECK_FALSE(convert::parse_time(text));
}
