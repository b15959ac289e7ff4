// The reply parser of millrace-bench: every stream is fed whole, split at every byte, and byte by byte, and
// must give the same replies each time.
#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tools/bench/reply_parser.h"

using namespace millrace::bench;

namespace {

// What came out, in letters: s status, E error, i integer, b bulk, n nil, a array, ! not the protocol.
char letter(ReplyKind kind) {
    switch (kind) {
        case kReplyStatus:
            return 's';
        case kReplyError:
            return 'E';
        case kReplyInteger:
            return 'i';
        case kReplyBulk:
            return 'b';
        case kReplyNil:
            return 'n';
        case kReplyArray:
            return 'a';
    }
    return '?';
}

struct Seen {
    std::string kinds;
    std::vector<int64_t> numbers;
    std::string error;
    uint32_t nils = 0;
    bool all_match = true;
};

class TextCheck : public PayloadCheck {
  public:
    explicit TextCheck(std::string text) : text_(std::move(text)) {}
    bool matches(uint32_t, int64_t length, int64_t offset, std::string_view chunk) override {
        return length == static_cast<int64_t>(text_.size()) &&
               std::string_view(text_).substr(static_cast<size_t>(offset), chunk.size()) == chunk;
    }

  private:
    std::string text_;
};

void feed(ReplyParser& parser, std::string_view bytes, Seen& seen, PayloadCheck* check) {
    const std::string copy(bytes);  // so that a view kept too long is noticed by the sanitizers
    const char* at = copy.data();
    Reply reply;
    for (;;) {
        const Parsed parsed = parser.next(at, copy.data() + copy.size(), reply, check);
        if (parsed == Parsed::kBad) seen.kinds += '!';
        if (parsed != Parsed::kReply) return;
        seen.kinds += letter(reply.kind);
        seen.numbers.push_back(reply.number);
        seen.nils += reply.nils;
        seen.all_match = seen.all_match && reply.payload_matches;
        if (reply.kind == kReplyError && seen.error.empty()) seen.error = reply.text;
    }
}

Seen parse_in_two(std::string_view stream, size_t split, Protocol protocol, PayloadCheck* check) {
    ReplyParser parser(protocol);
    Seen seen;
    feed(parser, stream.substr(0, split), seen, check);
    feed(parser, stream.substr(split), seen, check);
    return seen;
}

// The same result for every split, or a failed check.
Seen parse(std::string_view stream, Protocol protocol = Protocol::kRedis, PayloadCheck* check = nullptr) {
    const Seen whole = parse_in_two(stream, 0, protocol, check);
    for (size_t split = 1; split <= stream.size(); ++split) {
        const Seen seen = parse_in_two(stream, split, protocol, check);
        REQUIRE(seen.kinds == whole.kinds);
        REQUIRE(seen.numbers == whole.numbers);
        REQUIRE(seen.error == whole.error);
        REQUIRE(seen.nils == whole.nils);
        REQUIRE(seen.all_match == whole.all_match);
    }
    ReplyParser parser(protocol);
    Seen bytewise;
    for (const char& byte : stream) feed(parser, {&byte, 1}, bytewise, check);
    REQUIRE(bytewise.kinds == whole.kinds);
    return whole;
}

}  // namespace

TEST_CASE("bench reply parser: the kinds of RESP2") {
    const Seen seen = parse("+OK\r\n:-42\r\n$5\r\nhello\r\n$0\r\n\r\n$-1\r\n*0\r\n*-1\r\n");
    CHECK(seen.kinds == "sibbnan");
    CHECK(seen.numbers == std::vector<int64_t>{0, -42, 5, 0, 0, 0, 0});
    CHECK(seen.nils == 2);
}

TEST_CASE("bench reply parser: payloads may contain line ends") {
    CHECK(parse("$9\r\n\r\n+OK\r\n\r\n\r\n+OK\r\n").kinds == "bs");
}

TEST_CASE("bench reply parser: arrays, with missing values, empty and nested") {
    CHECK(parse("*3\r\n$1\r\na\r\n$-1\r\n:3\r\n+OK\r\n").kinds == "as");
    CHECK(parse("*2\r\n*2\r\n:1\r\n:2\r\n*0\r\n:7\r\n").kinds == "ai");
    CHECK(parse("*1\r\n*1\r\n*1\r\n$-1\r\n:7\r\n").kinds == "ai");
    CHECK(parse("*2\r\n$-1\r\n$-1\r\n").nils == 2);
    CHECK(parse("*10\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n").numbers ==
          std::vector<int64_t>{10});
}

TEST_CASE("bench reply parser: errors, alone and inside an array") {
    const Seen seen = parse("-ERR no such thing\r\n:1\r\n");
    CHECK(seen.kinds == "Ei");
    CHECK(seen.error == "ERR no such thing");
    const Seen inside = parse("*3\r\n:1\r\n-WRONGTYPE first\r\n-ERR second\r\n+OK\r\n");
    CHECK(inside.kinds == "Es");
    CHECK(inside.error == "WRONGTYPE first");
    CHECK(parse("*1\r\n-ERR\r\n+OK\r\n").kinds == "Es");
}

TEST_CASE("bench reply parser: a line that never ends keeps memory bounded") {
    const std::string text(10 * ReplyParser::kLineMax, 'x');
    const Seen seen = parse("-" + text + "\r\n+OK\r\n");
    CHECK(seen.kinds == "Es");
    CHECK(seen.error.size() == ReplyParser::kErrorTextMax);
}

TEST_CASE("bench reply parser: what is not RESP2 is refused") {
    for (const char* stream : {"\r\n", "?\r\n", ":\r\n", ":1x\r\n", "$-2\r\n", "$999999999999\r\n", "*-2\r\n",
                               "*2000000\r\n", "$1\r\nab\r\n", "HTTP/1.1 400 Bad Request\r\n"}) {
        CAPTURE(stream);
        ReplyParser parser;
        Seen seen;
        feed(parser, stream, seen, nullptr);
        CHECK(seen.kinds == "!");
    }
}

TEST_CASE("bench reply parser: payloads are compared across splits") {
    TextCheck check("wonderful");
    CHECK(parse("$9\r\nwonderful\r\n", Protocol::kRedis, &check).all_match);
    CHECK(parse("*2\r\n$9\r\nwonderful\r\n$-1\r\n", Protocol::kRedis, &check).all_match);
    CHECK_FALSE(parse("$9\r\nwonderfuL\r\n", Protocol::kRedis, &check).all_match);
    CHECK_FALSE(parse("$3\r\nwon\r\n", Protocol::kRedis, &check).all_match);
    CHECK_FALSE(parse("$0\r\n\r\n", Protocol::kRedis, &check).all_match);
    CHECK_FALSE(parse("*2\r\n$9\r\nwanderful\r\n$9\r\nwonderful\r\n", Protocol::kRedis, &check).all_match);
}

TEST_CASE("bench reply parser: memcached's answers to get and set") {
    TextCheck check("a\r\nEND\r\nb");
    const Seen seen =
        parse("STORED\r\nVALUE key 0 9\r\na\r\nEND\r\nb\r\nEND\r\nEND\r\n", Protocol::kMemcached, &check);
    CHECK(seen.kinds == "sbn");
    CHECK(seen.nils == 1);
    CHECK(seen.all_match);
    CHECK(parse("ERROR\r\nCLIENT_ERROR bad data\r\nSERVER_ERROR object too large\r\n", Protocol::kMemcached)
              .kinds == "EEE");
    CHECK(parse("VALUE key 0 x\r\n", Protocol::kMemcached).kinds.starts_with("!"));
}
