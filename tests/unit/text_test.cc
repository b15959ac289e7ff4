// Text helpers against Redis's rules: strict integers, glob patterns, comparing without case.
#include "common/text.h"

#include <chrono>
#include <limits>

#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

TEST_CASE("integers: what Redis takes") {
    struct { std::string_view text; int64_t value; } cases[] = {
        {"0", 0}, {"1", 1}, {"-1", -1}, {"10", 10}, {"1234567890", 1234567890},
        {"9223372036854775807", std::numeric_limits<int64_t>::max()},
        {"-9223372036854775808", std::numeric_limits<int64_t>::min()}};
    for (const auto& row : cases) {
        CAPTURE(row.text);
        int64_t value = 99;
        CHECK(parse_integer(row.text, value));
        CHECK(value == row.value);
    }
}

TEST_CASE("integers: what Redis refuses") {
    for (const std::string text : {"", "-", "+", "+1", "-0", "00", "01", "-01", " 1", "1 ", "1\n", "1.0", "1e3", "0x1", "--1", "a",
                             "9223372036854775808", "-9223372036854775809", "99999999999999999999",
                             "000000000000000000000001"}) {
        CAPTURE(text);
        int64_t value;
        CHECK_FALSE(parse_integer(text, value));
    }
    int64_t value;
    CHECK_FALSE(parse_integer(std::string_view("1\0", 2), value));
}

TEST_CASE("glob: the table of Redis's patterns") {
    struct { std::string_view pattern, text; bool matches; } cases[] = {
        {"", "", true}, {"", "a", false}, {"a", "", false}, {"*", "", true}, {"*", "anything", true}, {"**", "x", true},
        {"a*c", "abbbc", true}, {"a*c", "abbb", false}, {"*a*b*", "xxaxxbxx", true}, {"*a*b*", "xxbxxaxx", false},
        {"h?llo", "hello", true}, {"h?llo", "hllo", false}, {"?", "", false}, {"?*", "a", true},
        {"h[ae]llo", "hallo", true}, {"h[ae]llo", "hillo", false}, {"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false},
        {"h[a-c]llo", "hbllo", true}, {"h[c-a]llo", "hbllo", true}, {"h[a-c]llo", "hdllo", false},
        {"[a-]", "-", false}, {"[]", "a", false}, {"[^]", "a", true}, {"[a", "a", true}, {"[\\]]", "]", true},
        {"\\*", "*", true}, {"\\*", "a", false}, {"a\\", "a\\", true}, {"\\\\", "\\", true}, {"[\\-a]", "-", true},
        {"abc", "ABC", false}, {"a*", "ab\ncd", true}};
    for (const auto& row : cases) {
        CAPTURE(row.pattern);
        CAPTURE(row.text);
        CHECK(glob_match(row.pattern, row.text, false) == row.matches);
    }
}

TEST_CASE("glob: without case") {
    CHECK(glob_match("MaxMem*", "maxmemory-policy", true));
    CHECK(glob_match("[A-C]x", "bX", true));
    CHECK_FALSE(glob_match("[A-C]x", "dX", true));
}

TEST_CASE("glob: many stars take no time that grows with their number") {
    std::string pattern;
    for (int i = 0; i < 50; ++i) pattern += "*a";
    const std::string text(5000, 'a');
    const auto began = std::chrono::steady_clock::now();
    CHECK_FALSE(glob_match(pattern + "b", text, false));
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(2));
}

TEST_CASE("glob: random patterns are read without harm") {
    Random random;
    INFO("SEED=" << random.seed);
    const auto word = [&](std::string_view letters) {
        std::string result;
        for (uint64_t length = random.below(8); length > 0; --length) result += letters[random.below(letters.size())];
        return result;
    };
    for (int i = 0; i < 20'000; ++i) glob_match(word("ab*?[]^-\\"), word("ab]-"), i % 2 == 0);
}

TEST_CASE("comparing without case: letters only") {
    CHECK(equals_ignoring_case("GeT", "gEt"));
    CHECK(equals_ignoring_case("", ""));
    CHECK_FALSE(equals_ignoring_case("get", "gets"));
    CHECK_FALSE(equals_ignoring_case("@", "`"));
    CHECK(lowered("AbC-\xc4") == "abc-\xc4");
}
