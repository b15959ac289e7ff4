// Reading and writing RDBs: every form of a string, every other type stepped over, and bytes from anywhere, which do no harm.
#include "tools/convert/export.h"
#include "tests/unit/convert_fixture.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

const std::string kId(16, '\1'), kEight(8, '\2');

std::string stream(int type) {
    const bool second = type >= 19, third = type >= 21;
    const std::string id = "\5\6"s;  // two lengths
    std::string bytes = static_cast<char>(type) + rdb_string("stream") + "\1"s + rdb_string(kId) + rdb_string("a listpack") + "\1"s + id;
    if (second) bytes += id + id + "\1"s;
    bytes += "\1"s + rdb_string("group") + id + (second ? "\x81\xff\xff\xff\xff\xff\xff\xff\xff"s : ""s);
    bytes += "\2"s + kId + kEight + "\1"s + kId + kEight + "\7"s;                                     // pending
    return bytes + "\1"s + rdb_string("consumer") + kEight + (third ? kEight : ""s) + "\2"s + kId + kId;
}

std::string module_data() { return "\2\5\1\7\3"s + "four" + "\4"s + kEight + "\5"s + rdb_string("text") + "\0"s; }

/// A value of every type that is stepped over.
std::string all_types() {
    std::string bytes;
    const auto value = [&](int type, const std::string& body) { bytes += static_cast<char>(type) + rdb_string("k" + std::to_string(type)) + body; };
    const std::string two = rdb_string("one") + rdb_string(std::string(100, 'x'));
    value(1, "\2"s + two);
    value(2, "\2"s + two);
    value(3, "\4"s + rdb_string("a") + "\3" "1.5" + rdb_string("b") + "\xff"s + rdb_string("c") + "\xfe"s + rdb_string("d") + "\xfd"s);
    value(4, "\1"s + two);
    value(5, "\1"s + rdb_string("a") + kEight);
    value(7, "\x81"s + kEight + module_data());
    for (const int type : {9, 10, 11, 12, 13, 16, 17, 20}) value(type, rdb_string("packed"));
    value(14, "\2"s + two);
    value(18, "\2\1"s + rdb_string("plain") + "\2"s + rdb_string("packed"));
    return bytes + stream(15) + stream(19) + stream(21);
}

}  // namespace

