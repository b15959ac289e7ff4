// Replaying AOFs: each command of the string family as Redis does it when it loads, what is skipped, manifests, cut ends and damage.
#include "tools/convert/aof_reader.h"
#include "tests/unit/convert_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

std::string text_of(const std::vector<std::vector<std::string>>& commands) { return Imported::of_commands(commands).text; }

std::string at(int64_t ms) { return std::to_string(Imported::kNow + ms); }

}  // namespace

TEST_CASE("aof: SET and its kin") {
    CHECK(text_of({{"set", "a", "1"}, {"SET", "b", "2", "PXAT", at(5)}, {"SET", "c", "3", "EX", "9"}, {"SET", "d", "4", "px", "7", "GET"},
            {"SET", "e", "5", "EXAT", "1800000000"}}) ==
          "0:a=1 0:b=2@" + at(5) + " 0:c=3@" + at(9000) + " 0:d=4@" + at(7) + " 0:e=5@1800000000000");
    CHECK(text_of({{"SET", "a", "1", "PXAT", at(5)}, {"SET", "a", "2", "KEEPTTL"}, {"SET", "b", "1", "XX"}, {"SET", "a", "3", "NX"},
            {"SET", "c", "1", "NX"}}) == "0:a=2@" + at(5) + " 0:c=1");
    CHECK(text_of({{"SETEX", "a", "2", "x"}, {"PSETEX", "b", "2", "y"}, {"SETNX", "a", "z"}, {"SETNX", "c", "w"}}) == "0:a=x@" + at(2000) + " 0:b=y@" + at(2) + " 0:c=w");
    CHECK(text_of({{"MSET", "a", "1", "b", "2"}, {"MSETNX", "b", "3", "c", "3"}, {"MSETNX", "d", "4"}, {"GETSET", "a", "5"}, {"GETDEL", "b"}}) == "0:a=5 0:d=4");
    CHECK(text_of({{"MSET", "a", "1", "b", "2", "c", "3", "d", "4"}, {"DEL", "a", "x"}, {"UNLINK", "b", "c"}}) == "0:d=4");
}

TEST_CASE("aof: expiries, also those that are over before they are made longer") {
    CHECK(text_of({{"MSET", "a", "", "b", "", "c", "", "d", "", "e", ""}, {"EXPIRE", "a", "2"}, {"PEXPIRE", "b", "2"}, {"EXPIREAT", "c", "1800000000"},
            {"PEXPIREAT", "d", at(2)}, {"EXPIRE", "x", "1"}}) ==
          "0:a=@" + at(2000) + " 0:b=@" + at(2) + " 0:c=@1800000000000 0:d=@" + at(2) + " 0:e=");
    CHECK(text_of({{"SET", "a", "1", "PXAT", "5"}, {"PEXPIREAT", "a", at(5)}, {"SET", "b", "1", "PXAT", "5"}, {"PERSIST", "b"},
            {"SET", "c", "1", "PXAT", "5"}}) == "0:a=1@" + at(5) + " 0:b=1");
    CHECK(text_of({{"SET", "a", "1"}, {"PEXPIREAT", "a", at(9), "NX"}, {"PEXPIREAT", "a", at(8), "GT"}, {"PEXPIREAT", "a", at(10), "XX", "GT"},
            {"PEXPIREAT", "a", at(11), "LT"}}) == "0:a=1@" + at(10));
    CHECK(text_of({{"SET", "a", "1"}, {"GETEX", "a", "PX", "3"}, {"SET", "b", "1", "EX", "5"}, {"GETEX", "b", "PERSIST"},
            {"GETEX", "b"}}) == "0:a=1@" + at(3) + " 0:b=1");
    CHECK(text_of({{"SET", "a", "1"}, {"EXPIRE", "a", "-5"}}).empty());
}

TEST_CASE("aof: changed values") {
    CHECK(text_of({{"INCR", "a"}, {"INCRBY", "a", "10"}, {"DECR", "a"}, {"DECRBY", "a", "-5"}, {"INCRBYFLOAT", "f", "1.5"},
            {"INCRBYFLOAT", "f", "-3e0"}}) == "0:a=15 0:f=-1.5");
    CHECK(text_of({{"APPEND", "a", "x"}, {"APPEND", "a", "yz"}, {"APPEND", "b", ""}, {"SETRANGE", "a", "5", "end"}, {"SETRANGE", "c", "2", ""},
            {"SETRANGE", "a", "0", "X"}}) == "0:a=Xyz\0\0end 0:b="s);
    CHECK(text_of({{"SETBIT", "a", "7", "1"}, {"SETBIT", "a", "9", "1"}, {"SETBIT", "a", "7", "0"}, {"SETBIT", "a", "1", "1"}}) == "0:a=@@");
    CHECK(text_of({{"SET", "a", "1", "PXAT", at(5)}, {"INCR", "a"}, {"APPEND", "a", "0"}, {"SETRANGE", "a", "1", "7"}, {"INCRBYFLOAT", "a", "1"}}) == "0:a=28@" + at(5));
}

