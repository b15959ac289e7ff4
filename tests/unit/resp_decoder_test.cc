// The request decoder: the same result however the bytes are cut, Redis's limits, inline quoting and error texts.
#include "io_conn/resp_decoder.h"

#include <map>

#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using io_conn::RespDecoder;
using Result = RespDecoder::Result;

namespace {

/// What became of some bytes: "a|b" for words, "<more>", or the error's text; and the length taken.
struct Decoded {
    std::string text;
    size_t length = 0;
    bool operator==(const Decoded&) const = default;
};

Decoded outcome(RespDecoder& decoder, Result result) {
    if (result == Result::need_more) return {"<more>", 0};
    if (result == Result::error) return {decoder.error(), 0};
    std::string text;
    for (const std::string_view word : decoder.arguments()) text += (text.empty() ? "" : "|") + std::string(word);
    return {text, decoder.length()};
}

/// Decodes bytes that arrive up to each of these lengths in turn; each time from a block of their own.
Decoded decode_in(const std::string& bytes, const std::vector<size_t>& lengths) {
    RespDecoder decoder;
    decoder.reset();
    for (const size_t length : lengths) {
        const std::string arrived(bytes.substr(0, length));
        const Result result = decoder.decode(arrived);
        if (result != Result::need_more || length == lengths.back()) return outcome(decoder, result);
    }
    return {};
}

Decoded decode(const std::string& bytes) { return decode_in(bytes, {bytes.size()}); }
std::string words(const std::string& bytes) { return decode(bytes).text; }

const std::string kRequests[] = {
    "*1\r\n$4\r\nPING\r\n", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nva\r\nl\r\n", "*2\r\n$0\r\n\r\n$1\r\n*\r\n", "*0\r\n", "*-1\r\n",
    "*1\r\n$10\r\n0123456789\r\n", "PING\r\n", "PING\n", "\r\n", "\n", "  SET  k\t'a b' \r\n", "ECHO \"a\\x41\\n\"\r\n",
    "\"\"\r\n", "*x\r\n", "*1\r\nx\r\n", "*1\r\n$-1\r\n", "*1\r\n$9999999\r\n", "ECHO \"open\r\n", "*2147483648\r\n"};

}  // namespace

TEST_CASE("decoder: every request cut at every byte gives the same") {
    for (const std::string& request : kRequests) {
        const Decoded whole = decode(request);
        CAPTURE(request);
        REQUIRE(whole.text != "<more>");
        for (size_t cut = 0; cut <= request.size(); ++cut) REQUIRE(decode_in(request, {cut, request.size()}) == whole);
        std::vector<size_t> each_byte;
        for (size_t length = 0; length <= request.size(); ++length) each_byte.push_back(length);
        REQUIRE(decode_in(request, each_byte) == whole);
    }
}

TEST_CASE("decoder: what follows a request does not change it") {
    for (const std::string& request : kRequests)
        for (const std::string_view next : {"*1\r\n$4\r\nPING\r\n", "x", "\r\n", "$", "\xff"}) {
            CAPTURE(request);
            REQUIRE(decode(request + std::string(next)) == decode(request));
        }
}

TEST_CASE("decoder: a pipeline of random requests, cut at random bytes, comes out in order") {
    Random random;
    INFO("SEED=" << random.seed);
    for (int round = 0; round < 200; ++round) {
        std::string stream;
        std::vector<std::string> expected;
        for (int i = 0; i < 5; ++i) {
            const std::string argument = random.bytes(random.below(30));
            stream += "*2\r\n$3\r\nGET\r\n$" + std::to_string(argument.size()) + "\r\n" + argument + "\r\n";
            expected.push_back("GET|" + argument);
        }
        RespDecoder decoder;
        decoder.reset();
        std::vector<std::string> got;
        for (size_t start = 0, arrived = 0; start < stream.size();) {
            const std::string block = stream.substr(start, arrived - start);
            const Result result = decoder.decode(block);
            REQUIRE(result != Result::error);
            if (result == Result::need_more) {
                arrived = std::min(stream.size(), arrived + 1 + random.below(20));
                continue;
            }
            got.push_back(outcome(decoder, result).text);
            start += decoder.length();
            decoder.reset();
        }
        REQUIRE(got == expected);
    }
}

TEST_CASE("decoder: counts of nothing are requests without words") {
    for (const std::string request : {"*0\r\n", "*-1\r\n", "*-5\r\n", "\r\n", "\n", "   \r\n"}) {
        CAPTURE(request);
        CHECK(decode(request) == Decoded{"", request.size()});
    }
}