TEST_CASE("rdb: strings, expiries, databases, and what stands between them") {
    const std::string elements = "\xfa"s + rdb_string("redis-ver") + rdb_string("7.2.4") + "\xfe\0\xfb\5\2"s + rdb_key("a", "1") + "\xfc"s +
            little_endian(Imported::kNow + 5) + rdb_key("b", "text") +
                                 "\xfd"s + little_endian(uint32_t{1'800'000'000}) + "\xf8\5"s + rdb_key("c", std::string(500, 'c')) + "\xf9\5"s + rdb_key("", "") +
                                         "\xfe\x0f"s + rdb_key("a", "-70000");
    for (const unsigned version : {1u, 4u, 5u, 9u, 10u, 11u}) {
        const Imported imported = Imported::of(rdb(elements, version));
        CHECK(imported.text == fmt::format("0:= 0:a=1 0:b=text@{} 0:c={}@1800000000000 15:a=-70000", Imported::kNow + 5, std::string(500, 'c')));
        CHECK(imported.tally.lines().empty());
    }
}

TEST_CASE("rdb: what has expired is left out and counted, whatever the time says") {
    const Imported imported = Imported::of(rdb("\xfc"s + little_endian(Imported::kNow) + rdb_key("a", "1") + "\xfc"s + little_endian(int64_t{-1}) +
            rdb_key("b", "1") + rdb_key("c", "1")));
    CHECK(imported.text == "0:c=1");
    CHECK(imported.tally.lines().front() == "expired, and left out: 2 keys");
}

TEST_CASE("rdb: every other type is stepped over and counted, functions and data of modules too") {
    const Imported imported = Imported::of(rdb(rdb_key("a", "1") + all_types() + "\xf5"s + rdb_string("#!lua name=l") + "\xf7\x81"s + kEight + module_data() +
            rdb_key("b", "2")));
    CHECK(imported.text == "0:a=1 0:b=2");
    REQUIRE(imported.tally.lines().size() == 1);
    CHECK(imported.tally.lines()[0] == "skipped: 4 hashes, 4 lists, 4 sorted sets, 3 sets, 3 streams, 1 library of functions, 1 part of a module's own data, 1 value of a module");
    // The expiry of what is skipped is not the next key's.
    CHECK(Imported::of(rdb("\xfc"s + little_endian(Imported::kNow + 9) + "\1"s + rdb_string("list") + "\0"s + rdb_key("a", "1"))).text == "0:a=1");
}

TEST_CASE("rdb: a checksum that was not made is none; a wrong one is told") {
    std::string bytes = rdb(rdb_key("key", "value"));
    bytes.replace(bytes.size() - 8, 8, 8, '\0');
    CHECK(Imported::of(bytes).text == "0:key=value");
    bytes.back() = 1;
    CHECK(contains(error_of([&] { Imported::of(bytes); }), "at offset 20: the checksum of the RDB is wrong"));
}

TEST_CASE("rdb: sentences about what cannot be read") {
    const auto sentence = [](const std::string& bytes) { return error_of([&] { Imported::of(bytes); }); };
    CHECK(contains(sentence(""), "is empty"));
    CHECK(contains(sentence("RADIO"), "at offset 0: it begins neither as an RDB nor as an AOF"));
    CHECK(contains(sentence("REDIS00x1\xff"), "it does not begin as an RDB does"));
    CHECK(contains(sentence("REDIS0012\xff"), "it is an RDB of version 12"));
    CHECK(contains(sentence(rdb("\xfe\x10"s + rdb_key("k", "v"))), "at offset 11: there is a key in database 16, and there are 16 databases here"));
    CHECK(contains(sentence(rdb("\x06"s + rdb_string("k"))), "there is no type 6"));
    CHECK(contains(sentence(rdb("\xf6"s)), "nothing begins with a byte of 246"));
    CHECK(contains(sentence(rdb("\0\1k\x81\xff\xff\xff\xff\xff\xff\xff\xff"s)), "at offset 9: what begins here is damaged"));
    CHECK(contains(sentence(rdb("\0\1k\xc3\1\x80\x1f\xff\xff\xffx"s)), "at offset 9: what begins here is damaged"));
    CHECK(Imported::of(rdb("\xfe\x10"s + "\1"s + rdb_string("list") + "\0"s)).text.empty());
}

TEST_CASE("rdb: damage at every byte of a small one, and every cut, ends with a sentence or a reading") {
    const std::string whole = rdb("\xfe\2\xfb\1\1\xfc"s + little_endian(Imported::kNow + 5) + rdb_key("key", std::string(100, 'v')) + all_types() +
            rdb_key("n", "12345"));
    std::string unchecked = whole;  // damage is not even seen by the checksum
    unchecked.replace(unchecked.size() - 8, 8, 8, '\0');
    const Folder folder;
    convert::Tally tally;
    for (size_t at = 0; at < whole.size(); ++at) {
        const std::string cut = folder.write("cut", whole.substr(0, at));
        CHECK_FALSE(error_of([&] { convert::read_redis(cut, Imported::kNow, tally); }).empty());
        for (const int change : {1, 0x40, 0x80, 0xff}) {
            std::string bytes = whole, other = unchecked;
            bytes[at] = other[at] = static_cast<char>(bytes[at] ^ change);
            const std::string damaged = folder.write("damaged", bytes);
            INFO("offset ", at, " change ", change);
            CHECK_FALSE(error_of([&] { convert::read_redis(damaged, Imported::kNow, tally); }).empty());
            if (at < unchecked.size() - 8) {
                const std::string path = folder.write("unchecked", other);
                const std::string sentence = error_of([&] { convert::read_redis(path, Imported::kNow, tally); });
                CHECK((sentence.empty() || contains(sentence, path + " at offset ")));
            }
        }
    }
}

TEST_CASE("rdb: what is written is read again, of all forms and lengths") {
    Random random;
    INFO("SEED=", random.seed);
    disk::DataImage image;
    for (unsigned i = 0; i < 400; ++i) {
        std::string value = i % 3 == 0 ? random.bytes(random.below(300)) : std::string(random.below(70'000), static_cast<char>('a' + i % 26));
        if (i % 5 == 0) value = std::to_string(static_cast<int64_t>(random.below(UINT64_MAX)) >> random.below(64));
        image.databases()[i % 3 * 7][random.bytes(random.below(40)) + std::to_string(i)] = {value, i % 4 == 0 ? Imported::kNow + 1 + i : -1, 0};
    }
    image.databases()[1]["large"] = {random.bytes(3'000'000), -1, 0};
    const Folder folder;
    folder.write("out.rdb", "what was there before");
    convert::write_rdb(image, folder.file("out.rdb"));
    const Imported back(folder.file("out.rdb"));
    REQUIRE(back.image.keys() == image.keys());
    for (size_t database = 0; database < kEffectDatabases; ++database)
        for (const auto& [key, entry] : image.databases()[database]) {
            const auto found = back.image.databases()[database].find(key);
            REQUIRE(found != back.image.databases()[database].end());
            REQUIRE((found->second.value == entry.value && found->second.expire_at_ms == entry.expire_at_ms));
        }
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), std::filesystem::directory_iterator()) == 1);
}

TEST_CASE("rdb: a disk that is full leaves the file that was there, and nothing else") {
    const Folder folder;
    folder.write("out.rdb", "before");
    disk::DataImage image;
    image.databases()[0]["key"] = {Random().bytes(100'000), -1, 0};
    {
        const FileSizeLimit limit(50'000);
        CHECK(contains(error_of([&] { convert::write_rdb(image, folder.file("out.rdb")); }), "cannot write"));
    }
    CHECK(content_of(folder.file("out.rdb")) == "before");
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), std::filesystem::directory_iterator()) == 1);
}
