// The channel of one io_conn: both rings through one segment, and what is refused on attaching.
#include "common/channel.h"

#include "tests/unit/ring_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

constexpr uint64_t kInstance = 0xabc, kGeneration = 5;

struct ChannelFile {
    Folder folder;
    std::string path = folder.file("rings-0");

    Channel made() const { return Channel::create(path, kInstance, kGeneration, kRingCapacityMin); }
    /// A segment of the right layout with so many bytes of data behind the control page.
    void forge(uint64_t data_bytes, uint64_t grown = 0) const {
        const uint64_t size = kSegmentPayload + kPageSize + data_bytes;
        Segment::create({path, kChannelLayout, kInstance, kGeneration, size, grown}).publish();
    }
    std::string refusal(uint64_t generation = kGeneration, uint64_t instance = kInstance) const {
        return error_of([&] { Channel::attach(path, instance, generation); });
    }
};

}  // namespace

TEST_CASE("channel: what one side pushes, the other takes, in both rings") {
    ChannelFile file;
    Channel ours = file.made();
    Channel theirs = Channel::attach(file.path, kInstance, kGeneration);
    CHECK(theirs.requests().capacity == kRingCapacityMin);
    RingProducer requests(ours.requests(), RingWriting::staged), replies(theirs.replies(), RingWriting::in_place);
    requests.try_push(1, 1, bytes_of("request"));
    replies.try_push(16, 1, bytes_of("reply"));
    requests.publish();
    replies.publish();
    RingConsumer server(theirs.requests()), client(ours.replies());
    Frame frame;
    REQUIRE(server.next(frame) == RingRead::frame);
    CHECK(text_of(frame.body) == "request");
    REQUIRE(client.next(frame) == RingRead::frame);
    CHECK(text_of(frame.body) == "reply");
}

TEST_CASE("channel: another generation than announced is refused, and both are named") {
    ChannelFile file;
    file.made();
    CHECK(contains(file.refusal(kGeneration + 1), "has generation 5, not 6"));
    CHECK(file.refusal() == "");
}

TEST_CASE("channel: another instance's is refused") {
    ChannelFile file;
    file.made();
    CHECK(contains(file.refusal(kGeneration, kInstance + 1), "belongs to instance"));
}

TEST_CASE("channel: a length that gives no capacity is refused") {
    for (const uint64_t bytes : {uint64_t{0}, kPageSize, 2 * kPageSize, 2 * kRingCapacityMin - kPageSize,
                                 2 * kRingCapacityMin + kPageSize, 3 * kRingCapacityMin, kRingCapacityMin}) {
        CAPTURE(bytes);
        ChannelFile file;
        file.forge(bytes);
        CHECK(contains(file.refusal(), "no channel's length"));
    }
}

TEST_CASE("channel: a segment without room for the control page is refused") {
    ChannelFile file;
    Segment::create({file.path, kChannelLayout, kInstance, kGeneration, kSegmentPayload}).publish();
    CHECK(contains(file.refusal(), "no channel's length"));
}

TEST_CASE("channel: data that is not backed by memory is refused") {
    ChannelFile file;
    file.forge(2 * kRingCapacityMin, 2 * kPageSize);
    CHECK(contains(file.refusal(), "is refused"));
}

TEST_CASE("channel: the capacity written by the peer is not believed") {
    ChannelFile file;
    file.made();
    overwrite(file.path, kSegmentPayload + offsetof(ChannelControl, capacity), uint64_t{1} << 40);
    CHECK(Channel::attach(file.path, kInstance, kGeneration).requests().capacity == kRingCapacityMin);
}

TEST_CASE("channel: a new one under the same name leaves the attached old one unharmed") {
    ChannelFile file;
    file.made();
    Channel old = Channel::attach(file.path, kInstance, kGeneration);
    Channel fresh = Channel::create(file.path, kInstance, kGeneration + 1, kRingCapacityMin);
    RingProducer(fresh.requests(), RingWriting::staged).try_push(1, 1, bytes_of("for the new one"));
    CHECK_FALSE(RingConsumer(old.requests()).has_more());
}

TEST_CASE("channel: a capacity that is no power of two is our own bug") {
    CHECK_FALSE(survives([] { Channel::create("/nonexistent/x", 1, 1, kRingCapacityMin + kPageSize); }));
}
