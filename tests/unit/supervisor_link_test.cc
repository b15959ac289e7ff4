// What io_conn and the supervisor say to each other: strings of any bytes out, and answers in that may be anything.
#include "io_conn/supervisor_link.h"

#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::io_conn;

TEST_CASE("supervisor link: a text of any bytes as a JSON string") {
    CHECK(json_quoted("") == "\"\"");
    CHECK(json_quoted("a b") == "\"a b\"");
    CHECK(json_quoted("\"\\") == "\"\\\"\\\\\"");
    CHECK(json_quoted(std::string_view("\0\n\x7f\xc3\xa9", 5)) == "\"\\u0000\\u000a\\u007f\\u00c3\\u00a9\"");
}

TEST_CASE("supervisor link: answers") {
    CHECK(read_supervisor_answer("{\"ok\": true}").ok);
    CHECK(read_supervisor_answer("{\"ok\": true, \"pid\": 7}").ok);
    const auto error = [](std::string_view line) {
        const SupervisorAnswer answer = read_supervisor_answer(line);
        CHECK_FALSE(answer.ok);
        return answer.error;
    };
    CHECK(error("{\"ok\": false, \"error\": \"no room\"}") == "no room");
    CHECK(error("{\"ok\": false, \"error\": \"a \\\"b\\\" \\\\ \\u00e9 \\u20ac \\udcff\\nend\"}") == "a \"b\" \\ \xc3\xa9 \xe2\x82\xac \xff end");
    CHECK(error("{\"ok\": false, \"error\": \"cut off \\u00") == "cut off u00");
    for (const std::string_view line : {"", "nonsense", "{\"ok\": false}", "[]", "{\"ok\": false, \"error\": 7}"})
        CHECK(error(line) == "the supervisor's answer is not understood");
}
