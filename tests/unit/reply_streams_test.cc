// Large replies in parts: order, bounded bytes under way, generations; invariants L1 to L4 of md/reply_streams.h.
#include "md/reply_streams.h"

#include <map>

#include "tests/unit/ring_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using md::ReplyPart;
using md::ReplyStreams;

namespace {

constexpr ConnectionId kOne{1, 10}, kTwo{2, 20};
constexpr uint64_t kMany = 4 * ReplyStreams::kCreditBytes;

/// md's streams and a ring; the other end collects what each connection gets.
struct Group {
    explicit Group(uint64_t capacity = 2 * 1024 * 1024) : ring(capacity) {}

    /// A large reply: a field, then `bytes` of a value.
    void add(ConnectionId connection, const std::string& field, uint64_t bytes) {
        std::vector<ReplyPart> parts(1);
        parts[0].fields = field;
        parts[0].blob = md::Blob::of(std::string(bytes, field.back()));
        parts[0].blob_length = static_cast<uint32_t>(bytes);
        streams.add(connection, std::move(parts));
    }
    /// Sends what can be sent, and takes it at the other end.
    void run() {
        bool all_sent = false;
        while (!all_sent) {
            all_sent = streams.pump(ring.producer);
            take();
        }
    }
    void take() {
        ring.producer.publish();
        while (ring.consumer.next(ring.frame) == RingRead::frame) {
            Message message;
            REQUIRE(open_message(ring.frame, message));
            order.push_back(message.id.slot);
            longest = std::max<uint64_t>(longest, message.bytes.size());
            Taken& taken = by_slot[message.id.slot];
            taken.text += text_of(message.bytes);
            taken.replies += (ring.frame.kind & kFinalPart) != 0;
            if ((ring.frame.kind & kFinalPart) != 0) taken.text += "|";
            taken.asked += (ring.frame.kind & kAskCredit) != 0;
        }
        ring.consumer.publish();
    }

    struct Taken {
        std::string text;  ///< replies, each ended by '|'
        unsigned replies = 0, asked = 0;
    };
    TestRing ring;
    ReplyStreams streams;
    std::map<uint32_t, Taken> by_slot;
    std::vector<uint32_t> order;
    uint64_t longest = 0;
};

}  // namespace

TEST_CASE("streams: a reply within the credit goes at once, marked as the end and asking for credit") {
    Group group;
    group.add(kOne, "a", 1000);
    CHECK(group.streams.has_queue(kOne));
    group.run();
    CHECK(group.by_slot[1].text == std::string(1001, 'a') + "|");
    CHECK(group.by_slot[1].asked == 1);
    CHECK_FALSE(group.streams.has_queue(kOne));
    CHECK(group.streams.queued_bytes() == 0);
}

TEST_CASE("streams L1: replies leave in the order of requests, short ones behind large ones") {
    Group group;
    group.add(kOne, "a", kMany);
    group.streams.add(kOne, "short");
    group.add(kOne, "b", 10);
    for (int i = 0; i < 10; ++i) {
        group.run();
        group.streams.grant_credit(kOne);
    }
    CHECK(group.by_slot[1].text == std::string(kMany + 1, 'a') + "|short|" + std::string(11, 'b') + "|");
}

TEST_CASE("streams L2: without credit no more than the credit and one part go out") {
    Group group;
    group.add(kOne, "a", kMany);
    group.run();
    CHECK(group.by_slot[1].text.size() >= ReplyStreams::kCreditBytes);
    CHECK(group.by_slot[1].text.size() <= ReplyStreams::kCreditBytes + ReplyStreams::kPartBytesMax);
    CHECK(group.by_slot[1].asked == 1);
    CHECK(group.longest <= ReplyStreams::kPartBytesMax);
    CHECK(group.streams.idle());
    CHECK(group.streams.queued_bytes() == kMany + 1);  // a value counts until all of it is sent
}

TEST_CASE("streams L2: many small parts are bounded as well") {
    Group group;
    std::vector<ReplyPart> parts(kMany / 8192);
    for (ReplyPart& part : parts) part.fields = std::string(8192, 'p');
    group.streams.add(kOne, std::move(parts));
    group.run();
    CHECK(group.by_slot[1].text.size() <= ReplyStreams::kCreditBytes + ReplyStreams::kPartBytesMax);
    CHECK(group.by_slot[1].asked == 1);
}

TEST_CASE("streams L2: it asks once for each credit and stops asking when all is sent") {
    Group group;
    group.add(kOne, "a", kMany);
    unsigned credits = 0;
    for (group.run(); group.by_slot[1].replies == 0; group.run(), ++credits) {
        REQUIRE(group.by_slot[1].asked == credits + 1);
        group.streams.grant_credit(kOne);
    }
    CHECK(group.by_slot[1].text.size() == kMany + 2);
    CHECK(group.streams.queued_bytes() == 0);
}

TEST_CASE("streams L2: credit asked for early covers only what was sent before") {
    Group group;
    group.add(kOne, "a", 100);
    group.run();  // all sent: asks for credit
    REQUIRE(group.by_slot[1].asked == 1);
    const uint64_t covered = 101;
    group.add(kOne, "b", kMany);
    group.run();
    group.streams.grant_credit(kOne);  // the connection has sent the 101 bytes, and none of those behind them
    group.run();
    const uint64_t under_way = group.by_slot[1].text.size() - 1 - covered;
    CHECK(under_way <= ReplyStreams::kCreditBytes + ReplyStreams::kPartBytesMax);
}

