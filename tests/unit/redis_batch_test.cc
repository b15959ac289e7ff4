// From a redis-server's commands to what md is given: where pieces begin and end, what is passed over, what is refused; B1 to B4 of md/repl/redis_batch.h.
#include "md/repl/redis_batch.h"

#include <fmt/format.h>

#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md_repl::RedisBatch;
using Taken = RedisBatch::Taken;

namespace {

constexpr size_t kBytes = 100;  ///< that each command takes in the stream

struct Fixture {
    Fixture() { batch.begin({1000, 3}); }

    Taken take(const std::string& text, size_t bytes = kBytes) {
        std::vector<std::string_view> words;
        for (size_t at = 0; at < text.size();) {
            const size_t end = std::min(text.find(' ', at), text.size());
            words.push_back(std::string_view(text).substr(at, end - at));
            at = end + 1;
        }
        return batch.take(words, bytes);
    }
    /// "from/database to/database: database words command ...", and it is given to md.
    std::string piece() {
        const RedisBatch::Request request = batch.request();
        std::string text = fmt::format("{}/{} {}/{}:", request.from, request.from_database, request.to, request.to_database);
        std::string_view left = request.encoded;
        size_t words = 0;
        for (; !left.empty(); ++words) {
            const size_t length = std::strtoull(left.data() + 1, nullptr, 10), at = left.find('\n') + 1;
            text += " " + std::string(left.substr(at, length));
            left.remove_prefix(at + length + 2);
        }
        CHECK(words == request.words);
        const RedisBatch::Given given = batch.given();
        CHECK(std::to_string(given.to) == request.to);
        offsets = given.begins;
        return text;
    }

    RedisBatch batch;
    std::vector<uint64_t> offsets;
};

}  // namespace

TEST_CASE("redis batch: many commands are a piece, each with its database, and it is known where each began") {
    Fixture fixture;
    for (const char* text : {"SET a 1", "SELECT 5", "incr a", "PING", "DEL a b"}) REQUIRE(fixture.take(text) == Taken::yes);
    REQUIRE(fixture.batch.ready());
    CHECK(fixture.piece() == "1000/3 1500/5: 3 3 SET a 1 5 2 incr a 5 3 DEL a b");
    CHECK(fixture.offsets == std::vector<uint64_t>{1000, 1200, 1400});
    CHECK(fixture.batch.idle());
    CHECK_FALSE(fixture.batch.behind());
    REQUIRE(fixture.take("PFCOUNT h") == Taken::yes);
    CHECK(fixture.piece() == "1500/5 1600/5: 5 2 PFCOUNT h");
}

TEST_CASE("redis batch: what changes nothing counts in the offset, and is no piece by itself") {
    Fixture fixture;
    for (const char* text : {"PING", "PUBLISH c m", "SPUBLISH c m", "SCRIPT FLUSH", "REPLCONF CAPA x"}) REQUIRE(fixture.take(text) == Taken::yes);
    CHECK_FALSE(fixture.batch.ready());
    CHECK(fixture.batch.idle());
    CHECK(fixture.batch.behind());
    CHECK(fixture.take("REPLCONF getack *") == Taken::asks);
    CHECK(fixture.piece() == "1000/3 1600/3:");
    REQUIRE(fixture.take("SELECT 4") == Taken::yes);
    CHECK(fixture.piece() == "1600/3 1700/4:");
}

TEST_CASE("redis batch B1, B2: a transaction is in one piece") {
    Fixture fixture;
    for (const char* text : {"SET a 1", "MULTI", "SELECT 1", "RENAME a b", "FLUSHDB"}) {
        REQUIRE(fixture.take(text) == Taken::yes);
        CHECK(fixture.batch.ready() == (text[0] == 'S' && text[1] == 'E' && text[2] == 'T'));
    }
    CHECK_FALSE(fixture.batch.idle());
    CHECK(fixture.take("EXEC") == Taken::yes);
    REQUIRE(fixture.batch.ready());
    CHECK(fixture.piece() == "1000/3 1600/1: 3 3 SET a 1 1 3 RENAME a b 1 1 FLUSHDB");
}

