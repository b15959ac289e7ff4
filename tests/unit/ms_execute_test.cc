// MS_EXECUTE, by which a redis-server's stream becomes this server's data: all of a piece or nothing, with where it ends, and in its place only.
#include <fmt/format.h>

#include "common/commands.h"
#include "tests/unit/channel_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

struct Fixture {
    explicit Fixture(uint64_t pages = TestMemory::kPagesDefault) : group(pages), channel(group, 1, 1 << 20) {
        group.store().set_live(OptionId::replicaof, "host 1");
        REQUIRE(group.store().commit());
    }

    /// Commands are "database command word ...", with ~ for an empty word.
    std::string execute(uint64_t from, unsigned from_database, uint64_t to, unsigned to_database, const std::vector<std::string>& commands) {
        std::vector<std::string> words{std::to_string(from), std::to_string(from_database), std::to_string(to), std::to_string(to_database)};
        for (const std::string& command : commands) {
            std::istringstream in(command);
            std::vector<std::string> each;
            for (std::string word; in >> word;) each.push_back(word == "~" ? "" : word);
            words.push_back(each[0]);
            words.push_back(std::to_string(each.size() - 1));
            words.insert(words.end(), each.begin() + 1, each.end());
        }
        return channel.ask_large(CommandId::ms_execute, {words.begin(), words.end()});
    }
    std::string place() { return fmt::format("{}/{}", group.store().stream_number(), group.store().stream_database()); }
    int64_t expiry(std::string_view key) { return group.store().find(0, key, group.store().place_of(key)).value().expire_at_ms; }

    Group group;
    TestChannel channel;
};

}  // namespace

TEST_CASE("ms_execute: a piece is done with where it ends, and is not done again") {
    Fixture fixture;
    REQUIRE(fixture.execute(0, 0, 50, 2, {"0 SET a 1", "0 INCR a", "2 APPEND a x", "2 append a y"}) == "+OK\r\n");
    CHECK(fixture.place() == "50/2");
    CHECK((fixture.group.get("a") == "2" && fixture.group.get("a", 2) == "xy"));
    CHECK(fixture.execute(0, 0, 50, 2, {"0 INCR a"}) == "-NOTNEXT 50 2\r\n");
    CHECK(fixture.execute(50, 0, 60, 0, {"0 INCR a"}) == "-NOTNEXT 50 2\r\n");
    CHECK(fixture.execute(49, 2, 60, 0, {"0 INCR a"}) == "-NOTNEXT 50 2\r\n");
    CHECK(fixture.group.get("a") == "2");
    CHECK(fixture.execute(50, 2, 70, 3, {}) == "+OK\r\n");
    CHECK(fixture.place() == "70/3");
    CHECK(fixture.group.store().memory().root().number >= 70);
    fixture.channel.restart_md();
    CHECK(fixture.place() == "70/3");
    CHECK(fixture.group.faults().empty());
}

TEST_CASE("ms_execute: of a piece with a command that fails nothing is done") {
    Fixture fixture;
    REQUIRE(fixture.execute(0, 0, 10, 0, {"0 SET text abc"}) == "+OK\r\n");
    CHECK(fixture.execute(10, 0, 20, 0, {"0 SET b 1", "0 INCR text", "0 SET c 1"}) == "-FAILED 1 'INCR' of key 'text': ERR value is not an integer or out of range\r\n");
    CHECK(fixture.execute(10, 0, 20, 0, {"0 SETRANGE text -1 x"}) == "-FAILED 0 'SETRANGE' of key 'text': ERR offset is out of range\r\n");
    CHECK(fixture.execute(10, 0, 20, 0, {"0 BITOP AND text"}) == "-FAILED 0 'BITOP' of key 'text': its number of words is wrong\r\n");
    for (const char* command : {"0 LPUSH l x", "0 GET text", "0 EXEC", "0 MS_RELOAD", "0 MS_APPLY 1 2 x", "0 REPLICAOF no one", "0 CONFIG SET maxmemory 1", "0 WATCH a"})
        CHECK(fixture.execute(10, 0, 20, 0, {command}).find("is not known here") != std::string::npos);
    CHECK(fixture.execute(10, 0, 20, 0, {"0 SET b 1", "1 SWAPDB 0 1", "0 SET c 1"}).find("-FAILED 1 'SWAPDB'") == 0);
    CHECK(fixture.place() == "10/0");
    CHECK((fixture.group.get("b") == "<none>" && fixture.group.get("text") == "abc"));
    CHECK(fixture.execute(10, 0, 20, 0, {"0 SET b 1"}) == "+OK\r\n");
}

