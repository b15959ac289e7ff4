// Replies from md's writer through the ring's encoding to RESP: every kind in both versions, cut anywhere.
#include <algorithm>
#include <functional>

#include "common/reply_format.h"
#include "io_conn/reply_encoder.h"
#include "md/reply_writer.h"
#include "tests/unit/ring_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using io_conn::encode_reply;
using io_conn::EncoderState;
using md::ReplyWriter;

namespace {

using Write = std::function<void(ReplyWriter&)>;

/// A value of a small item, or of a large one: whose bytes are all this letter, wherever its reference leads.
constexpr char kLargeLetter = 'v';
md::Value small_value(std::string_view bytes) { return {bytes.data(), 0, bytes.size(), {}, md::kNoExpiry, {}, 0}; }
md::Value large_value(uint64_t length, std::string_view rest = {}) { return {nullptr, 64, length, rest, md::kNoExpiry, {}, 0}; }

/// The parts that the writer makes of a reply, or the one piece in the ring.
std::vector<std::string> pieces_of(const Write& write, uint32_t room_bytes = 8192, bool* in_parts = nullptr) {
    std::vector<std::byte> room(room_bytes);
    ReplyWriter writer;
    writer.begin(room.data(), room_bytes);
    write(writer);
    if (in_parts != nullptr) *in_parts = writer.in_parts();
    if (!writer.in_parts()) return {text_of(std::span(room).first(writer.size()))};
    std::vector<std::string> pieces;
    for (const md::ReplyPart& part : writer.parts()) {
        REQUIRE(part.fields.size() <= ReplyWriter::kPartBytesMax);
        REQUIRE((part.item != 0 || part.item_length == 0));
        pieces.push_back(part.fields);
        if (part.item != 0) pieces.emplace_back(part.item_length, kLargeLetter);
    }
    return pieces;
}

/// All bytes of a reply behind each other.
std::string written(const Write& write, uint32_t room_bytes = 8192, bool* in_parts = nullptr) {
    std::string all;
    for (const std::string& piece : pieces_of(write, room_bytes, in_parts)) all += piece;
    return all;
}

/// RESP of pieces that are encoded one after another; "<malformed>" if one is.
std::string resp_of(const std::vector<std::string>& pieces, bool resp3 = false) {
    io_conn::BufferPool pool;
    io_conn::Buffer out(pool);
    io_conn::RespWriter resp(out, resp3);
    EncoderState state;
    for (const std::string& piece : pieces)
        if (!encode_reply(bytes_of(piece), state, resp)) return "<malformed>";
    return std::string(out.bytes()) + (state.bulk_left == 0 ? "" : "<cut>");
}

const std::string kRest(1000, kLargeLetter);  ///< behind a large value, as APPEND leaves it

/// A reply with every kind of field.
void write_everything(ReplyWriter& reply) {
    reply.array(9);
    reply.ok();
    reply.status("string");
    reply.error("ERR wrong");
    reply.integer(-9223372036854775807 - 1);
    reply.bulk("");
    reply.bulk("a\r\nb");
    reply.null();
    reply.value(large_value(4000, kRest));
    reply.bulk("end");
}

const std::string kEverythingResp2 = "*9\r\n+OK\r\n+string\r\n-ERR wrong\r\n:-9223372036854775808\r\n$0\r\n\r\n$4\r\na\r\nb\r\n$-1\r\n$5000\r\n" +
                                     std::string(5000, 'v') + "\r\n$3\r\nend\r\n";

/// The places at which a part may end: between fields, and inside the bytes of a bulk.
std::vector<size_t> allowed_cuts(const std::string& encoded) {
    std::vector<size_t> cuts;
    for (size_t at = 0; at < encoded.size();) {
        const auto tag = static_cast<ReplyTag>(encoded[at]);
        uint32_t length = 0;
        const bool has_text = tag == ReplyTag::bulk || tag == ReplyTag::status || tag == ReplyTag::error;
        if (has_text) std::memcpy(&length, &encoded[at + 1], sizeof length);
        const size_t head = at + 1 + (tag == ReplyTag::integer ? 8 : has_text || tag == ReplyTag::array ? 4 : 0);
        at = head + length;
        for (size_t cut = tag == ReplyTag::bulk ? head : at; cut <= at; ++cut) cuts.push_back(cut);
    }
    return cuts;
}

}  // namespace