TEST_CASE("streams L3: a part belongs to one reply, and only values are cut") {
    Group group(kRingCapacityMin);
    for (int i = 0; i < 20; ++i) group.add(kOne, "header" + std::string(1, static_cast<char>('a' + i)), 4000);
    for (int i = 0; i < 10; ++i) {
        group.run();
        group.streams.grant_credit(kOne);
    }
    CHECK(group.by_slot[1].replies == 20);
    std::string expected;
    for (int i = 0; i < 20; ++i) expected += "header" + std::string(4001, static_cast<char>('a' + i)) + "|";
    CHECK(group.by_slot[1].text == expected);
}

TEST_CASE("streams: a full ring stops the pump, room lets it go on") {
    Group group(kRingCapacityMin);
    group.add(kOne, "a", 100'000);
    CHECK_FALSE(group.streams.pump(group.ring.producer));
    CHECK_FALSE(group.streams.idle());
    CHECK_FALSE(group.streams.pump(group.ring.producer));
    group.run();
    CHECK(group.by_slot[1].text == std::string(100'001, 'a') + "|");
}

TEST_CASE("streams: connections take turns, and one without credit holds nobody up") {
    Group group;
    group.add(kOne, "a", kMany);
    group.add(kTwo, "b", kMany);
    group.run();
    CHECK(group.order.at(0) != group.order.at(1));
    group.streams.grant_credit(kTwo);
    const size_t before = group.by_slot[1].text.size();
    group.run();
    CHECK(group.by_slot[1].text.size() == before);
    CHECK(group.by_slot[2].text.size() >= 2 * ReplyStreams::kCreditBytes);
}

TEST_CASE("streams L4: forget drops what waits, also while it is in the line to be sent") {
    Group group;
    group.add(kOne, "a", kMany);
    group.add(kTwo, "b", 10);
    group.streams.forget(kOne);
    CHECK_FALSE(group.streams.has_queue(kOne));
    group.run();
    CHECK(group.by_slot.count(1) == 0);
    CHECK(group.by_slot[2].replies == 1);
    CHECK(group.streams.queued_bytes() == 0);
}

TEST_CASE("streams L4: a newer connection in the slot drops the older one's") {
    Group group;
    group.add(kOne, "a", kMany);
    group.run();
    group.by_slot.clear();
    const ConnectionId newer{kOne.slot, kOne.generation + 1};
    CHECK_FALSE(group.streams.has_queue(newer));
    group.add(newer, "n", 10);
    CHECK_FALSE(group.streams.has_queue(kOne));
    group.run();
    CHECK(group.by_slot[1].text == std::string(11, 'n') + "|");
    CHECK(group.streams.queued_bytes() == 0);
}

TEST_CASE("streams L4: credit and forget of another generation or slot change nothing") {
    Group group;
    group.add(kOne, "a", kMany);
    group.run();
    const size_t before = group.by_slot[1].text.size();
    for (const ConnectionId stranger : {ConnectionId{1, 9}, ConnectionId{1, 11}, ConnectionId{7, 10}}) {
        group.streams.grant_credit(stranger);
        group.streams.forget(stranger);
    }
    group.run();
    CHECK(group.by_slot[1].text.size() == before);
    CHECK(group.streams.has_queue(kOne));
}

TEST_CASE("streams: a value is sent as it was, whatever happens to it afterwards") {
    Group group;
    md::Blob blob = md::Blob::with_capacity(20'000);
    blob.append(0, std::string(10'000, 'o'));
    std::vector<ReplyPart> parts(1);
    parts[0].fields = "$";
    parts[0].blob = blob;
    parts[0].blob_length = 10'000;
    group.streams.add(kOne, std::move(parts));
    REQUIRE(blob.can_append(10'000, 5));
    blob.append(10'000, "later");
    blob = md::Blob();
    group.run();
    CHECK(group.by_slot[1].text == "$" + std::string(10'000, 'o') + "|");
}

TEST_CASE("streams: random replies to random connections arrive whole and in order") {
    Random random;
    INFO("SEED=" << random.seed);
    Group group(256 * 1024);
    std::map<uint32_t, std::string> expected;
    for (int step = 0; step < 300; ++step) {
        const ConnectionId connection{static_cast<uint32_t>(random.below(4)), 1};
        if (random.below(3) != 0) {
            const std::string field(1 + random.below(100), static_cast<char>('a' + random.below(26)));
            const uint64_t bytes = random.below(30'000);
            group.add(connection, field, bytes);
            expected[connection.slot] += field + std::string(bytes, field.back()) + "|";
        }
        if (random.below(2) == 0) group.streams.pump(group.ring.producer);
        if (random.below(2) == 0) group.take();
        if (random.below(4) == 0) group.streams.grant_credit(connection);
    }
    for (int i = 0; group.streams.queued_bytes() != 0 && i < 1000; ++i) {
        for (uint32_t slot = 0; slot < 4; ++slot) group.streams.grant_credit({slot, 1});
        group.run();
    }
    group.take();
    for (const auto& [slot, text] : expected) CHECK((group.by_slot[slot].text == text));
}
