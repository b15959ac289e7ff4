// The log's writer when it cannot write or sync, and beside a thread that syncs and one that follows.
#include <atomic>
#include <thread>

#include "common/disk/file_io.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::disk;
using namespace millrace::unit;
using Outcome = LogReader::Outcome;

namespace {

struct Writing {
    explicit Writing(bool lz4) : writer(folder.path(), {9, 1 << 20, lz4}) {
        REQUIRE(writer.open_new(0, false));
        for (uint64_t number = 1; number <= 4; ++number) add(writer, number, effects_of(number, 50));
        REQUIRE(writer.write());
    }
    uint64_t length() const { return std::filesystem::file_size(writer.path()); }

    Folder folder;
    LogWriter writer;
};

}  // namespace

TEST_CASE("log writer: a write that fails anywhere leaves the file as it was, and can be done later") {
    for (const bool lz4 : {false, true}) {
        Writing log(lz4);
        const uint64_t before = log.length();
        for (uint64_t number = 5; number <= 7; ++number) add(log.writer, number, effects_of(number, 300));
        const size_t buffered = log.writer.buffered_bytes();
        unsigned failures = 0;
        for (uint64_t room = 0;; room += 8) {
            CAPTURE(room);
            const FileSizeLimit limit(before + room);
            if (log.writer.write()) break;
            ++failures;
            REQUIRE(log.writer.error() == EFBIG);
            REQUIRE(contains(log.writer.sentence(), "cannot write " + log.writer.path()));
            REQUIRE(log.length() == before);
            REQUIRE(log.writer.file_bytes() == before);
            REQUIRE(log.writer.written_number() == 4);
            REQUIRE(log.writer.buffered_bytes() == buffered);
            const ReadLog read(log.folder.path(), 0);
            REQUIRE(read.records.size() == 4);
            REQUIRE(read.last() == Outcome::end);
        }
        CHECK(failures > 10);
        add(log.writer, 8, effects_of(8, 10));
        REQUIRE(log.writer.write());
        REQUIRE(log.writer.sync());
        const ReadLog read(log.folder.path(), 0);
        CHECK(read.numbers() == std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7, 8});
        CHECK(read.records[6].effects == effects_of(7, 300));
        CHECK(read.last() == Outcome::end);
    }
}

TEST_CASE("log writer: a large record that does not fit is not there at all") {
    Writing log(false);
    add(log.writer, 5, effects_of(5, 100));
    const std::string large = effects_of(6, 3'000'000);
    const uint64_t before = log.length();
    {
        const FileSizeLimit limit(before);
        CHECK_FALSE(add_large(log.writer, 6, large));
        CHECK(log.length() == before);
        CHECK(log.writer.buffered_bytes() > 0);
    }
    uint64_t with_fifth = 0;
    {
        const FileSizeLimit limit(before + 2'000'000);
        CHECK_FALSE(add_large(log.writer, 6, large));
        CHECK(log.writer.error() == EFBIG);
        CHECK(log.writer.buffered_bytes() == 0);
        CHECK(log.writer.written_number() == 5);
        with_fifth = log.length();
        CHECK(with_fifth == log.writer.file_bytes());
        CHECK(ReadLog(log.folder.path(), 0).last() == Outcome::end);
    }
    add(log.writer, 6, effects_of(6, 10));  // something else may take its place
    REQUIRE(add_large(log.writer, 7, large));
    const ReadLog read(log.folder.path(), 0);
    CHECK(read.numbers() == std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7});
    CHECK(read.records[6].effects == large);
}

TEST_CASE("log writer: a file that cannot be made leaves nothing, and the one before goes on") {
    Writing log(true);
    for (const uint64_t room : {0, 63}) {
        const FileSizeLimit limit(room);
        CHECK_FALSE(log.writer.open_new(4, true));
        CHECK(log.writer.error() == EFBIG);
        CHECK(contains(log.writer.sentence(), "cannot make " + log_path(log.folder.path(), 4)));
    }
    CHECK(partial_files(log.folder.path()).empty());
    CHECK(log_files(log.folder.path()).size() == 1);
    add(log.writer, 5, effects_of(5, 10));
    REQUIRE(log.writer.write());
    REQUIRE(log.writer.open_new(5, true));
    CHECK(ReadLog(log.folder.path(), 0).records.size() == 5);
}