TEST_CASE("redis batch B2: a transaction with what cannot be done together becomes several pieces, once it is there") {
    Fixture fixture;
    for (const char* text : {"SET a 1", "MULTI", "SET b 1", "SELECT 4", "SWAPDB 0 1", "SWAPDB 1 2", "SET c 1"}) REQUIRE(fixture.take(text) == Taken::yes);
    CHECK_FALSE(fixture.batch.ready());
    REQUIRE(fixture.take("EXEC") == Taken::yes);
    CHECK(fixture.take("SET d 1") == Taken::full);
    CHECK(fixture.piece() == "1000/3 1400/4: 3 3 SET a 1 3 3 SET b 1");
    CHECK(fixture.piece() == "1400/4 1500/4: 4 3 SWAPDB 0 1");
    CHECK(fixture.offsets == std::vector<uint64_t>{1400});
    CHECK(fixture.piece() == "1500/4 1600/4: 4 3 SWAPDB 1 2");
    REQUIRE(fixture.take("SET d 1") == Taken::yes);
    CHECK(fixture.piece() == "1600/4 1900/4: 4 3 SET c 1 4 3 SET d 1");
    fixture.batch.set_clears_together(false);
    for (const char* text : {"MULTI", "SET a 1", "FLUSHDB", "SET b 1", "FLUSHALL", "EXEC"}) REQUIRE(fixture.take(text) == Taken::yes);
    CHECK(fixture.piece() == "1900/4 2100/4: 4 3 SET a 1");
    CHECK(fixture.piece() == "2100/4 2200/4: 4 1 FLUSHDB");
    CHECK(fixture.piece() == "2200/4 2300/4: 4 3 SET b 1");
    CHECK(fixture.piece() == "2300/4 2400/4: 4 1 FLUSHALL");
    CHECK_FALSE(fixture.batch.ready());
    CHECK(fixture.batch.behind());
    // Refused in the middle, nothing of it is left.
    for (const char* text : {"MULTI", "SET a 1", "SWAPDB 0 1", "SET b 1"}) REQUIRE(fixture.take(text) == Taken::yes);
    CHECK(fixture.take("LPUSH l x") == Taken::refused);
    CHECK_FALSE(fixture.batch.ready());
    CHECK(fixture.piece() == "2400/4 2500/4:");
}

TEST_CASE("redis batch B2: gone on with in the middle of a transaction, its end is none of anything else") {
    Fixture fixture;
    for (const char* text : {"SET c 1", "EXEC", "SET d 1"}) REQUIRE(fixture.take(text) == Taken::yes);
    CHECK(fixture.piece() == "1000/3 1300/3: 3 3 SET c 1 3 3 SET d 1");
    CHECK(fixture.take("EXEC") == Taken::refused);
}

TEST_CASE("redis batch B3: some commands are pieces of their own") {
    Fixture fixture;
    for (const char* text : {"SWAPDB 0 1", "FLUSHALL", "SETRANGE k 0 x", "RENAME a b", "BITOP NOT a b"}) {
        REQUIRE(fixture.take("SET a 1") == Taken::yes);
        REQUIRE(fixture.take(text) == Taken::full);
        fixture.piece();
        REQUIRE(fixture.take(text) == Taken::yes);
        for (const char* next : {"SET a 1", "MULTI", "PING"}) CHECK(fixture.take(next) == Taken::full);
        fixture.piece();
    }
}

TEST_CASE("redis batch B4: pieces have an end") {
    Fixture fixture;
    unsigned taken = 0;
    while (fixture.take("INCR a") == Taken::yes) ++taken;
    CHECK(taken == RedisBatch::kCommandsMax);
    fixture.piece();
    const std::string large = "SET a " + std::string(RedisBatch::kBytesMax / 2, 'x');
    REQUIRE(fixture.take(large, large.size()) == Taken::yes);
    CHECK(fixture.take(large, large.size()) == Taken::full);
    fixture.piece();
    REQUIRE(fixture.take("MULTI") == Taken::yes);
    for (unsigned i = 0; i < 2000; ++i) REQUIRE(fixture.take("INCR a") == Taken::yes);
    CHECK(fixture.take("SET a huge", RedisBatch::kTransactionBytesMax) == Taken::refused);
    CHECK(fixture.batch.sentence().find("in a transaction of more than 640 MB") != std::string::npos);
}

TEST_CASE("redis batch: what cannot be done is refused, with what it is, and what came before is there still") {
    Fixture fixture;
    REQUIRE(fixture.take("SET a 1") == Taken::yes);
    CHECK(fixture.take("LPUSH q\r\nueue job") == Taken::refused);
    CHECK(fixture.batch.sentence() == "at offset 1100 of its stream 'LPUSH' of key 'q\\x0d\\x0aueue' came, which this server cannot do: it has strings only");
    for (const char* text : {"EVAL script 0", "FUNCTION LOAD x", "MS_RELOAD", "MS_APPLY 1 2 x", "CONFIG SET a b", "GET a", "INCR", "SELECT 16", "SELECT x", "SELECT", "RESTORE-ASKING a 0 b"})
        CHECK(fixture.take(text) == Taken::refused);
    CHECK(fixture.piece() == "1000/3 1100/3: 3 3 SET a 1");
    // A transaction is given up as a whole.
    for (const char* text : {"SET b 1", "MULTI", "SELECT 7", "SET c 1"}) REQUIRE(fixture.take(text) == Taken::yes);
    CHECK(fixture.take("MULTI") == Taken::refused);
    REQUIRE(fixture.batch.ready());
    CHECK(fixture.piece() == "1100/3 1200/3: 3 3 SET b 1");
    for (const char* text : {"MULTI", "SET c 1"}) REQUIRE(fixture.take(text) == Taken::yes);
    CHECK(fixture.take("ZADD z 1 a") == Taken::refused);
    CHECK(fixture.batch.idle());
    CHECK_FALSE(fixture.batch.behind());
}
