// What goes over a link between a master and a follower: frames and what is none, F1 to F3 of md/repl/frames.h.
#include "md/repl/frames.h"

#include <fmt/format.h>

#include <set>

#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using namespace millrace::md_repl;

TEST_CASE("frames: what answers a registration is told from a line of text, whatever its checksum begins with") {
    std::set<char> first;
    for (unsigned nonce = 0; first.size() < 256; ++nonce) {
        REQUIRE(nonce < 100'000);
        std::string bytes;
        append_frame(bytes, 0, FrameKind::registered, std::string(reinterpret_cast<const char*>(&nonce), sizeof nonce));
        first.insert(bytes[0]);
        for (size_t length = 0; length <= bytes.size(); ++length) REQUIRE_FALSE(begins_a_line(bytes.substr(0, length)).value_or(false));
        REQUIRE(begins_a_line(bytes) == false);
        Frame frame;
        size_t taken = 0;
        REQUIRE(read_frame(bytes, 0, frame, taken) == FrameOutcome::frame);
    }
    for (const std::string line : {"-ERR unknown command\r\n", "-NOAUTH Authentication required.\r\n", "+OK\r\n", "-LOADING x", "-ERR\r\n"}) CHECK(begins_a_line(line) == true);
    CHECK_FALSE(begins_a_line("").has_value());
    CHECK_FALSE(begins_a_line("-ERR").has_value());
}

TEST_CASE("frames: read back as they were written, and no byte of them may be another one, nor the nonce") {
    Random random;
    INFO(random.seed);
    const std::string body = random.bytes(random.below(300));
    std::string bytes;
    append_frame(bytes, 7, FrameKind::records, body, 12, 11);
    Frame frame;
    size_t taken = 0;
    REQUIRE(read_frame(bytes + "more", 7, frame, taken) == FrameOutcome::frame);
    CHECK(taken == bytes.size());
    CHECK(frame.body == body);
    CHECK(frame.head.number == 12);
    CHECK(frame.head.before == 11);
    CHECK(read_frame(bytes, 8, frame, taken) == FrameOutcome::bad);
    for (size_t length = 0; length < bytes.size(); ++length) CHECK(read_frame(std::string_view(bytes).substr(0, length), 7, frame, taken) == FrameOutcome::incomplete);
    for (size_t at = 0; at < bytes.size(); ++at) {
        std::string other = bytes;
        other[at] = static_cast<char>(other[at] ^ 1 << random.below(8));
        CHECK(read_frame(other, 7, frame, taken) != FrameOutcome::frame);
    }
}
