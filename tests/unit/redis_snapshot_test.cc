// An RDB that comes over a link: in both forms and in any pieces, and what it becomes; what is no string, and bytes from anywhere; D1 to D3 of
// md/repl/redis_snapshot.h.
#include "md/repl/redis_snapshot.h"

#include <sys/stat.h>

#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "common/disk/data_image.h"
#include "common/disk/snapshot_reader.h"
#include "tests/unit/convert_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md_repl::RedisSnapshot;
using Outcome = RedisSnapshot::Outcome;

namespace {

const std::string kName(40, 'a'), kMark(40, 'm');

std::string counted(const std::string& bytes) { return fmt::format("${}\r\n", bytes.size()) + bytes; }
std::string marked(const std::string& bytes) { return "$EOF:" + kMark + "\r\n" + bytes + kMark; }

struct Fixture {
    explicit Fixture(uint64_t offset = 500) : snapshot(folder.path(), 7) { REQUIRE(snapshot.begin(kName, offset)); }

    /// Takes the bytes as they come, `step` at a time; what is left is what is not the RDB's.
    Outcome receive(std::string bytes, size_t step) {
        Outcome outcome = Outcome::more;
        std::string come;
        while (outcome == Outcome::more) {
            if (bytes.empty()) return Outcome::more;
            come += bytes.substr(0, step);
            bytes.erase(0, step);
            for (size_t taken = 1; taken > 0 && outcome == Outcome::more && !come.empty(); come.erase(0, taken)) outcome = snapshot.take(come, taken);
        }
        left = come + bytes;
        return outcome;
    }
    Outcome convert() {
        Outcome outcome;
        while ((outcome = snapshot.convert(0)) == Outcome::more) ++slices;
        return outcome;
    }
    std::string refusal_of(const std::string& elements) {
        REQUIRE(receive(counted(rdb(elements)), 1 << 20) == Outcome::done);
        CHECK(convert() == Outcome::failed);
        CHECK_FALSE(std::filesystem::exists(disk::sync_folder_path(folder.path())));
        return snapshot.sentence();
    }

    Folder folder;
    RedisSnapshot snapshot;
    std::string left;
    unsigned slices = 0;
};

}  // namespace

TEST_CASE("redis snapshot: in both forms and in pieces of any length it becomes a snapshot of its strings") {
    const std::string bytes = rdb("\xfa"s + rdb_string("repl-stream-db") + rdb_string("9") + "\xfe\2"s + rdb_key("key", "value") + "\xfc"s + little_endian(int64_t{5}) + rdb_key("is over", "1"));
    for (const auto& whole : {counted(bytes), marked(bytes)})
        for (const size_t step : {size_t{1}, size_t{7}, size_t{39}, size_t{41}, whole.size()}) {
            Fixture fixture;
            REQUIRE(fixture.receive("\n\n" + whole + "*1\r\n", step) == Outcome::done);
            CHECK(fixture.left == "*1\r\n");
            CHECK(fixture.snapshot.bytes_come() == bytes.size());
            REQUIRE(fixture.convert() == Outcome::done);
            CHECK(fixture.snapshot.keys() == 2);
            const std::string to = disk::sync_folder_path(fixture.folder.path());
            CHECK(disk::sync_is_complete(fixture.folder.path()));
            CHECK_FALSE(std::filesystem::exists(disk::sync_rdb_path(fixture.folder.path())));
            const auto history = disk::read_history(to);
            REQUIRE(history);
            CHECK((history->history == kName && history->following));
            disk::SnapshotReader reader(disk::snapshot_path(to, 500));
            REQUIRE(reader.open());
            CHECK((reader.stream_number() == 500 && reader.stream_database() == 9 && reader.end() == 500));
            const disk::DataImage image = disk::DataImage::of_folder(to);
            CHECK(image.keys() == 2);
            CHECK(image.databases()[2].at("key").value == "value");
            CHECK(image.databases()[2].at("is over").expire_at_ms == 5);
        }
}

TEST_CASE("redis snapshot: an offset of 0 is one, and data without keys is data") {
    Fixture fixture(0);
    REQUIRE(fixture.receive(marked(rdb("")), 1000) == Outcome::done);
    REQUIRE(fixture.convert() == Outcome::done);
    disk::SnapshotReader reader(disk::snapshot_path(disk::sync_folder_path(fixture.folder.path()), 1));
    REQUIRE(reader.open());
    CHECK((reader.stream_number() == 0 && reader.items() == 0));
}

