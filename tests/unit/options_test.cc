// Options: the table, units and ranges, the configuration file, and errors that name file, line and what would be right.
#include "common/options.h"

#include <limits>

#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

/// The options after a file of this content; throws its error.
Options read(const std::string& content) {
    Folder folder;
    Options options;
    options.read_file(folder.write("millrace.conf", content));
    return options;
}

std::string refusal(std::string_view name, std::string_view value) {
    return error_of([&] { Options().set(name, value); });
}

std::string file_refusal(const std::string& content) {
    return error_of([&] { read(content); });
}

}  // namespace

TEST_CASE("options: every row has its own name, a sentence and a default that is valid") {
    std::string last;
    for (const OptionRow& row : option_rows()) {
        CAPTURE(row.name);
        CHECK(find_option(row.name) == &row);
        CHECK(row.sentence.ends_with('.'));
        CHECK(refusal(row.name, row.fallback) == "");
    }
}

TEST_CASE("options: names are found in any case, and only whole names") {
    CHECK(find_option("PoRt") == find_option("port"));
    CHECK(find_option("por") == nullptr);
    CHECK(find_option("") == nullptr);
}

TEST_CASE("options: sizes take Redis's units") {
    struct { std::string_view text; int64_t bytes; } cases[] = {
        {"0", 0}, {"1", 1}, {"1b", 1}, {"2k", 2000}, {"2kb", 2048}, {"3M", 3'000'000}, {"3mB", 3 << 20},
        {"1g", 1'000'000'000}, {"1GB", 1 << 30}, {"9223372036854775807", std::numeric_limits<int64_t>::max()}};
    for (const auto& row : cases) {
        CAPTURE(row.text);
        int64_t bytes = -1;
        CHECK(parse_bytes(row.text, bytes));
        CHECK(bytes == row.bytes);
    }
}

TEST_CASE("options: what is no size is refused") {
    for (const std::string text : {"", "kb", "-1", "+1", "1 kb", "1tb", "1kbb", "0x10", "1.5mb", "9223372036854775808",
                             "9223372036854775807kb", "10000000000gb"}) {
        CAPTURE(text);
        int64_t bytes;
        CHECK_FALSE(parse_bytes(text, bytes));
    }
}

TEST_CASE("options: both ends of a range are valid, one more is not") {
    for (const OptionRow& row : option_rows()) {
        if (row.type != OptionType::integer && row.type != OptionType::bytes) continue;
        CAPTURE(row.name);
        CHECK(refusal(row.name, std::to_string(row.lowest)) == "");
        CHECK(refusal(row.name, std::to_string(row.highest)) == "");
        CHECK(refusal(row.name, std::to_string(row.lowest - 1)) != "");
        CHECK(refusal(row.name, std::to_string(row.highest + 1)) != "");
    }
}

TEST_CASE("options: an error names value, option and what would be right") {
    CHECK(refusal("port", "99999") == "'99999' is no value for port; right would be 0 to 65535 (TCP port)");
    CHECK(contains(refusal("loglevel", "loud"), "one of: debug|verbose|notice|warning"));
    CHECK(contains(refusal("unixsocketperm", "999"), "an octal mode up to 777"));
    CHECK(contains(refusal("ring-size", "100000"), "a power of two"));
    CHECK(contains(refusal("no-such-thing", "1"), "'no-such-thing' is no option"));
}

TEST_CASE("options: numbers are whole and nothing else") {
    for (const std::string text : {"", " 1", "1 ", "1x", "0x1", "1.0", "1e3", "99999999999999999999"}) {
        CAPTURE(text);
        CHECK(refusal("port", text) != "");
    }
}

TEST_CASE("options: octal is read as octal") {
    Options options;
    options.set("unixsocketperm", "770");
    CHECK(options.number(OptionId::unixsocketperm) == 0770);
    CHECK(options.text(OptionId::unixsocketperm) == "770");
    CHECK(refusal("unixsocketperm", "1000") != "");
}

TEST_CASE("options: a choice is one of the words, whole and in lower case") {
    CHECK(refusal("loglevel", "debug") == "");
    CHECK(refusal("loglevel", "debug|verbose") != "");
    CHECK(refusal("loglevel", "de") != "");
    CHECK(refusal("loglevel", "") != "");
    CHECK(refusal("appendonly", "yes") == "");
    CHECK(refusal("appendonly", "maybe") != "");
}

TEST_CASE("options: save is pairs of seconds and changes") {
    const auto shown = [](std::string_view value) {
        Options options;
        options.set("save", value);
        return options.text(OptionId::save);
    };
    CHECK(shown("") == "");
    CHECK(shown("3600 1") == "3600 1");
    CHECK(shown("60 0 010 5") == "60 0 10 5");
    CHECK(shown("10 ") == "10 0");
    for (const std::string_view value : {"x", "10", "0 1", "10 1 20", "10 -1", "-1 10", " 10 1", "10  1", "10 1x", "2147483648 1", "10 1 \n5 5", "99999999999999999999 1"}) {
        CAPTURE(value);
        CHECK(refusal("save", value).find("right would be pairs of seconds") != std::string::npos);
    }
}

TEST_CASE("options: a refused value leaves the old one") {
    Options options;
    options.set("port", "7000");
    CHECK_THROWS_AS(options.set("port", "70000"), Error);
    CHECK(options.number(OptionId::port) == 7000);
    CHECK(options.text(OptionId::port) == "7000");
}

TEST_CASE("options: sizes are shown in bytes") {
    Options options;
    options.set("ring-size", "128kb");
    CHECK(options.number(OptionId::ring_size) == 131072);
    CHECK(options.text(OptionId::ring_size) == "131072");
}

TEST_CASE("configuration file: comments, blanks and case do not matter, the last line counts") {
    const Options options = read("# a comment\n\n  \t \n  port=7001\nPORT =  7002  \n   # port = 1\n");
    CHECK(options.number(OptionId::port) == 7002);
}

TEST_CASE("configuration file: lines may end as on Windows, the last one without an end") {
    CHECK(read("port = 7001\r\nio-conns = 3\r\n").number(OptionId::io_conns) == 3);
    CHECK(read("port = 7001").number(OptionId::port) == 7001);
}

TEST_CASE("configuration file: texts with and without quotes") {
    CHECK(read("unixsocket = /run/a.sock\n").text(OptionId::unixsocket) == "/run/a.sock");
    CHECK(read("unixsocket = \"/run/a b.sock\"\n").text(OptionId::unixsocket) == "/run/a b.sock");
    CHECK(read("unixsocket = '/run/a b.sock'\n").text(OptionId::unixsocket) == "/run/a b.sock");
    CHECK(read("bind = 127.0.0.1 ::1\n").text(OptionId::bind) == "127.0.0.1 ::1");
    CHECK(read("bind = \"127.0.0.1 -::1\"\n").text(OptionId::bind) == "127.0.0.1 -::1");
    CHECK(read("unixsocket = \"\"\n").text(OptionId::unixsocket) == "");
}

TEST_CASE("configuration file: signs that mean something elsewhere stay in a quoted text") {
    for (const std::string text : {"/run/a=b", "/run/a;b", "/run/[a]", "/run/a,b", "/run/a'b"}) {
        CAPTURE(text);
        CHECK(read("unixsocket = \"" + text + "\"\n").text(OptionId::unixsocket) == text);
    }
}

TEST_CASE("configuration file: a number sign in a quoted text begins no comment") {
    CHECK(read("unixsocket = \"/run/a#b\"\n").text(OptionId::unixsocket) == "/run/a#b");
}

TEST_CASE("configuration file: an error names the file and the line") {
    const std::string sentence = file_refusal("# first\nport = 7001\n\nport = many\n");
    CHECK(contains(sentence, "millrace.conf line 4: "));
    CHECK(contains(sentence, "'many' is no value for port"));
    CHECK(contains(file_refusal("port = 1\nprot = 2\n"), "line 2: 'prot' is no option"));
    CHECK(contains(file_refusal("port 7001\n"), "line 1: 'port 7001' is not of the form key = value"));
    CHECK(contains(file_refusal("= 7001\n"), "line 1: "));
    CHECK(contains(file_refusal("port =\n"), "line 1: "));
}

TEST_CASE("configuration file: a section is no key and a key in a section is unknown") {
    CHECK(contains(file_refusal("[port=7000]\n"), "line 1: "));
    CHECK(contains(file_refusal("server.port = 7000\n"), "line 1: "));
    CHECK(contains(file_refusal("; port = 7000\n"), "line 1: "));
}

TEST_CASE("configuration file: a missing one is an error, and so is a folder") {
    CHECK(contains(error_of([] { Options().read_file("/nonexistent/millrace.conf"); }), "No such file"));
}

TEST_CASE("--set: one assignment, spaces around it do not matter") {
    Options options;
    options.set_from_argument("port=7001");
    options.set_from_argument(" io-conns = 3 ");
    options.set_from_argument("unixsocket=/run/a=b");
    options.set_from_argument("unixsocket=");
    CHECK(options.number(OptionId::port) == 7001);
    CHECK(options.number(OptionId::io_conns) == 3);
    CHECK(options.text(OptionId::unixsocket) == "");
}

TEST_CASE("--set: an error names the assignment") {
    Options options;
    CHECK(contains(error_of([&] { options.set_from_argument("port"); }), "--set port: it is not of the form KEY=VALUE"));
    CHECK(contains(error_of([&] { options.set_from_argument("port=x"); }), "--set port=x: 'x' is no value"));
    CHECK(contains(error_of([&] { options.set_from_argument("=1"); }), "is no option"));
}

TEST_CASE("options: texts go through a file whatever they have in them") {
    for (const std::string text : {"a\"b", "a\\b", "\\", "\"", "a#b", "\"#\"", "a b", "a=b", "[x]", "'a'", "it's \"q\" \\\" # x", "a,b", " edge "}) {
        CAPTURE(text);
        std::string quoted = "\"";
        for (const char c : text) quoted += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
        CHECK(read("requirepass = " + quoted + "\"  # comment\n").text(OptionId::requirepass) == text);
    }
}

TEST_CASE("options: a password has its bounds") {
    CHECK(refusal("requirepass", std::string(512, 'x')) == "");
    CHECK(refusal("requirepass", std::string(513, 'x')) != "");
    CHECK(refusal("requirepass", "a\nb") != "");
}