TEST_CASE("log writer: after a sync that failed it begins again from what is durable, and readers see every record once") {
    Writing log(false);
    REQUIRE(log.writer.sync());
    for (uint64_t number = 5; number <= 7; ++number) {
        add(log.writer, number, effects_of(number, 50));
        REQUIRE(log.writer.write());
    }
    add(log.writer, 8, effects_of(8, 50));
    log.writer.sync_failed(EIO);
    CHECK(log.writer.broken());
    CHECK_FALSE(log.writer.write());
    CHECK_FALSE(log.writer.sync());
    CHECK_FALSE(add_large(log.writer, 9, effects_of(9, 50)));
    CHECK(log.writer.synced_number() == 4);
    const std::string broken_path = log.writer.path();
    const KnownFrame undurable = frames_of(broken_path).back();
    REQUIRE(log.writer.open_new(4, true));
    CHECK_FALSE(log.writer.broken());
    CHECK(log.writer.buffered_bytes() == 0);
    for (uint64_t number = 5; number <= 9; ++number) add(log.writer, number, effects_of(number, 50));
    REQUIRE(log.writer.write());
    for (const bool damaged : {false, true}) {
        CAPTURE(damaged);
        if (damaged) overwrite(broken_path, undurable.begin + 10, uint64_t{0x5555555555555555});
        for (uint64_t from = 0; from < 9; ++from) {
            const ReadLog read(log.folder.path(), from);
            REQUIRE(read.records.size() == 9 - from);
            for (const ReadRecord& record : read.records) REQUIRE(record.effects == effects_of(record.number, 50));
            REQUIRE(read.outcomes == std::vector{Outcome::end});
        }
    }
    overwrite(broken_path, frames_of(broken_path)[2].begin + 10, uint64_t{0x5555555555555555});  // of what was durable
    CHECK(ReadLog(log.folder.path(), 0).last() == Outcome::damage);
}

TEST_CASE("log writer: a broken file of which nothing is durable is replaced") {
    Writing log(false);
    log.writer.sync_failed(EIO);
    CHECK(log.writer.synced_number() == 0);
    REQUIRE(log.writer.open_new(0, false));
    add(log.writer, 1, effects_of(1, 7));
    REQUIRE(log.writer.write());
    CHECK(ReadLog(log.folder.path(), 0).records == std::vector<ReadRecord>{{1, effects_of(1, 7)}});
    CHECK(log_files(log.folder.path()).size() == 1);
}

TEST_CASE("log writer: what is buffered goes into the next file") {
    Writing log(true);
    add(log.writer, 5, effects_of(5, 10));
    REQUIRE(log.writer.open_new(4, true));
    REQUIRE(log.writer.write());
    CHECK(ReadLog(log.folder.path(), 0).records.size() == 5);
    CHECK(ReadLog(log.folder.path(), 4).records.size() == 1);
}

TEST_CASE("log writer: marks never say more than what was synced") {
    Writing log(false);
    std::vector<uint64_t> synced{64};
    for (uint64_t number = 5; number <= 20; ++number) {
        if (number % 3 == 0) REQUIRE(log.writer.sync());
        synced.push_back(number % 3 == 0 ? log.length() : synced.back());
        add(log.writer, number, effects_of(number, 10));
        REQUIRE(log.writer.write());
    }
    std::vector<uint64_t> found;
    for (const KnownFrame& frame : frames_of(log.writer.path()))
        if (frame.synced != 0) found.push_back(frame.synced);
    CHECK(found == synced);
}

