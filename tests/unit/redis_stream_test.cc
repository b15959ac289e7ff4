// Cutting a redis-server's stream into commands: cut anywhere, of any bytes, and with lengths that nobody would send; C1 to C3 of md/repl/redis_stream.h.
#include "md/repl/redis_stream.h"

#include <fmt/format.h>

#include <vector>

#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using namespace std::string_literals;
using md_repl::RedisStream;
using Outcome = RedisStream::Outcome;

namespace {

using Words = std::vector<std::string>;

std::string encoded(const Words& words) {
    std::string bytes = fmt::format("*{}\r\n", words.size());
    for (const std::string& word : words) bytes += fmt::format("${}\r\n{}\r\n", word.size(), word);
    return bytes;
}

Words words_of(const RedisStream& stream) { return {stream.words().begin(), stream.words().end()}; }

Outcome outcome_of(const std::string& bytes) { return RedisStream().next(bytes); }

}  // namespace

TEST_CASE("redis stream: commands one behind the other, words of any bytes") {
    const std::vector<Words> commands{{"PING"}, {"SET", "\0\r\n$3\r\n"s, ""}, {"REPLCONF", "GETACK", "*"}, {"SET", "long", std::string(70'000, 'x')}};
    std::string bytes;
    for (const Words& words : commands) bytes += encoded(words);
    RedisStream stream;
    for (const Words& words : commands) {
        REQUIRE(stream.next(bytes) == Outcome::command);
        CHECK(words_of(stream) == words);
        CHECK(stream.length() == encoded(words).size());
        bytes.erase(0, stream.length());
        stream.drop();
    }
    CHECK(stream.next("") == Outcome::incomplete);
}

TEST_CASE("redis stream C1, C2: cut anywhere it waits, and goes on from there, wherever the bytes lie by then") {
    const Words words{"SET", "key\r\n", std::string(130, 'v'), "KEEPTTL"};
    const std::string bytes = encoded(words) + "*1\r\n";
    for (size_t first = 0; first < encoded(words).size(); ++first)
        for (const size_t second : {first, first + 1, first + (encoded(words).size() - first) / 2}) {
            RedisStream stream;
            for (const size_t cut : {first, second}) {
                const std::string part = bytes.substr(0, cut);
                if (cut < encoded(words).size()) REQUIRE(stream.next(part) == Outcome::incomplete);
                if (cut < encoded(words).size()) CHECK((stream.needed() > cut && stream.needed() <= encoded(words).size()));
            }
            const std::string whole = bytes;
            REQUIRE(stream.next(whole) == Outcome::command);
            CHECK(stream.next(whole) == Outcome::command);
            CHECK(words_of(stream) == words);
        }
}

TEST_CASE("redis stream C3: what is no command is bad, and stays so") {
    for (const std::string& bytes : {"PING\r\n"s, "\n"s, "*0\r\n"s, "*-1\r\n"s, "*01\r\n"s, "*1\n"s, "*1 \r\n"s, "*\r\n"s, "*99999999999\r\n"s, "*2147483647\r\n"s, "*1\r\n:1\r\n"s,
                                    "*1\r\n$-1\r\n"s, "*1\r\n$4294967296\r\n"s, "*1\r\n$536870913\r\n"s, "*1\r\n$3\r\nabcd\r\n"s, "*1\r\n$3\r\nabc\n\n"s, "*123456789012345"s, "\0\0\0\0"s}) {
        INFO(bytes);
        CHECK(outcome_of(bytes) == Outcome::bad);
    }
    RedisStream stream;
    CHECK(stream.next("*x") == Outcome::bad);
    stream.drop();
    CHECK(stream.next(encoded({"PING"})) == Outcome::bad);
    // A length is believed before its bytes have come, and takes no memory.
    CHECK(outcome_of("*2\r\n$536870912\r\n") == Outcome::incomplete);
    CHECK(outcome_of("*1000000\r\n$1\r\na\r\n") == Outcome::incomplete);
}

TEST_CASE("redis stream: any bytes in any pieces do no harm") {
    Random random;
    INFO("SEED=", random.seed);
    const std::string valid = encoded({"SET", "key", "value"}) + encoded({"PING"});
    for (unsigned round = 0; round < 3000; ++round) {
        std::string bytes = valid;
        for (unsigned change = 0; change <= random.below(4); ++change) bytes[random.below(bytes.size())] = "*$\r\n0159x"[random.below(9)];
        RedisStream whole, pieces;
        const Outcome at_once = whole.next(bytes);
        Outcome outcome = Outcome::incomplete;
        for (size_t cut = 0; cut <= bytes.size() && outcome == Outcome::incomplete; ++cut) outcome = pieces.next(bytes.substr(0, cut));
        CHECK(outcome == at_once);
        if (outcome == Outcome::command) CHECK(whole.length() == pieces.length());
    }
}