TEST_CASE("reply: every kind in RESP2 and RESP3") {
    struct { Write write; std::string resp2, resp3; } cases[] = {
        {[](auto& r) { r.ok(); }, "+OK\r\n", "+OK\r\n"},
        {[](auto& r) { r.status("none"); }, "+none\r\n", "+none\r\n"},
        {[](auto& r) { r.error("ERR no"); }, "-ERR no\r\n", "-ERR no\r\n"},
        {[](auto& r) { r.integer(42); }, ":42\r\n", ":42\r\n"},
        {[](auto& r) { r.bulk("x"); }, "$1\r\nx\r\n", "$1\r\nx\r\n"},
        {[](auto& r) { r.null(); }, "$-1\r\n", "_\r\n"},
        {[](auto& r) { r.array(0); }, "*0\r\n", "*0\r\n"}};
    for (const auto& row : cases) {
        CHECK(resp_of({written(row.write)}, false) == row.resp2);
        CHECK(resp_of({written(row.write)}, true) == row.resp3);
    }
    CHECK(resp_of({std::string("0")}) == "*-1\r\n");
    CHECK(resp_of({std::string("0")}, true) == "_\r\n");
    CHECK(resp_of({std::string("%\2\0\0\0", 5)}) == "*4\r\n");
    CHECK(resp_of({std::string("%\2\0\0\0", 5)}, true) == "%2\r\n");
}

TEST_CASE("reply: line breaks in an error become spaces") {
    CHECK(resp_of({written([](auto& r) { r.error("ERR a\r\nb"); })}) == "-ERR a  b\r\n");
}

TEST_CASE("reply: a reply with everything, whole") {
    bool in_parts;
    CHECK(resp_of({written(write_everything, 8192, &in_parts)}) == kEverythingResp2);
    CHECK(in_parts);
}

TEST_CASE("reply: the same whatever room the ring gave") {
    for (uint32_t room = 0; room < 200; ++room) REQUIRE(resp_of({written(write_everything, room)}) == kEverythingResp2);
}