TEST_CASE("log writer: room is made anew as it is used up, and not for large batches") {
    Writing log(false);
    log.writer.make_room();
    const uint64_t first = log.length();
    CHECK(first >= log.writer.file_bytes() + 100'000);
    log.writer.make_room();
    CHECK(log.length() == first);
    unsigned grown = 0;
    uint64_t number = 4;
    while (log.writer.file_bytes() < 900'000) {
        const uint64_t before = log.length();
        ++number;
        add(log.writer, number, effects_of(number, 3000));
        REQUIRE(log.writer.write());
        REQUIRE(log.length() == before);  // it was in the room
        log.writer.make_room();
        grown += log.length() > before;
    }
    CHECK(grown > 1);
    CHECK(grown < 10);
    const uint64_t room_end = log.length();
    while (log.length() == room_end) {
        ++number;
        add(log.writer, number, effects_of(number, 100'000));
        REQUIRE(log.writer.write());
        log.writer.make_room();
    }
    CHECK(log.length() == log.writer.file_bytes());
    ++number;
    add(log.writer, number, effects_of(number, 10));
    REQUIRE(log.writer.write());
    log.writer.make_room();
    CHECK(log.length() > log.writer.file_bytes());
    REQUIRE(log.writer.write_mark());
    const ReadLog read(log.folder.path(), 0);
    CHECK(read.records.size() == number);
    CHECK(read.position.offset == log.writer.file_bytes());
}

TEST_CASE("log writer: room that cannot be made is none, and nothing else is to be seen of it") {
    for (const uint64_t bytes : {0, 8, 100'000}) {
        CAPTURE(bytes);
        Writing log(false);
        REQUIRE(log.writer.sync());
        const uint64_t before = log.length();
        {
            const FileSizeLimit limit(before + bytes);
            log.writer.make_room();
            CHECK(log.writer.error() == 0);
            CHECK(log.length() == before);
        }
        add(log.writer, 5, effects_of(5, 50));
        REQUIRE(log.writer.write());
        log.writer.make_room();  // not tried again in this file
        CHECK(log.length() == log.writer.file_bytes());
        CHECK(ReadLog(log.folder.path(), 0).records.size() == 5);
        REQUIRE(log.writer.open_new(5, true));
        log.writer.make_room();
        CHECK(log.length() > log.writer.file_bytes());
    }
}

TEST_CASE("log writer: a write that fails behind room leaves the file without it, and can be done later") {
    Writing log(false);
    log.writer.make_room();
    const uint64_t before = log.writer.file_bytes();
    {
        const FileSizeLimit limit(log.length());
        for (uint64_t number = 5; number <= 8; ++number) add(log.writer, number, effects_of(number, 100'000));
        CHECK_FALSE(log.writer.write());
        CHECK(log.writer.error() == EFBIG);
        CHECK(log.length() == before);
        log.writer.make_room();
        CHECK(ReadLog(log.folder.path(), 0).records.size() == 4);
        CHECK(ReadLog(log.folder.path(), 0).outcomes == std::vector{Outcome::end});
    }
    REQUIRE(log.writer.write());
    CHECK(ReadLog(log.folder.path(), 0).records.size() == 8);
}

TEST_CASE("log writer: a file whose sync has failed is left as it is, with its room") {
    Writing log(false);
    REQUIRE(log.writer.sync());
    add(log.writer, 5, effects_of(5, 50));
    REQUIRE(log.writer.write());
    log.writer.make_room();
    const std::string broken_path = log.writer.path(), content = content_of(broken_path);
    log.writer.sync_failed(EIO);
    log.writer.make_room();
    REQUIRE(log.writer.open_new(4, true));
    CHECK(content_of(broken_path) == content);
    add(log.writer, 5, effects_of(5, 50));
    add(log.writer, 6, effects_of(6, 50));
    REQUIRE(log.writer.write());
    const ReadLog read(log.folder.path(), 0);
    CHECK(read.numbers() == std::vector<uint64_t>{1, 2, 3, 4, 5, 6});
    CHECK(read.outcomes == std::vector{Outcome::end});
}

TEST_CASE("log writer: others sync and follow meanwhile") {
    constexpr uint64_t kLast = 3000;
    for (const auto& [rotates, room] : {std::pair{false, false}, {true, false}, {false, true}, {true, true}}) {
        CAPTURE(rotates);
        CAPTURE(room);
        const Folder folder;
        LogWriter writer(folder.path(), {9, rotates ? 20'000u : 1u << 30, false});
        REQUIRE(writer.open_new(0, false));
        std::atomic<uint64_t> followed = 0;
        std::atomic<bool> done = false, wrong = false;
        std::thread follower([&] {
            LogReader reader(folder.path(), 0);
            while (followed < kLast && !wrong) {
                const Outcome outcome = reader.next();
                if (outcome == Outcome::record && reader.number() == followed + 1 && reader.effects() == effects_of(reader.number(), reader.number() % 700)) ++followed;
                else if (outcome != Outcome::end && outcome != Outcome::tail) wrong = true;
            }
        });
        std::thread syncer([&] {
            while (!done && !rotates)
                if (const uint64_t written = writer.written_number(); !writer.sync() || writer.synced_number() < written) wrong = true;
        });
        for (uint64_t number = 1; number <= kLast; ++number) {
            add(writer, number, effects_of(number, number % 700));
            if (number % 4 == 0 || number == kLast) wrong = wrong || !writer.write();
            if (room && number % 4 == 0) writer.make_room();
            if (rotates && writer.full()) wrong = wrong || !writer.sync() || !writer.open_new(writer.written_number(), true);
        }
        done = true;
        syncer.join();
        for (int waits = 0; followed < kLast && !wrong && waits < 2000; ++waits) usleep(5000);
        wrong = wrong || followed < kLast;
        follower.join();
        CHECK_FALSE(wrong);
        CHECK(ReadLog(folder.path(), 0).records.size() == kLast);
    }
}