TEST_CASE("aof: keys and databases") {
    CHECK(text_of({{"SET", "a", "1", "PXAT", at(5)}, {"SET", "b", "2"}, {"RENAME", "a", "b"}, {"COPY", "b", "c"}, {"COPY", "b", "d", "DB", "3"},
            {"SET", "e", "3"}, {"MOVE", "e", "2"}, {"RENAMENX", "c", "b"}}) ==
          "0:b=1@" + at(5) + " 0:c=1@" + at(5) + " 2:e=3 3:d=1@" + at(5));
    CHECK(text_of({{"SET", "a", "1"}, {"SET", "b", "2"}, {"COPY", "a", "b"}, {"COPY", "b", "a", "REPLACE"}, {"RENAME", "b", "b"}}) == "0:a=2 0:b=2");
    CHECK(text_of({{"SELECT", "3"}, {"SET", "a", "1"}, {"SELECT", "0"}, {"SET", "b", "2"}, {"SWAPDB", "0", "3"}, {"SET", "c", "3"}}) == "0:a=1 0:c=3 3:b=2");
    CHECK(text_of({{"SET", "a", "1"}, {"SELECT", "1"}, {"SET", "a", "1"}, {"FLUSHDB"}, {"SET", "b", "1"}}) == "0:a=1 1:b=1");
    CHECK(text_of({{"SET", "a", "1"}, {"SELECT", "1"}, {"SET", "a", "1"}, {"FLUSHALL", "ASYNC"}, {"SET", "b", "1"}}) == "1:b=1");
}

TEST_CASE("aof: transactions, and lines about the time") {
    CHECK(Imported::of("#TS:1700000000\r\n" + aof({{"MULTI"}, {"SET", "a", "1"}, {"INCR", "a"},
            {"EXEC"}}) + "#TS:1700000001\r\n" + aof({{"INCR", "a"}})).text == "0:a=3");
}

TEST_CASE("aof: keys of other types are not kept, nor is what they have replaced") {
    const Imported imported = Imported::of_commands({{"RPUSH", "l", "x"}, {"SET", "a", "1"}, {"RENAME", "l", "a"}, {"SET", "b", "1"},
            {"COPY", "l", "b", "REPLACE"}, {"SET", "c", "1"}, {"SUNIONSTORE", "c", "s"},
            {"SET", "d", "1"}, {"SORT", "l", "STORE", "d"}, {"SET", "e", "1"}, {"BITOP", "NOT", "e", "f"},
            {"SET", "f", "1"}, {"RPUSH", "l", "y"}, {"INCR", "f"}, {"SET", "g", "x"}, {"INCR", "g"}});
    CHECK(imported.text == "0:f=2 0:g=x");
    const std::vector<std::string> lines = imported.tally.lines();
    REQUIRE(lines.size() == 4);
    CHECK(lines[0] == "applied: 10 commands");
    CHECK(lines[1] == "skipped commands: 2 RPUSH, 1 BITOP, 1 SORT, 1 SUNIONSTORE");
    CHECK(contains(lines[2], "warning: 1 of these change strings"));
    CHECK(lines[3] == "not applied, because they do not fit the data: 1 command");
}

TEST_CASE("aof: with an RDB before it; its keys do not expire before the commands have been") {
    const std::string front = rdb("\xfc"s + little_endian(int64_t{5}) + rdb_key("a", "1") + rdb_key("b", "2"));
    CHECK(Imported::of(front + aof({{"PERSIST", "a"}, {"INCR", "b"}})).text == "0:a=1 0:b=3");
}

TEST_CASE("aof: a cut end is left out at every byte, and whole transactions only") {
    const std::string front = aof({{"SET", "a", "1"}, {"SELECT", "2"}, {"SET", "b", "2"}}), command = aof({{"SET", "c", "three"}}), transaction = aof({{"MULTI"},
            {"SET", "d", "4"}, {"DEL", "b"}, {"EXEC"}});
    for (const std::string& end : {command, transaction})
        for (size_t bytes = 1; bytes < end.size(); ++bytes) {
            INFO(bytes);
            const Imported imported = Imported::of(front + end.substr(0, bytes));
            CHECK(imported.text == "0:a=1 2:b=2");
            REQUIRE(imported.tally.remarks.size() == 1);
            CHECK(contains(imported.tally.remarks[0], fmt::format("what is behind offset {} is left out", front.size())));
        }
    CHECK(Imported::of(front + transaction).text == "0:a=1 2:d=4");
}