TEST_CASE("reply: a value of a small item stays in the ring as long as it fits, and is copied into parts beyond that") {
    constexpr uint32_t kRoom = 8192, kHead = 1 + sizeof(uint32_t);
    for (const uint32_t length : {0u, 1u, kRoom - kHead, kRoom - kHead + 1, ReplyWriter::kPartBytesMax - kHead,
                                  ReplyWriter::kPartBytesMax, 100'000u}) {
        CAPTURE(length);
        const std::string bytes(length, 's');
        bool in_parts;
        CHECK((resp_of(pieces_of([&](auto& r) { r.value(small_value(bytes)); }, kRoom, &in_parts)) ==
               "$" + std::to_string(length) + "\r\n" + bytes + "\r\n"));
        CHECK(in_parts == (length + kHead > kRoom));
        CHECK((resp_of(pieces_of([&](auto& r) { r.bulk(bytes); }, kRoom)) == "$" + std::to_string(length) + "\r\n" + bytes + "\r\n"));
    }
}

TEST_CASE("reply: a value of a large item goes by reference, whatever its length") {
    for (const uint64_t length : {1, 100, 1'000'000}) {
        CAPTURE(length);
        std::byte room[64];
        ReplyWriter writer;
        writer.begin(room, sizeof room);
        writer.value(large_value(length));
        REQUIRE(writer.in_parts());
        REQUIRE(writer.parts().size() == 1);
        CHECK(writer.parts()[0].fields.size() == 1 + sizeof(uint32_t));
        CHECK(writer.parts()[0].item == 64);
        CHECK(writer.parts()[0].item_length == length);
    }
}

TEST_CASE("reply: what follows a large value, and bytes behind it, are in a part of their own") {
    const auto write = [](ReplyWriter& reply) {
        reply.array(3);
        reply.value(large_value(10, "rest"));
        reply.value(large_value(5));
        reply.integer(7);
    };
    const std::vector<std::string> pieces = pieces_of(write);
    REQUIRE(pieces.size() == 5);  // fields, large, rest with the next fields, large, integer
    CHECK(resp_of(pieces) == "*3\r\n$14\r\nvvvvvvvvvvrest\r\n$5\r\nvvvvv\r\n:7\r\n");
}

TEST_CASE("reply: a writer that has made parts starts anew") {
    std::byte room[64];
    ReplyWriter writer;
    writer.begin(room, sizeof room);
    writer.bulk(std::string(100, 'x'));
    REQUIRE(writer.in_parts());
    writer.begin(room, sizeof room);
    writer.ok();
    CHECK_FALSE(writer.in_parts());
    CHECK(writer.size() == 1);
    writer.bulk(std::string(100, 'y'));
    REQUIRE(writer.in_parts());
    CHECK(writer.parts().size() == 1);
}

TEST_CASE("reply: many short fields beyond the room become parts of bounded length") {
    const auto write = [](ReplyWriter& reply) {
        reply.array(5000);
        for (int i = 0; i < 5000; ++i) reply.integer(i);
    };
    std::string expected = "*5000\r\n";
    for (int i = 0; i < 5000; ++i) expected += ":" + std::to_string(i) + "\r\n";
    CHECK(resp_of({written(write)}) == expected);
}

TEST_CASE("reply: parts end between fields or inside the bytes of a bulk, and nowhere else") {
    Random random;
    INFO("SEED=" << random.seed);
    for (int round = 0; round < 200; ++round) {
        const auto write = [&, seed = random.below(1u << 30)](ReplyWriter& reply) {
            Random fields{static_cast<unsigned>(seed)};
            for (uint64_t left = 1 + fields.below(60); left > 0; --left) {
                switch (fields.below(6)) {
                    case 0: reply.integer(-1); break;
                    case 1: reply.array(3); break;
                    case 2: reply.status(fields.bytes(fields.below(300))); break;
                    case 3: reply.value(small_value(fields.bytes(fields.below(32'000)))); break;
                    case 4: reply.value(large_value(1 + fields.below(50'000), "rest")); break;
                    default: reply.bulk(fields.bytes(fields.below(5'000))); break;
                }
            }
        };
        const std::vector<std::string> pieces = pieces_of(write, static_cast<uint32_t>(random.below(9'000)));
        std::string all;
        for (const std::string& piece : pieces) all += piece;
        const std::vector<size_t> cuts = allowed_cuts(all);
        size_t at = 0;
        for (const std::string& piece : pieces) REQUIRE(std::ranges::binary_search(cuts, at += piece.size()));
        REQUIRE((all == written(write, 0)));
    }
}

TEST_CASE("reply: cut in two at every place where a part may end") {
    const std::string encoded = written(write_everything);
    const std::vector<size_t> cuts = allowed_cuts(encoded);
    REQUIRE(cuts.size() > 5000);
    for (const size_t cut : cuts)
        REQUIRE(resp_of({encoded.substr(0, cut), encoded.substr(cut)}) == kEverythingResp2);
}

TEST_CASE("reply: cut into random parts, some of them empty") {
    Random random;
    INFO("SEED=" << random.seed);
    const std::string encoded = written(write_everything);
    const std::vector<size_t> cuts = allowed_cuts(encoded);
    for (int round = 0; round < 200; ++round) {
        std::vector<std::string> pieces;
        size_t at = 0;
        for (size_t next : cuts) {
            if (random.below(50) != 0) continue;
            pieces.push_back(encoded.substr(at, next - at));
            if (random.below(4) == 0) pieces.emplace_back();
            at = next;
        }
        pieces.push_back(encoded.substr(at));
        REQUIRE(resp_of(pieces) == kEverythingResp2);
    }
}

TEST_CASE("reply R6: a field that is cut is malformed, not misread") {
    for (const std::string& field : {std::string(":\1\2"), std::string("+\5\0\0\0abc", 8), std::string("-\1\0\0", 4),
                                    std::string("$\1\0\0", 4), std::string("*\1"), std::string("%"),
                                    std::string("+\xff\xff\xff\xff" "abc", 8), std::string("x"), std::string(1, 0)}) {
        CAPTURE(field);
        CHECK(resp_of({field}) == "<malformed>");
    }
}

TEST_CASE("reply R6: random bytes do no harm") {
    Random random;
    INFO("SEED=" << random.seed);
    const std::string tags("K+-:$_0*%\0\1\2\3", 13);
    for (int round = 0; round < 20'000; ++round) {
        std::string bytes;
        for (uint64_t length = random.below(30); length > 0; --length) bytes += tags[random.below(tags.size())];
        resp_of({bytes, bytes}, round % 2 == 0);
    }
}