TEST_CASE("decoder: Redis's words for what is malformed") {
    const std::map<std::string, std::string> errors = {
        {"*x\r\n", "invalid multibulk length"},       {"*+1\r\n", "invalid multibulk length"},
        {"*\r\n", "invalid multibulk length"},        {"*01\r\n", "invalid multibulk length"},
        {"*1 \r\n", "invalid multibulk length"},      {"*2147483648\r\n", "invalid multibulk length"},
        {"*1\r\nx\r\n", "expected '$', got 'x'"},     {"*1\r\n\r\n", "expected '$', got '\r'"},
        {"*1\r\n$\r\n", "invalid bulk length"},       {"*1\r\n$-1\r\n", "invalid bulk length"},
        {"*1\r\n$+1\r\n", "invalid bulk length"},     {"*1\r\n$1048577\r\n", "invalid bulk length"},
        {"*1\r\n$1x\r\n", "invalid bulk length"},     {"*1\r\n$9223372036854775808\r\n", "invalid bulk length"},
        {"\"open\r\n", "unbalanced quotes in request"}, {"'open\r\n", "unbalanced quotes in request"},
        {"\"a\"b\r\n", "unbalanced quotes in request"}, {"a\"b\"c\r\n", "unbalanced quotes in request"}};
    for (const auto& [request, error] : errors) {
        CAPTURE(request);
        CHECK(words(request) == "Protocol error: " + error);
    }
}

TEST_CASE("decoder: an argument of exactly the limit is taken, the limit can be set") {
    const std::string longest(1024 * 1024, 'v');
    CHECK(words("*1\r\n$1048576\r\n" + longest + "\r\n") == longest);
    RespDecoder strict(10);
    CHECK(strict.decode("*1\r\n$10\r\n0123456789\r\n") == Result::request);
    strict.reset();
    CHECK(strict.decode("*1\r\n$11\r\n") == Result::error);
}

TEST_CASE("decoder: a line without an end is refused beyond 64 KiB and not before") {
    const std::string full(RespDecoder::kLineBytesMax, '1');
    CHECK(words(full) == "<more>");
    CHECK(words(full + "1") == "Protocol error: too big inline request");
    CHECK(words("*" + full.substr(1)) == "<more>");
    CHECK(words("*" + full) == "Protocol error: too big mbulk count string");
    CHECK(words("*1\r\n$" + full.substr(1)) == "<more>");
    CHECK(words("*1\r\n$" + full) == "Protocol error: too big bulk count string");
}

TEST_CASE("decoder: the largest count is taken and takes no memory before its arguments come") {
    CHECK(words("*2147483647\r\n$1\r\na\r\n") == "<more>");
}

TEST_CASE("decoder: it says how many bytes a long argument needs") {
    RespDecoder decoder;
    decoder.reset();
    const std::string begun = "*1\r\n$1000\r\nabc";
    CHECK(decoder.decode(begun) == Result::need_more);
    CHECK(decoder.needed() == 4 + 7 + 1000 + 2);
}

TEST_CASE("inline: words, quotes and escapes as in Redis") {
    const std::map<std::string, std::string> lines = {
        {"a b", "a|b"},           {"  a\t\tb  ", "a|b"},    {"'a b' c", "a b|c"},        {"\"a b\" c", "a b|c"},
        {"a\"b c\"", "ab c"},     {"'it\\'s'", "it's"},     {"\"\\x41\\x4a\"", "AJ"},    {"\"\\xZZ\"", "xZZ"},
        {"\"\\n\\r\\t\\b\\a\"", "\n\r\t\b\a"},             {"\"\\\"\\\\\\q\"", "\"\\q"}, {"'\\n'", "\\n"},
        {"'a\"b'", "a\"b"},       {"\"a'b\"", "a'b"},       {"\\a", "\\a"},              {"a\rb", "a|b"},
        {"a *1 $2", "a|*1|$2"},   {"$4", "$4"}};
    for (const auto& [line, expected] : lines) {
        CAPTURE(line);
        CHECK(words(line + "\r\n") == expected);
    }
}

TEST_CASE("inline: an empty word between quotes is a word") {
    RespDecoder decoder;
    decoder.reset();
    REQUIRE(decoder.decode("ECHO ''\r\n") == Result::request);
    REQUIRE(decoder.arguments().size() == 2);
    CHECK(decoder.arguments()[1] == "");
}

TEST_CASE("inline: vertical tab and form feed separate no words, as in Redis") {
    CHECK(words("ECHO a\vb\r\n") == "ECHO|a\vb");
    CHECK(words("ECHO a\fb\r\n") == "ECHO|a\fb");
}

TEST_CASE("decoder: random bytes do no harm") {
    Random random;
    INFO("SEED=" << random.seed);
    const std::string letters = "*$\r\n-0123\"'\\x ab";
    for (int round = 0; round < 20'000; ++round) {
        std::string bytes;
        for (uint64_t length = random.below(40); length > 0; --length) bytes += letters[random.below(letters.size())];
        const size_t cut = random.below(bytes.size() + 1);
        REQUIRE(decode_in(bytes, {cut, bytes.size()}) == decode(bytes));
    }
}
