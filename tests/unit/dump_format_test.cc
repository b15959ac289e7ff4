// DUMP's form of a value: what it is byte for byte, that it comes back, and that bytes from anywhere do no harm.
#include "common/redis_format.h"
#include "md/dump_format.h"

#include <random>

#include "tests/unit/unit.h"

using namespace millrace;
using md::DumpFault;

namespace {

constexpr uint64_t kBytesMax = 1 << 20;

std::string with_checksum(std::string bytes) {
    const uint64_t checksum = redis::crc64(bytes);
    return bytes.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
}

/// A serialization around these bytes, type and version included.
std::string around(std::string_view bytes) { return with_checksum(std::string(1, '\0') + std::string(bytes) + std::string("\n\0", 2)); }

}  // namespace

TEST_CASE("dump: the checksum is that of its definition") { CHECK(redis::crc64("123456789") == 0xe9c6d914c4b8d9caull); }

TEST_CASE("dump: lengths, integers and texts as Redis writes them") {
    CHECK(md::dump_string("") == around(std::string_view("\0", 1)));
    CHECK(md::dump_string("abc") == around("\3abc"));
    CHECK(md::dump_string("1") == around("\xc0\1"));
    CHECK(md::dump_string("-129") == around("\xc1\x7f\xff"));
    CHECK(md::dump_string("70000") == around(std::string_view("\xc2\x70\x11\1\0", 5)));
    CHECK(md::dump_string("2147483648") == around("\n2147483648"));
    CHECK(md::dump_string("01") == around("\2" "01"));
    std::string all;  // too varied to be compressed
    for (unsigned i = 0; i < 100; ++i) all += static_cast<char>(i * 37);
    CHECK(md::dump_string(all) == around("\x40\x64" + all));
}

TEST_CASE("dump: every value comes back") {
    std::mt19937 random(4);
    for (unsigned i = 0; i < 500; ++i) {
        const unsigned length = i < 300 ? i : random() % 100'000;
        std::string value(length, 0), back;
        for (char& byte : value) byte = static_cast<char>(i % 3 == 0 ? random() : 'a' + random() % (1 + i % 5));
        REQUIRE(md::read_dump(md::dump_string(value), kBytesMax, back) == DumpFault::none);
        REQUIRE((back == value));
    }
    for (const char* number : {"0", "-1", "127", "128", "-128", "32767", "-32769", "2147483647", "-2147483648", "9223372036854775807"}) {
        std::string back;
        REQUIRE(md::read_dump(md::dump_string(number), kBytesMax, back) == DumpFault::none);
        CHECK(back == number);
    }
}

TEST_CASE("dump: a wrong byte, a later version, another type, a cut, a length without end") {
    const std::string dump = md::dump_string("some value");
    std::string value;
    for (size_t i = 0; i < dump.size(); ++i) {
        std::string wrong = dump;
        wrong[i] = static_cast<char>(wrong[i] ^ 1);
        CHECK(md::read_dump(wrong, kBytesMax, value) == DumpFault::version_or_checksum);
        CHECK(md::read_dump(dump.substr(0, i), kBytesMax, value) == DumpFault::version_or_checksum);
    }
    CHECK(md::read_dump(with_checksum(std::string("\0\1a\13\0", 5)), kBytesMax, value) == DumpFault::version_or_checksum);
    CHECK(md::read_dump(with_checksum(std::string("\1\1a\n\0", 5)), kBytesMax, value) == DumpFault::format);
    for (const std::string_view bytes : {std::string_view("\5abc"), std::string_view("\x80\xff\xff\xff\xff" "a"), std::string_view("\x81\xff\xff\xff\xff\xff\xff\xff\xff"),
                                         std::string_view("\xc3\3\x80\x3f\xff\xff\xff" "abc"), std::string_view("\xc4"), std::string_view("")})
        CHECK(md::read_dump(around(bytes), kBytesMax, value) == DumpFault::format);
    CHECK(md::read_dump(around("\x44\x4c" + std::string(1100, 'x')), 1000, value) == DumpFault::format);
}

TEST_CASE("dump: any bytes with a right checksum") {
    std::mt19937 random(5);
    for (unsigned i = 0; i < 20'000; ++i) {
        std::string bytes(random() % 40, 0), value;
        for (char& byte : bytes) byte = static_cast<char>(random());
        if (!bytes.empty() && i % 2 == 0) bytes[0] = '\xc3';
        if (md::read_dump(around(bytes), kBytesMax, value) == DumpFault::none) CHECK(value.size() <= kBytesMax);
    }
}
