// Requests in the ring: what was written is read back, and any bytes whatever are read without harm (R6).
#include "common/message.h"

#include <string>

#include "tests/unit/ring_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

const std::vector<std::string_view> kArguments{"key", "", std::string_view("va\0lue", 6)};

std::string encoded(const std::vector<std::string_view>& arguments) {
    const RequestHeader header{7, 3, 0, static_cast<uint32_t>(arguments.size()), 1234};
    std::string body(request_bytes(arguments), 0);
    std::byte* begin = reinterpret_cast<std::byte*>(body.data());
    std::byte* end = write_request(begin, header, arguments);
    REQUIRE(static_cast<size_t>(end - begin) == body.size());
    return body;
}

bool parses(const std::string& body, RequestHeader& header, std::vector<std::string_view>& arguments) {
    const std::string exact(body);  // a block of its own, so that a sanitizer sees any read beyond it
    const bool parsed = parse_request(bytes_of(exact), header, arguments);
    if (!parsed) return false;
    // What was understood, written again, is the same body: nothing was skipped and nothing made up.
    std::string again(request_bytes(arguments), 0);
    REQUIRE(again.size() == body.size());
    write_request(reinterpret_cast<std::byte*>(again.data()), header, arguments);
    REQUIRE(again == body);
    return true;
}

bool parses(const std::string& body) {
    RequestHeader header;
    std::vector<std::string_view> arguments;
    return parses(body, header, arguments);
}

}  // namespace

TEST_CASE("request: it is read as it was written") {
    const std::string body = encoded(kArguments);
    RequestHeader header;
    std::vector<std::string_view> arguments{"left over"};
    REQUIRE(parse_request(bytes_of(body), header, arguments));
    CHECK(header.command == 7);
    CHECK(header.database == 3);
    CHECK(header.enqueued_us == 1234);
    CHECK(arguments == kArguments);
}

TEST_CASE("request: without arguments it is its header") {
    CHECK(encoded({}).size() == sizeof(RequestHeader));
    CHECK(parses(encoded({})));
}

TEST_CASE("request R6: every prefix is refused") {
    const std::string body = encoded(kArguments);
    for (size_t length = 0; length < body.size(); ++length) {
        CAPTURE(length);
        CHECK_FALSE(parses(body.substr(0, length)));
    }
    CHECK(parses(body));
}

TEST_CASE("request R6: bytes behind the last argument are refused") {
    CHECK_FALSE(parses(encoded(kArguments) + std::string(1, 0)));
    CHECK_FALSE(parses(encoded(kArguments) + std::string(4, 0)));
}

TEST_CASE("request R6: with any bit flipped it is refused or still adds up") {
    const std::string body = encoded(kArguments);
    for (size_t bit = 0; bit < body.size() * 8; ++bit) {
        std::string flipped = body;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        parses(flipped);
    }
}

TEST_CASE("request R6: a count or a length that is far too large is refused before memory is taken") {
    std::string body = encoded(kArguments);
    for (const uint32_t value : {4u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
        CAPTURE(value);
        std::string many = body, longer = body;
        std::memcpy(many.data() + offsetof(RequestHeader, argument_count), &value, sizeof value);
        std::memcpy(longer.data() + sizeof(RequestHeader), &value, sizeof value);
        CHECK_FALSE(parses(many));
        CHECK_FALSE(parses(longer));
    }
}

TEST_CASE("request R6: random bytes do no harm") {
    Random random;
    INFO("SEED=" << random.seed);
    for (int i = 0; i < 20'000; ++i) {
        std::string body = random.bytes(random.below(80));
        if (body.size() >= sizeof(RequestHeader)) {
            const auto count = static_cast<uint32_t>(random.below(6));
            std::memcpy(body.data() + offsetof(RequestHeader, argument_count), &count, sizeof count);
            for (size_t at = sizeof(RequestHeader); at + 4 <= body.size(); at += 4)
                if (random.below(2) == 0) std::memcpy(body.data() + at, "\3\0\0\0", 4);
        }
        parses(body);
    }
}

TEST_CASE("message: slot, generation, kind and bytes survive the ring; a frame too short for them is no message") {
    TestRing ring(kPageSize);
    const ConnectionId id{0xfffffffe, 0x80000001};
    REQUIRE(push_message(ring.producer, frame_kind(MessageKind::reply), id, bytes_of("hello")));
    REQUIRE(push_message(ring.producer, frame_kind(MessageKind::forget), {5, 6}, {}));
    std::byte* room = claim_message(ring.producer, max_message(ring.producer));
    REQUIRE(room != nullptr);
    std::memcpy(room, "abc", 3);
    commit_message(ring.producer, room, 3, frame_kind(MessageKind::request), {1, 2});
    REQUIRE(ring.push("123"));
    ring.producer.publish();
    Message message;
    REQUIRE(ring.consumer.next(ring.frame) == RingRead::frame);
    REQUIRE(open_message(ring.frame, message));
    CHECK(message.id == id);
    CHECK(message_kind(ring.frame.kind) == MessageKind::reply);
    CHECK(text_of(message.bytes) == "hello");
    REQUIRE(ring.consumer.next(ring.frame) == RingRead::frame);
    REQUIRE(open_message(ring.frame, message));
    CHECK(message.id == ConnectionId{5, 6});
    CHECK(message.bytes.empty());
    REQUIRE(ring.consumer.next(ring.frame) == RingRead::frame);
    REQUIRE(open_message(ring.frame, message));
    CHECK(text_of(message.bytes) == "abc");
    REQUIRE(ring.consumer.next(ring.frame) == RingRead::frame);
    CHECK_FALSE(open_message(ring.frame, message));
}

TEST_CASE("message kind: every kind survives a frame's header next to the longest length") {
    constexpr uint32_t kLengthMax = (1u << FrameHeader::kLengthBits) - 1;
    for (const MessageKind kind : {MessageKind::request, MessageKind::request_fragment, MessageKind::release, MessageKind::forget,
                                   MessageKind::reply, MessageKind::reply_reference}) {
        const FrameHeader header = FrameHeader::of(kLengthMax, frame_kind(kind), 0);
        CHECK(message_kind(header.kind()) == kind);
        CHECK(header.length() == kLengthMax);
    }
}