TEST_CASE("ms_execute: words that are no piece are refused") {
    Fixture fixture;
    for (const std::vector<std::string_view>& words : std::vector<std::vector<std::string_view>>{{"0", "0", "0", "0"}, {"x", "0", "1", "0"}, {"0", "16", "1", "0"}, {"0", "0", "1", "-1"}, {"0", "0", "9", "0", "0"},
                                                      {"0", "0", "9", "0", "0", "3", "SET", "a"}, {"0", "0", "9", "0", "16", "1", "PING"}, {"0", "0", "9", "0", "0", "0"}, {"0", "0", "9", "0", "0", "-1", "x"}}) {
        CHECK(fixture.channel.ask(CommandId::ms_execute, words)[0] == '-');
        CHECK(fixture.place() == "0/0");
    }
    fixture.group.store().set_live(OptionId::replicaof, "");
    REQUIRE(fixture.group.store().commit());
    CHECK(fixture.execute(0, 0, 10, 0, {"0 SET a 1"}).find("-NOTFOLLOWING") == 0);
}

TEST_CASE("ms_execute: nothing is over before the master says so, and times from now on are this server's") {
    Fixture fixture;
    const int64_t before = wall_ms();
    REQUIRE(fixture.execute(0, 0, 10, 0, {"0 SET a 1 PXAT 1000", "0 INCR a", "0 PEXPIREAT b 1"}) == "+OK\r\n");
    CHECK(fixture.expiry("a") == 1000);
    REQUIRE(fixture.execute(10, 0, 20, 0, {"0 PEXPIREAT a 5", "0 APPEND a 0", "0 SETEX b 100 v", "0 SET c v", "0 EXPIRE c 100"}) == "+OK\r\n");
    CHECK((fixture.expiry("a") == 5 && fixture.group.get("a") == "20"));
    for (const char* key : {"b", "c"}) CHECK((fixture.expiry(key) >= before + 100'000 && fixture.expiry(key) <= wall_ms() + 100'000));
}

TEST_CASE("ms_execute: a transaction sees what it has done, and databases may be cleared in one") {
    Fixture fixture;
    REQUIRE(fixture.execute(0, 0, 10, 0, {"1 MSET a 1 b 2", "1 FLUSHDB", "1 APPEND a x", "1 APPEND a y", "1 RENAME a c", "1 COPY c d", "0 FLUSHALL", "3 SET e 1", "3 MOVE e 4"}) == "+OK\r\n");
    CHECK((fixture.group.get("c", 1) == "<none>" && fixture.group.get("e", 4) == "1" && fixture.group.store().keys(1) == 0));
    REQUIRE(fixture.execute(10, 0, 20, 0, {"4 SWAPDB 4 0"}) == "+OK\r\n");
    CHECK(fixture.group.get("e") == "1");
    CHECK(fixture.group.faults().empty());
}

TEST_CASE("ms_execute: without memory nothing is done, and it is possible later") {
    Fixture fixture;
    const std::string value(3000, 'f');
    uint64_t at = 0;
    for (; at < 10; ++at) REQUIRE(fixture.execute(at, 0, at + 1, 0, {"0 SET k" + std::to_string(at) + " " + value, "0 PFADD h a"}) == "+OK\r\n");
    fixture.group.space.calls_left = 0;
    while (fixture.execute(at, 0, at + 1, 0, {"0 SET k" + std::to_string(at) + " " + value}) == "+OK\r\n") ++at;
    CHECK(fixture.execute(at, 0, at + 1, 0, {"0 SET a " + value, "0 SET b " + value}).find("-OOM") == 0);
    CHECK(fixture.place() == std::to_string(at) + "/0");
    CHECK(fixture.execute(at, 0, at + 1, 0, {"0 PFCOUNT k0 k1"}).find("-FAILED 0 'PFCOUNT' of key 'k0': WRONGTYPE") == 0);
    REQUIRE(fixture.execute(at, 0, at + 1, 0, {"0 DEL k0 k1 k2"}) == "+OK\r\n");
    fixture.group.collect();
    CHECK(fixture.execute(at + 1, 0, at + 2, 0, {"0 SET a 1"}) == "+OK\r\n");
}