TEST_CASE("redis snapshot: what looks like the beginning of the mark is data") {
    const std::string bytes = rdb(rdb_key("key", kMark.substr(1) + "x" + kMark.substr(1)));
    for (size_t step = 1; step < 60; ++step) {
        Fixture fixture;
        REQUIRE(fixture.receive(marked(bytes), step) == Outcome::done);
        CHECK(fixture.snapshot.bytes_come() == bytes.size());
    }
}

TEST_CASE("redis snapshot: a slice is bounded") {
    std::string elements;
    for (unsigned i = 0; i < 1000; ++i) elements += rdb_key("key" + std::to_string(i), std::string(100, 'v'));
    Fixture fixture;
    REQUIRE(fixture.receive(counted(rdb(elements)), 1 << 20) == Outcome::done);
    REQUIRE(fixture.convert() == Outcome::done);
    CHECK(fixture.slices >= 50);
}

TEST_CASE("redis snapshot D1: what is no string ends it, with its name, and leaves nothing") {
    const std::string list = "\1"s + rdb_string("queue") + "\1"s + rdb_string("job");
    CHECK(Fixture().refusal_of(rdb_key("a", "1") + "\xfe\3"s + list).find("its data has a list, key 'queue' in database 3, and this server keeps strings only") == 0);
    CHECK(Fixture().refusal_of("\xf5"s + rdb_string("#!lua name=l")).find("its data has a library of functions") == 0);
    Fixture fixture;
    CHECK(fixture.refusal_of("\4"s + rdb_string("h") + "\0"s).find("a hash, key 'h'") != std::string::npos);
    CHECK(fixture.snapshot.refused());
    Fixture other;
    CHECK(other.refusal_of("\xfe\x10"s + rdb_key("k", "v")).find("there is a key in database 16") != std::string::npos);
}

TEST_CASE("redis snapshot: sentences about what does not come as it should") {
    for (const char* line : {"$x\r\n", "$-1\r\n", "$0\r\n", "$99999999999999999999\r\n", "$EOF:short\r\n", "+OK\r\n", "\r\n"}) {
        Fixture fixture;
        INFO(line);
        CHECK(fixture.receive(line, 100) == Outcome::failed);
        CHECK(fixture.snapshot.sentence() == "it does not say what it is about to send");
    }
    Fixture fixture, other, third;
    CHECK(fixture.receive("-ERR no memory\r\n", 100) == Outcome::failed);
    CHECK(fixture.snapshot.sentence() == "its snapshot cannot be had: ERR no memory");
    CHECK(other.receive(std::string(1000, '$'), 1) == Outcome::failed);
    CHECK(third.receive("$1000\r\nREDIS0010", 5) == Outcome::more);
    CHECK_FALSE(third.snapshot.sentence().size() > 0);
}

TEST_CASE("redis snapshot: damage at every byte, and every cut, ends with a sentence or a snapshot") {
    const std::string whole = rdb("\xfe\2\xfb\1\1\xfc"s + little_endian(int64_t{1'800'000'000'000}) + rdb_key("key", std::string(60, 'v')) + rdb_key("n", "12345"));
    std::string unchecked = whole;
    unchecked.replace(unchecked.size() - 8, 8, 8, '\0');
    for (size_t at = 0; at < whole.size(); ++at) {
        Fixture cut;
        if (at > 0) {
            REQUIRE(cut.receive(counted(whole.substr(0, at)), 1000) == Outcome::done);
            CHECK(cut.convert() == Outcome::failed);
            CHECK_FALSE(cut.snapshot.sentence().empty());
        }
        for (const int change : {1, 0x80, 0xff}) {
            std::string bytes = whole, other = unchecked;
            bytes[at] = other[at] = static_cast<char>(bytes[at] ^ change);
            INFO("offset ", at, " change ", change);
            Fixture damaged, unseen;
            REQUIRE(damaged.receive(counted(bytes), 1000) == Outcome::done);
            CHECK(damaged.convert() == Outcome::failed);
            REQUIRE(unseen.receive(counted(other), 1000) == Outcome::done);
            const Outcome outcome = unseen.convert();
            CHECK((outcome == Outcome::failed) == !unseen.snapshot.sentence().empty());
        }
    }
}