TEST_CASE("aof: damage is told with its offset") {
    const auto sentence = [](const std::string& bytes) { return error_of([&] { Imported::of(bytes); }); };
    const std::string front = aof({{"SET", "a", "1"}});
    CHECK(contains(sentence(front + "x" + front), fmt::format("at offset {}: there is no '*'", front.size())));
    CHECK(contains(sentence(front + "*0\r\n"), "there is a command without a word"));
    CHECK(contains(sentence(front + "*1\n$3\r\n"), "does not end with CR LF"));
    CHECK(contains(sentence(front + "*1\r\n$-1\r\n"), "there is no '$' with a number"));
    CHECK(contains(sentence(front + "*1\r\n$4\r\nPINGxx"), "there is no CR LF where a word of a command ends"));
    CHECK(contains(sentence(front + std::string(200, '*')), "there is no end of a line"));
    CHECK(contains(sentence(front + aof({{"SELECT", "16"}})), fmt::format("at offset {}: it uses a database beyond the 16", front.size())));
    CHECK(contains(sentence(front + "*2\r\n$99999999999\r\n"), "there is no '$' with a number"));
}

TEST_CASE("aof: damage at every byte of a small one ends with a sentence or a reading") {
    const std::string whole = aof({{"SET", "key", "value", "PXAT", at(99)}, {"MULTI"}, {"APPEND", "key", "x"}, {"COPY", "key", "k2", "DB", "3"}, {"EXEC"},
            {"SWAPDB", "0", "3"}, {"SETBIT", "b", "77", "1"}});
    for (size_t offset = 0; offset < whole.size(); ++offset)
        for (const int change : {1, 2, 4, 8, 0x40, 0x80, 0xff}) {
            std::string bytes = whole;
            bytes[offset] = static_cast<char>(bytes[offset] ^ change);
            const std::string sentence = error_of([&] { Imported::of(bytes); });
            CHECK((sentence.empty() || contains(sentence, " at offset ")));
        }
}

TEST_CASE("aof: a folder of Redis 7") {
    const Folder folder;
    folder.write("a.1.base.rdb", rdb(rdb_key("a", "1")));
    folder.write("a 1.incr.aof", aof({{"SELECT", "2"}, {"SET", "b", "2"}}));
    folder.write("a.2.incr.aof", aof({{"INCR", "a"}, {"SET", "c", "3"}}));
    folder.write("a.manifest", "file a.1.base.rdb seq 1 type b\nfile a.0.gone.aof seq 9 type h\n# a remark\nfile \"a\\x201.incr.aof\" seq 1 type i\nfile a.2.incr.aof seq 2 type i extra words\n");
    CHECK(Imported(folder.path()).text == "0:a=2 0:c=3 2:b=2");
    CHECK(Imported(folder.file("a.manifest")).text == "0:a=2 0:c=3 2:b=2");
    folder.write("a.2.incr.aof", "");
    CHECK(Imported(folder.path()).text == "0:a=1 2:b=2");
    folder.write("a 1.incr.aof", aof({{"SELECT", "2"}}) + "*2");
    CHECK(contains(error_of([&] { Imported{folder.path()}; }), "the file ends inside of a command, and it is not the last one"));
    std::filesystem::remove(folder.file("a 1.incr.aof"));
    CHECK(contains(error_of([&] { Imported{folder.path()}; }), "a 1.incr.aof cannot be opened"));
    folder.write("b.manifest", "");
    CHECK(contains(error_of([&] { Imported{folder.path()}; }), "several manifests"));
    CHECK(contains(error_of([&] { Imported{folder.file("b.manifest")}; }), "names no file"));
}

TEST_CASE("aof: manifests that are none") {
    const auto sentence = [](const std::string& content) { return error_of([&] { convert::read_manifest("f/m.manifest", content); }); };
    for (const std::string& line : {"file a seq 1 type x"s, "file a seq x type b"s, "file ../a seq 1 type b"s, "seq 1 type b"s, "file \"a seq 1 type b"s, "file a seq 1 type"s, "file"s})
        CHECK(contains(sentence("file a seq 1 type b\n" + line), "f/m.manifest, line 2: it is not 'file NAME seq NUMBER type b'"));
    CHECK(contains(sentence("file a seq 1 type i\nfile b seq 1 type i"), "the numbers of the files do not rise"));
    CHECK(contains(sentence("file a seq 1 type i\nfile b seq 1 type b"), "the base is not the first file"));
    const convert::AofFiles files = convert::read_manifest("f/m.manifest", "file a seq 1 type i\r\n");
    CHECK(files.paths == std::vector<std::string>{"f/a"});
    CHECK_FALSE(files.base);
}
