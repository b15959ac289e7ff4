// The log's files: what was written is read, through as many files as there are, however records are put into them; and how a
// writer that cannot write leaves them. log_damage_test.cc has what happens to files that were changed.
#include "common/disk/file_io.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::disk;
using namespace millrace::unit;
using Outcome = LogReader::Outcome;

namespace {

constexpr uint64_t kInstance = 0x1234;
using Numbers = std::vector<uint64_t>;

/// Records of the numbers given, with values of `length` bytes, in batches of three, each made durable.
void fill(LogWriter& writer, uint64_t first, uint64_t last, size_t length) {
    for (uint64_t number = first; number <= last; ++number) {
        add(writer, number, effects_of(number, length));
        if (number % 3 != 0 && number != last) continue;
        REQUIRE(writer.write());
        REQUIRE(writer.sync());
    }
}

Numbers range(uint64_t first, uint64_t last) {
    Numbers numbers;
    while (first <= last) numbers.push_back(first++);
    return numbers;
}

}  // namespace

TEST_CASE("log: checksums are those of iSCSI") {
    CHECK(crc32c("123456789") == 0xe3069283);
    CHECK(crc32c("6789", crc32c("12345")) == 0xe3069283);
    CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aa);  // RFC 3720, B.4
}

TEST_CASE("log: round trip") {
    for (const bool lz4 : {false, true})
        for (const size_t length : {0, 5, 4000, 300'000}) {
            CAPTURE(lz4);
            CAPTURE(length);
            const Folder folder;
            LogWriter writer(folder.path(), {kInstance, 1 << 30, lz4});
            REQUIRE(writer.open_new(0, false));
            fill(writer, 1, 50, length);
            const ReadLog log(folder.path(), 0);
            REQUIRE(log.numbers() == range(1, 50));
            for (const ReadRecord& record : log.records) CHECK(record.effects == effects_of(record.number, length));
            CHECK(log.outcomes == std::vector{Outcome::end});
            CHECK(log.position.offset == writer.file_bytes());
            CHECK(log.bytes == writer.file_bytes());
            CHECK(writer.synced_number() == 50);
        }
}

TEST_CASE("log: packing makes it smaller, and what cannot be packed is as it is") {
    Random random;
    INFO("SEED=", random.seed);
    const Folder folder, plain_folder;
    LogWriter packed(folder.path(), {kInstance, 1 << 30, true}), plain(plain_folder.path(), {kInstance, 1 << 30, false});
    REQUIRE(packed.open_new(0, false));
    REQUIRE(plain.open_new(0, false));
    fill(packed, 1, 30, 4000);
    fill(plain, 1, 30, 4000);
    CHECK(packed.file_bytes() < plain.file_bytes() / 4);
    std::string noise;
    append_effect(noise, {EffectKind::set, 0, 0, 0, 0, -1}, "noise", random.bytes(5000));
    const uint64_t before = packed.file_bytes();
    add(packed, 31, noise);
    REQUIRE(packed.write());
    CHECK(packed.file_bytes() == before + kMarkFrameBytes + frame_bytes(noise.size()));
    const ReadLog log(folder.path(), 0);
    REQUIRE(log.numbers() == range(1, 31));
    CHECK(log.records.back().effects == noise);
}

TEST_CASE("log: a batch of many megabytes is packed in parts") {
    const Folder folder;
    LogWriter writer(folder.path(), {kInstance, 1 << 30, true});
    REQUIRE(writer.open_new(0, false));
    for (uint64_t number = 1; number <= 40; ++number) add(writer, number, effects_of(number, 200'000));
    REQUIRE(writer.buffered_bytes() > 7'000'000);
    REQUIRE(writer.write());
    CHECK(writer.file_bytes() < 2'000'000);
    CHECK(writer.buffered_bytes() == 0);
    CHECK(ReadLog(folder.path(), 0).numbers() == range(1, 40));
}

TEST_CASE("log: records of more than a megabyte") {
    for (const bool lz4 : {false, true}) {
        CAPTURE(lz4);
        const Folder folder;
        LogWriter writer(folder.path(), {kInstance, 1 << 30, lz4});
        REQUIRE(writer.open_new(0, false));
        add(writer, 5, effects_of(5, 10));
        REQUIRE(add_large(writer, 6, effects_of(6, 5'000'003)));
        CHECK(writer.written_number() == 6);
        add(writer, 7, effects_of(7, 3'000'000));  // more than it is for
        add(writer, 9, effects_of(9, 10));
        REQUIRE(writer.write());
        REQUIRE(add_large(writer, 10, effects_of(10, 1)));
        const ReadLog log(folder.path(), 0);
        CHECK(log.numbers() == Numbers{5, 6, 7, 9, 10});
        CHECK(log.records[1].effects == effects_of(6, 5'000'003));
        CHECK(log.records[2].effects == effects_of(7, 3'000'000));
        CHECK(log.last() == Outcome::end);
    }
}

TEST_CASE("log: pieces are put together, and a record without effects is one") {
    const Folder folder;
    LogWriter writer(folder.path(), {kInstance, 1 << 30, false});
    REQUIRE(writer.open_new(0, false));
    const std::string_view pieces[] = {"abc", "", "defgh", "i"};
    writer.add(1, pieces);
    writer.add(2, {});
    REQUIRE(writer.add_large(3, pieces));
    REQUIRE(writer.add_large(4, {}));
    const ReadLog log(folder.path(), 0);
    REQUIRE(log.numbers() == range(1, 4));
    CHECK(log.records[0].effects == "abcdefghi");
    CHECK(log.records[1].effects.empty());
    CHECK(log.records[2].effects == "abcdefghi");
    CHECK(log.records[3].effects.empty());
}

TEST_CASE("log: reading begins behind any number") {
    const Folder folder;
    LogWriter writer(folder.path(), {kInstance, 2000, false});
    REQUIRE(writer.open_new(0, false));
    for (uint64_t number = 1; number <= 60; ++number) {
        fill(writer, number, number, 100);
        if (writer.full()) REQUIRE(writer.open_new(number, true));
    }
    const std::vector<LogFileInfo> files = log_files(folder.path());
    REQUIRE(files.size() > 3);
    for (size_t i = 0; i < files.size(); ++i) {
        CHECK(files[i].fault.empty());
        CHECK(files[i].header.sequence == i + 1);
        CHECK(files[i].header.instance == kInstance);
        CHECK(files[i].header.flags == (i == 0 ? 0 : kLogContinues));
        CHECK(files[i].bytes == std::filesystem::file_size(files[i].path));
    }
    for (uint64_t from = 0; from <= 60; ++from) {
        CAPTURE(from);
        const ReadLog log(folder.path(), from);
        CHECK(log.numbers() == range(from + 1, 60));
        CHECK(log.outcomes == std::vector{Outcome::end});
        CHECK(log.number == 60);
        CHECK(log.number_in_file == 60);
    }
    const ReadLog beyond(folder.path(), 100);  // a snapshot may be newer than what a crash has left of the log
    CHECK(beyond.outcomes == std::vector{Outcome::end});
    CHECK(beyond.number == 100);
    CHECK(beyond.number_in_file == 60);
}

TEST_CASE("log: no file at all is the end, and files that come are read on") {
    const Folder folder;
    LogReader reader(folder.path(), 0);
    CHECK(reader.next() == Outcome::end);
    CHECK(reader.position().path.empty());
    LogWriter writer(folder.path(), {kInstance, 1 << 20, true});
    REQUIRE(writer.open_new(0, false));
    CHECK(reader.next() == Outcome::end);
    for (uint64_t number = 1; number <= 20; ++number) {
        fill(writer, number, number, 500);
        if (number % 7 == 0) REQUIRE(writer.open_new(number, true));
        REQUIRE(reader.next() == Outcome::record);
        CHECK(reader.number() == number);
        CHECK(reader.wall_ms() > 1'600'000'000'000);
        CHECK(reader.next() == Outcome::end);
    }
    CHECK_FALSE(error_of([&] { LogReader(folder.file("none"), 0); }).empty());
}

TEST_CASE("log: a file that does not go on is a gap, behind which reading goes on") {
    const Folder folder;
    LogWriter writer(folder.path(), {kInstance, 1 << 20, false});
    REQUIRE(writer.open_new(10, false));
    fill(writer, 11, 20, 10);
    REQUIRE(writer.open_new(25, false));
    fill(writer, 26, 30, 10);
    REQUIRE(writer.open_new(30, false));
    fill(writer, 31, 31, 10);
    const ReadLog log(folder.path(), 15);
    CHECK(log.numbers() == Numbers{16, 17, 18, 19, 20, 26, 27, 28, 29, 30, 31});
    CHECK(log.outcomes == std::vector{Outcome::gap, Outcome::gap, Outcome::end});
    CHECK(contains(log.sentences[0], "begins after record 25, and the files before end with record 20"));
    CHECK(contains(log.sentences[1], "does not go on"));
    CHECK(ReadLog(folder.path(), 25).outcomes == std::vector{Outcome::gap, Outcome::end});
    const ReadLog older(folder.path(), 5);
    CHECK(older.outcomes == std::vector{Outcome::gap, Outcome::gap, Outcome::gap, Outcome::end});
    CHECK(older.numbers().size() == 16);
}

TEST_CASE("log: a missing file in the middle is a gap") {
    const Folder folder;
    LogWriter writer(folder.path(), {kInstance, 1 << 20, false});
    for (uint64_t after = 0; after < 30; after += 10) {
        REQUIRE(writer.open_new(after, after > 0));
        fill(writer, after + 1, after + 10, 10);
    }
    std::filesystem::remove(log_path(folder.path(), 10));
    const ReadLog log(folder.path(), 0);
    CHECK(log.outcomes == std::vector{Outcome::gap, Outcome::end});
    CHECK(log.records.size() == 20);
}

TEST_CASE("log: a writer goes on behind the last whole frame, and cuts what is behind it") {
    for (const bool lz4 : {false, true}) {
        const Folder folder;
        std::string path;
        {
            LogWriter writer(folder.path(), {kInstance, 1 << 20, lz4});
            REQUIRE(writer.open_new(0, false));
            fill(writer, 1, 10, 300);
            path = writer.path();
            std::ofstream(path, std::ios::binary | std::ios::app) << std::string(999, 'x');
        }
        const ReadLog torn(folder.path(), 0);
        REQUIRE(torn.last() == Outcome::tail);
        LogWriter writer(folder.path(), {kInstance, 1 << 20, lz4});
        REQUIRE(writer.open_existing(torn.position.path, torn.position.offset, torn.number_in_file));
        CHECK(writer.written_number() == 10);
        CHECK(writer.file_bytes() == std::filesystem::file_size(path));
        fill(writer, 11, 20, 300);
        REQUIRE(writer.open_new(20, true));
        fill(writer, 21, 30, 300);
        const ReadLog log(folder.path(), 0);
        CHECK(log.numbers() == range(1, 30));
        CHECK(log.outcomes == std::vector{Outcome::end});
        CHECK(log_files(folder.path()).back().header.sequence == 2);
    }
}

TEST_CASE("log: no file is overwritten") {
    const Folder folder;
    LogWriter writer(folder.path(), {kInstance, 1 << 20, false});
    REQUIRE(writer.open_new(0, false));
    fill(writer, 1, 5, 10);
    CHECK_FALSE(writer.open_new(0, false));
    CHECK(writer.error() == EEXIST);
    CHECK(contains(writer.sentence(), "log-00000000000000000000"));
    fill(writer, 6, 6, 10);
    CHECK(ReadLog(folder.path(), 0).numbers() == range(1, 6));
    CHECK_FALSE(writer.open_existing(writer.path(), writer.file_bytes() + 8, 6));
    CHECK_FALSE(writer.open_existing(folder.file("none"), 64, 6));
}

TEST_CASE("log: room ahead is no part of the log, while it is written and when its writer was killed") {
    for (const bool lz4 : {false, true}) {
        CAPTURE(lz4);
        const Folder folder, killed;
        LogWriter writer(folder.path(), {kInstance, 1 << 20, lz4});
        REQUIRE(writer.open_new(0, false));
        for (uint64_t number = 1; number <= 40; ++number) {
            add(writer, number, effects_of(number, 100 * number));
            REQUIRE(writer.write());
            REQUIRE(writer.sync());
            writer.make_room();
            REQUIRE(std::filesystem::file_size(writer.path()) > writer.file_bytes());
            const ReadLog log(folder.path(), 0);
            REQUIRE(log.numbers() == range(1, number));
            REQUIRE(log.outcomes == std::vector{Outcome::end});
            REQUIRE(log.position.offset == writer.file_bytes());
            REQUIRE(log.bytes == writer.file_bytes());
        }
        std::filesystem::copy(folder.path(), killed.path(), std::filesystem::copy_options::recursive);
        const ReadLog log(killed.path(), 0);
        REQUIRE(log.numbers() == range(1, 40));
        for (const ReadRecord& record : log.records) REQUIRE(record.effects == effects_of(record.number, 100 * record.number));
        LogWriter next(killed.path(), {kInstance, 1 << 20, lz4});
        REQUIRE(next.open_existing(log.position.path, log.position.offset, log.number_in_file));
        CHECK(std::filesystem::file_size(next.path()) == next.file_bytes());
        CHECK(next.file_bytes() == writer.file_bytes());
        fill(next, 41, 50, 100);
        CHECK(ReadLog(killed.path(), 0).numbers() == range(1, 50));
        CHECK(ReadLog(killed.path(), 0).outcomes == std::vector{Outcome::end});
    }
}

TEST_CASE("log: room is cut where a file is left") {
    const Folder folder;
    std::string last;
    uint64_t last_bytes = 0;
    {
        LogWriter writer(folder.path(), {kInstance, 1 << 20, false});
        for (uint64_t after = 0; after < 30; after += 10) {
            REQUIRE(writer.open_new(after, after > 0));
            fill(writer, after + 1, after + 10, 10);
            writer.make_room();
        }
        last = writer.path();
        last_bytes = writer.file_bytes();
        CHECK(std::filesystem::file_size(last) > last_bytes);
    }
    CHECK(std::filesystem::file_size(last) == last_bytes);
    for (const LogFileInfo& file : log_files(folder.path())) CHECK(frames_of(file.path).back().end == file.bytes);
    CHECK(ReadLog(folder.path(), 0).numbers() == range(1, 30));
}

TEST_CASE("log: who follows reads records where room was, in this file and in those that come") {
    const Folder folder;
    LogWriter writer(folder.path(), {kInstance, 60'000, true});
    REQUIRE(writer.open_new(0, false));
    LogReader follower(folder.path(), 0), late(folder.path(), 0);
    REQUIRE(follower.next() == Outcome::end);
    uint64_t late_number = 0;
    for (uint64_t number = 1; number <= 900; ++number) {
        CAPTURE(number);
        add(writer, number, effects_of(number, number % 50 * 60));
        REQUIRE(writer.write());
        REQUIRE(writer.sync());
        if (writer.full()) REQUIRE(writer.open_new(number, true));
        else writer.make_room();
        REQUIRE(follower.next() == Outcome::record);
        REQUIRE(follower.number() == number);
        REQUIRE(follower.effects() == effects_of(number, number % 50 * 60));
        REQUIRE(follower.next() == Outcome::end);
        if (number % 3 == 0) {  // it looks seldom, and has seen lengths that are none any more
            REQUIRE(late.next() == Outcome::record);
            REQUIRE(late.number() == ++late_number);
        }
    }
    while (late.next() == Outcome::record) REQUIRE(late.number() == ++late_number);
    CHECK(late_number == 900);
    CHECK(log_files(folder.path()).size() > 3);
}

TEST_CASE("log: records that are all zeros are records") {
    for (const bool lz4 : {false, true}) {
        CAPTURE(lz4);
        const Folder folder;
        LogWriter writer(folder.path(), {kInstance, 1 << 30, lz4});
        REQUIRE(writer.open_new(0, false));
        uint64_t number = 0;
        for (const size_t length : {0, 1, 8, 100, 4000, 300'000, 2'000'000}) {
            if (length > kBufferedRecordMax) REQUIRE(add_large(writer, ++number, std::string(length, '\0')));
            else add(writer, ++number, std::string(length, '\0'));
            REQUIRE(writer.write());
            writer.make_room();
            const ReadLog log(folder.path(), 0);
            REQUIRE(log.numbers() == range(1, number));
            REQUIRE(log.records.back().effects == std::string(length, '\0'));
            REQUIRE(log.position.offset == writer.file_bytes());
        }
    }
}
