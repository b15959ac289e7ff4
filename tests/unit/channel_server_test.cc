// md's end of a channel: requests are executed and answered once, long replies are kept until they are released, and what
// cannot be done - no memory, no room, no sense - is refused without a trace. What outlives md: channel_take_over_test.cc.
#include "md/channel_server.h"

#include <algorithm>

#include "tests/unit/channel_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using Turn = md::ChannelServer::Turn;

namespace {

const std::string kLarge(150'000, 'L');  ///< two extents and a tail

struct Fixture {
    explicit Fixture(uint64_t pages = TestMemory::kPagesDefault, uint64_t ring_bytes = kRingCapacityMin)
        : group(pages), channel(group, 1, ring_bytes) {}

    std::string ask(CommandId command, const std::vector<std::string_view>& arguments) { return channel.ask(command, arguments); }
    /// GET of a large value: the record that it becomes.
    uint64_t get_record(TestChannel& from, std::string_view key = "large") {
        REQUIRE(from.send(CommandId::get, {key}));
        REQUIRE(from.serve() == Turn::worked);
        const std::vector<Reply> replies = from.take_replies();
        REQUIRE(replies.size() == 1);
        REQUIRE(replies[0].record != 0);
        return replies[0].record;
    }
    /// Sets keys until there is no memory, with the system giving none; the key that was refused.
    std::string fill() {
        group.space.calls_left = 0;
        const std::string value(3000, 'f');
        for (int i = 0;; ++i) {
            const std::string key = "fill" + std::to_string(i), reply = ask(CommandId::set, {key, value});
            if (reply != "+OK\r\n") {
                CHECK(reply == kNoMemory);
                return key;
            }
        }
    }
    static constexpr std::string_view kNoMemory = "-OOM the system has no shared memory left for this command\r\n";

    Group group;
    TestChannel channel;
};

}  // namespace

TEST_CASE("channel server: requests are executed in order, once, and answered to whom they are from") {
    Fixture fixture;
    TestChannel& channel = fixture.channel;
    for (uint32_t i = 0; i < 10; ++i)
        REQUIRE(channel.push(MessageKind::request, TestChannel::request(CommandId::incr, {"n"}), {i, 100 + i}));
    channel.requests.publish();
    CHECK(channel.server->has_work());
    CHECK(channel.serve() == Turn::worked);
    CHECK(channel.serve() == Turn::idle);
    CHECK_FALSE(channel.server->has_work());
    const std::vector<Reply> replies = channel.take_replies();
    REQUIRE(replies.size() == 10);
    for (uint32_t i = 0; i < 10; ++i) {
        CHECK(replies[i].id == ConnectionId{i, 100 + i});
        CHECK(replies[i].resp == ":" + std::to_string(i + 1) + "\r\n");
    }
    CHECK(fixture.group.get("n") == "10");
}

TEST_CASE("channel server: a batch is bounded, and the rest is served by the next turn") {
    Fixture fixture;
    TestChannel& channel = fixture.channel;
    constexpr unsigned kRequests = md::ChannelServer::kBatchRequests + 10;
    for (unsigned i = 0; i < kRequests; ++i) REQUIRE(channel.send(CommandId::incr, {"n"}));
    channel.serve();
    CHECK(fixture.group.get("n") == std::to_string(md::ChannelServer::kBatchRequests));
    CHECK(channel.server->has_work());
    channel.serve();
    CHECK(fixture.group.get("n") == std::to_string(kRequests));
    CHECK(channel.take_replies().size() == kRequests);
}

TEST_CASE("channel server: databases are apart") {
    Fixture fixture;
    CHECK(fixture.channel.ask(CommandId::set, {"k", "five"}, 5) == "+OK\r\n");
    CHECK(fixture.channel.ask(CommandId::get, {"k"}, 5) == bulk("five"));
    CHECK(fixture.ask(CommandId::get, {"k"}) == "$-1\r\n");
    CHECK(fixture.channel.ask(CommandId::dbsize, {}, 5) == ":1\r\n");
}

// --- long replies -----------------------------------------------------------------------------------------------------

TEST_CASE("channel server: a long reply becomes a record, and is freed once it is released") {
    Fixture fixture;
    CHECK(fixture.channel.ask_large(CommandId::set, {"large", kLarge}) == "+OK\r\n");
    const uint64_t used = fixture.group.used_bytes();
    REQUIRE(fixture.channel.send(CommandId::get, {"large"}));
    REQUIRE(fixture.channel.serve() == Turn::worked);
    const std::vector<Reply> replies = fixture.channel.take_replies();
    REQUIRE(replies.size() == 1);
    CHECK((replies[0].resp == bulk(kLarge)));
    REQUIRE(replies[0].record != 0);
    CHECK(fixture.group.report().records == 1);
    CHECK(fixture.group.faults() == "");
    REQUIRE(fixture.channel.send_release(replies[0].record));
    CHECK(fixture.channel.serve() == Turn::worked);
    CHECK(fixture.channel.take_replies().empty());
    CHECK(fixture.group.report().records == 0);
    fixture.group.collect();
    CHECK(fixture.group.used_bytes() == used);
    CHECK(fixture.group.faults() == "");
    CHECK((fixture.group.get("large") == kLarge));
}

TEST_CASE("channel server: a reply longer than the ring's room but of short values is a record without items") {
    Fixture fixture;
    const std::string value(5000, 's');
    fixture.ask(CommandId::set, {"a", value});
    CHECK((fixture.channel.ask_large(CommandId::mget, {"a", "none", "a"}) == "*3\r\n" + bulk(value) + "$-1\r\n" + bulk(value)));
    std::vector<std::string_view> many(100, "a");
    std::string expected = "*100\r\n";
    for (int i = 0; i < 100; ++i) expected += bulk(value);
    CHECK((fixture.channel.ask_large(CommandId::mget, many) == expected));
    fixture.group.collect();
    CHECK(fixture.group.faults() == "");
    CHECK(fixture.group.report().records == 0);
}

TEST_CASE("channel server: the longest reply that stays in the ring, and one byte more") {
    Fixture fixture;
    const std::string longest(std::min(md::ChannelServer::kShortReplyBytes, max_message(fixture.channel.requests)) - 5, 'x');
    fixture.channel.ask_large(CommandId::set, {"longest", longest});
    fixture.channel.ask_large(CommandId::set, {"longer", longest + "y"});
    fixture.channel.send(CommandId::get, {"longest"});
    fixture.channel.send(CommandId::get, {"longer"});
    fixture.channel.serve();
    const std::vector<Reply> replies = fixture.channel.take_replies();
    REQUIRE(replies.size() == 2);
    CHECK(replies[0].record == 0);
    CHECK((replies[0].resp == bulk(longest)));
    CHECK(replies[1].record != 0);
    CHECK((replies[1].resp == bulk(longest + "y")));
}

TEST_CASE("channel server: a value that a reply refers to stays whole, whatever becomes of its key") {
    struct { const char* name; CommandId command; std::vector<std::string_view> arguments; } cases[] = {
        {"deleted", CommandId::del, {"large"}},
        {"set anew", CommandId::set, {"large", "short"}},
        {"lengthened", CommandId::append, {"large", "more"}},
        {"cleared with all", CommandId::flushall, {}}};
    for (const auto& row : cases) {
        CAPTURE(row.name);
        Fixture fixture;
        fixture.channel.ask_large(CommandId::set, {"large", kLarge});
        const uint64_t record = fixture.get_record(fixture.channel), second = fixture.get_record(fixture.channel);
        fixture.ask(row.command, row.arguments);
        fixture.group.collect();
        CHECK(fixture.group.faults() == "");
        CHECK((TestChannel::resp_of(fixture.channel.text_of_record(record)) == bulk(kLarge)));
        for (const uint64_t released : {record, second}) {
            REQUIRE(fixture.channel.send_release(released));
            CHECK(fixture.channel.serve() == Turn::worked);
            fixture.group.collect();
            CHECK(fixture.group.faults() == "");
        }
        fixture.ask(CommandId::flushall, {});
        fixture.group.collect();
        CHECK(fixture.group.used_bytes() == 0);
    }
}

TEST_CASE("channel server: a reply with the value that its own command takes away") {
    for (const CommandId command : {CommandId::getdel, CommandId::getset, CommandId::set}) {
        CAPTURE(command_row(command).name);
        Fixture fixture;
        fixture.channel.ask_large(CommandId::set, {"large", kLarge});
        const std::vector<std::string_view> arguments =
            command == CommandId::getdel ? std::vector<std::string_view>{"large"}
            : command == CommandId::getset ? std::vector<std::string_view>{"large", "new"} : std::vector<std::string_view>{"large", "new", "GET"};
        REQUIRE(fixture.channel.send(command, arguments));
        fixture.channel.serve();
        fixture.group.collect();
        CHECK(fixture.group.faults() == "");
        const std::vector<Reply> replies = fixture.channel.take_replies();
        REQUIRE(replies.size() == 1);
        CHECK((replies[0].resp == bulk(kLarge)));
        REQUIRE(fixture.channel.send_release(replies[0].record));
        fixture.channel.serve();
        fixture.ask(CommandId::flushall, {});
        fixture.group.collect();
        CHECK(fixture.group.faults() == "");
        CHECK(fixture.group.used_bytes() == 0);
    }
}

TEST_CASE("channel server R6: a release of what is no record of this channel closes it and harms nothing") {
    Fixture fixture;
    TestChannel other(fixture.group, 2);
    fixture.channel.ask_large(CommandId::set, {"large", kLarge});
    fixture.ask(CommandId::set, {"small", std::string(30, 'x')});
    const uint64_t record = fixture.get_record(fixture.channel), foreign = fixture.get_record(other);
    const md::StoreMemory memory = fixture.group.space.view();
    const uint64_t chunk = memory.as<st::ReplyRecord>(record)->first_chunk;
    const uint64_t item = memory.as<st::ReplyChunk>(chunk)->item;
    const uint64_t frontier = memory.root().frontier << st::kPageShift;
    for (const uint64_t reference :
         {foreign, record + 8, record + 4, record - 48, record + 48, chunk, item, memory.as<st::LargeItem>(item)->tail, uint64_t{0}, uint64_t{8},
          st::kRootAt, st::kJournalAt, st::kOplogAt, frontier - 48, frontier, frontier + 48, st::kPageBytes * st::kRegionPages, memory.bytes(),
          memory.bytes() - 8, uint64_t{1} << 62, ~uint64_t{0}, ~uint64_t{7}}) {
        CAPTURE(reference);
        const TestMemory::Image before = fixture.group.space.image();
        REQUIRE(fixture.channel.send_release(reference));
        CHECK(fixture.channel.serve() == Turn::faulty);
        CHECK(fixture.channel.server->fault() == "a reply is released that is not this io_conn's");
        CHECK((fixture.group.space.image() == before));
        // The same once more from where the committed cursor stands, without the bad message.
        fixture.channel.requests.rewind(fixture.channel.requests.position() - message_frame_bytes(sizeof reference));
        fixture.channel.requests.publish();
        fixture.channel.attach();
    }
    CHECK((TestChannel::resp_of(other.text_of_record(foreign)) == bulk(kLarge)));
    REQUIRE(other.send_release(foreign));
    CHECK(other.serve() == Turn::worked);
    REQUIRE(fixture.channel.send_release(record));
    CHECK(fixture.channel.serve() == Turn::worked);
    fixture.group.collect();
    CHECK(fixture.group.faults() == "");
}

TEST_CASE("channel server R6: a record is released once, freed meanwhile or not") {
    for (const bool freed : {false, true}) {
        CAPTURE(freed);
        Fixture fixture;
        fixture.channel.ask_large(CommandId::set, {"large", kLarge});
        const uint64_t record = fixture.get_record(fixture.channel), kept = fixture.get_record(fixture.channel);
        REQUIRE(fixture.channel.send_release(record));
        CHECK(fixture.channel.serve() == Turn::worked);
        if (freed) fixture.group.collect();
        REQUIRE(fixture.channel.send_release(record));
        CHECK(fixture.channel.serve() == Turn::faulty);
        CHECK(fixture.channel.first_record() == kept);
        fixture.group.collect();
        CHECK(fixture.group.faults() == "");
    }
}

TEST_CASE("channel server R6: a value made to look like a record is none") {
    // The tail of a large value is the one chunk whose first bytes a client chooses.
    Fixture fixture;
    for (const uint32_t tail_bytes : {41u, 44u, 47u, 48u, 56u}) {
        CAPTURE(tail_bytes);
        st::ReplyRecord forged{{0, 0, st::ItemType::reply_record, 0}, 0, 0, 0, 0, 2};
        std::string value(2 * st::kPageBytes - 1, 'v');  // the key has one byte
        value.append(reinterpret_cast<const char*>(&forged), sizeof forged).append(100, 0).resize(2 * st::kPageBytes - 1 + tail_bytes);
        REQUIRE(fixture.channel.ask_large(CommandId::set, {"k", value}) == "+OK\r\n");
        const uint64_t record = fixture.get_record(fixture.channel, "k");
        const md::StoreMemory memory = fixture.group.space.view();
        const uint64_t tail = memory.as<st::LargeItem>(memory.as<st::ReplyChunk>(memory.as<st::ReplyRecord>(record)->first_chunk)->item)->tail;
        REQUIRE(tail != 0);
        REQUIRE(fixture.channel.send_release(tail));
        CHECK(fixture.channel.serve() == Turn::faulty);
        CHECK(fixture.group.faults() == "");
        fixture.channel.restart_io_conn();
    }
}

TEST_CASE("channel server R6: what is no message for md closes the channel, and what came before it is done") {
    const std::string get = TestChannel::request(CommandId::get, {"k"});
    std::string unknown = get, database = get, longer = get + "x", few = TestChannel::request(CommandId::set, {"k"});
    unknown[0] = unknown[1] = '\xff';
    database[2] = 16;
    const std::string local = TestChannel::request(CommandId::ping, {});
    struct { MessageKind kind; std::string body; ConnectionId id; std::string_view fault; } cases[] = {
        {MessageKind::request, unknown, {1, 1}, "command number 65535 is not one for md"},
        {MessageKind::request, local, {1, 1}, "is not one for md"},
        {MessageKind::request, database, {1, 1}, "a request's database or number of arguments is out of range"},
        {MessageKind::request, few, {1, 1}, "a request's database or number of arguments is out of range"},
        {MessageKind::request, longer, {1, 1}, "a request's lengths do not add up"},
        {MessageKind::request, "", {1, 1}, "a request's lengths do not add up"},
        {MessageKind::request, get, {kConnectionSlotsMax, 1}, "a message is about a connection slot that cannot be"},
        {MessageKind::reply, get, {1, 1}, "a message of kind 5 came"},
        {MessageKind::release, "1234567", {1, 1}, "a release of a reply has another length"},
        {MessageKind::release, "123456789", {1, 1}, "a release of a reply has another length"}};
    for (const auto& row : cases) {
        CAPTURE(row.fault);
        Fixture fixture;
        REQUIRE(fixture.channel.push(MessageKind::request, TestChannel::request(CommandId::incr, {"n"})));
        REQUIRE(fixture.channel.push(row.kind, row.body, row.id));
        REQUIRE(fixture.channel.push(MessageKind::request, TestChannel::request(CommandId::incr, {"n"})));
        fixture.channel.requests.publish();
        CHECK(fixture.channel.serve() == Turn::faulty);
        CHECK(contains(fixture.channel.server->fault(), std::string(row.fault)));
        CHECK(fixture.group.get("n") == "1");
        CHECK(fixture.group.faults() == "");
        fixture.channel.restart_md();  // the next md finds the same fault and nothing else to do
        CHECK(fixture.channel.serve() == Turn::faulty);
        CHECK(fixture.group.get("n") == "1");
        fixture.channel.restart_io_conn();
        CHECK(fixture.ask(CommandId::incr, {"n"}) == ":2\r\n");
    }
}

// --- what is refused --------------------------------------------------------------------------------------------------

TEST_CASE("channel server: without memory a command is refused, nothing has happened, and the next one works") {
    Fixture fixture;
    fixture.ask(CommandId::set, {"old", "value"});
    const std::string refused = fixture.fill();
    const md::StoreReport before = fixture.group.report();
    REQUIRE(before.good());
    CHECK(before.keys > 1);
    const uint64_t used = fixture.group.used_bytes();
    CHECK(fixture.ask(CommandId::set, {refused, std::string(3000, 'f')}) == Fixture::kNoMemory);
    CHECK(fixture.ask(CommandId::mset, {"old", "changed", "more", std::string(3000, 'f')}) == Fixture::kNoMemory);
    CHECK(fixture.channel.ask_large(CommandId::set, {"old", kLarge}) == Fixture::kNoMemory);
    CHECK(fixture.group.used_bytes() == used);
    CHECK(fixture.group.report().keys == before.keys);
    CHECK(fixture.group.faults() == "");
    CHECK(fixture.group.get(refused) == "<none>");
    CHECK(fixture.ask(CommandId::get, {"old"}) == bulk("value"));
    CHECK(fixture.ask(CommandId::del, {"fill0", "fill1", "fill2"}) == ":3\r\n");
    CHECK(fixture.ask(CommandId::set, {refused, std::string(3000, 'f')}) == "+OK\r\n");
    CHECK(fixture.group.faults() == "");
    fixture.group.space.calls_left = TestMemory::kUnlimited;
    CHECK(fixture.channel.ask_large(CommandId::set, {"old", kLarge}) == "+OK\r\n");
    CHECK(fixture.group.faults() == "");
}

TEST_CASE("channel server: a command that fails at any point of its memory leaves the store as it was") {
    Fixture fixture;
    fixture.channel.ask_large(CommandId::set, {"large", kLarge});
    fixture.ask(CommandId::set, {"small", "s"});
    const TestMemory::Image image = fixture.group.space.image();
    struct { CommandId command; std::vector<std::string_view> arguments; } cases[] = {
        {CommandId::set, {"small", kLarge}}, {CommandId::append, {"large", kLarge}}, {CommandId::getset, {"large", kLarge}},
        {CommandId::mset, {"a", kLarge, "b", kLarge, "small", "t"}}};
    for (const auto& row : cases) {
        unsigned refusals = 0;
        for (uint64_t calls = 0; calls < 100; ++calls) {
            CAPTURE(command_row(row.command).name);
            CAPTURE(calls);
            fixture.channel.server.reset();
            fixture.group.die();
            fixture.group.space.restore(image);
            fixture.group.start();
            fixture.channel.restart_io_conn();
            fixture.group.space.calls_left = calls;
            const std::string reply = fixture.channel.ask_large(row.command, row.arguments);
            fixture.group.space.calls_left = TestMemory::kUnlimited;
            REQUIRE(fixture.group.faults() == "");
            if (reply != Fixture::kNoMemory) break;
            ++refusals;
            REQUIRE((fixture.group.get("large") == kLarge));
            REQUIRE(fixture.group.get("small") == "s");
            REQUIRE(fixture.group.report().keys == 2);
            REQUIRE(fixture.group.report().records == 0);
        }
        CHECK(refusals > 0);
        CHECK(refusals < 100);
    }
}

TEST_CASE("channel server: a change whose list has no memory is refused, with one reply in place of the one that was written") {
    Fixture fixture;
    constexpr int kKeys = 4000;
    std::vector<std::string> names;
    for (int i = 0; i < kKeys; ++i) names.push_back("key" + std::to_string(i));
    std::vector<std::string_view> pairs;
    for (const std::string& name : names) pairs.insert(pairs.end(), {name, "v"});
    REQUIRE(fixture.channel.ask_large(CommandId::mset, pairs) == "+OK\r\n");
    const std::vector<std::string_view> keys(names.begin(), names.end());
    fixture.group.space.calls_left = 0;
    // The commit asks for memory when the reply is written: nobody may see it yet (T1).
    const uint64_t tail_before = fixture.channel.published().reply_tail;
    unsigned looks = 0;
    fixture.group.space.on_call = [&] {
        ++looks;
        CHECK(fixture.channel.published().reply_tail == tail_before);
    };
    CHECK(fixture.channel.ask_large(CommandId::del, keys) == Fixture::kNoMemory);
    CHECK(looks > 0);
    fixture.group.space.on_call = nullptr;
    CHECK(fixture.group.report().keys == kKeys);
    CHECK(fixture.group.faults() == "");
    CHECK(fixture.ask(CommandId::get, {"key0"}) == bulk("v"));
    fixture.group.space.calls_left = TestMemory::kUnlimited;
    CHECK(fixture.channel.ask_large(CommandId::del, keys) == ":" + std::to_string(kKeys) + "\r\n");
    CHECK(fixture.group.report().keys == 0);
    CHECK(fixture.group.faults() == "");
}

TEST_CASE("channel server: without memory for records, long replies go through the ring, and wait for room in it") {
    Fixture fixture(TestMemory::kPagesDefault, 4 * kRingCapacityMin);
    const std::string value(7000, 'r');
    REQUIRE(fixture.ask(CommandId::set, {"read", value}) == "+OK\r\n");
    const std::vector<std::string_view> four_times(4, "read");
    fixture.fill();
    // Too long for the room that every reply has: a record or a message, of which the ring has room for a few.
    const std::string reply = "*4\r\n" + bulk(value) + bulk(value) + bulk(value) + bulk(value);
    constexpr int kRequests = 30;
    for (int i = 0; i < kRequests; ++i) REQUIRE(fixture.channel.push(MessageKind::request, TestChannel::request(CommandId::mget, four_times)));
    fixture.channel.requests.publish();
    int answered = 0;
    bool stalled = false;
    for (int turn = 0; turn < 10 * kRequests && answered < kRequests; ++turn) {
        stalled |= fixture.channel.serve() == Turn::stalled;
        for (const Reply& taken : fixture.channel.take_replies()) {
            REQUIRE((taken.resp == reply));
            CHECK(taken.record == 0);
            ++answered;
        }
    }
    CHECK(answered == kRequests);
    CHECK(stalled);
    CHECK(fixture.group.engine().counters.get(MdCounter::keyspace_hits) == 4 * kRequests);  // one that waited is counted once
    CHECK(fixture.group.faults() == "");
}

TEST_CASE("channel server: a long reply for which there is no memory is refused, and its command has not happened") {
    Fixture fixture;
    const std::string value(5000, 's');
    fixture.ask(CommandId::set, {"a", value});
    std::vector<std::string_view> many(200, "a");
    fixture.group.space.calls_left = 20;
    int answered = -1;
    for (std::string reply; reply != Fixture::kNoMemory; ++answered) {  // records pile up until there is no room
        REQUIRE(answered < 1000);
        REQUIRE(fixture.channel.send(CommandId::mget, many));
        fixture.channel.serve();
        reply = fixture.channel.take_resp();
    }
    CHECK(answered > 0);
    CHECK(fixture.group.faults() == "");
    CHECK((fixture.ask(CommandId::get, {"a"}) == bulk(value)));
    while (fixture.channel.first_record() != 0) {
        REQUIRE(fixture.channel.send_release(fixture.channel.first_record()));
        REQUIRE(fixture.channel.serve() == Turn::worked);
    }
    fixture.group.collect();
    CHECK(fixture.channel.ask_large(CommandId::mget, many).size() > 200 * value.size());
    CHECK(fixture.group.faults() == "");
}

TEST_CASE("channel server: above maxmemory what may take memory is refused, and what frees or reads works") {
    Fixture fixture;
    fixture.ask(CommandId::set, {"k", "1"});
    fixture.ask(CommandId::set, {"other", std::string(3000, 'x')});
    fixture.group.set_maxmemory(fixture.group.used_bytes());
    CHECK(fixture.ask(CommandId::set, {"more", std::string(100, 'x')}) == "+OK\r\n");  // up to the limit is not above it
    const uint64_t used = fixture.group.used_bytes();
    struct { CommandId command; std::vector<std::string_view> arguments; std::string reply; } cases[] = {
        {CommandId::get, {"k"}, bulk("1")}, {CommandId::strlen, {"other"}, ":3000\r\n"}, {CommandId::exists, {"k", "none"}, ":1\r\n"},
        {CommandId::type, {"k"}, "+string\r\n"}, {CommandId::dbsize, {}, ":3\r\n"}, {CommandId::mget, {"k"}, "*1\r\n" + bulk("1")}};
    for (const auto& row : cases) CHECK(fixture.ask(row.command, row.arguments) == row.reply);
    const std::string refusal = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    struct { CommandId command; std::vector<std::string_view> arguments; } refused[] = {
        {CommandId::set, {"k", "2"}}, {CommandId::setnx, {"new", "2"}}, {CommandId::append, {"k", "2"}}, {CommandId::incr, {"k"}},
        {CommandId::decrby, {"k", "2"}}, {CommandId::mset, {"k", "2"}}, {CommandId::getset, {"k", "2"}}};
    for (const auto& row : refused) {
        CAPTURE(command_row(row.command).name);
        CHECK(fixture.ask(row.command, row.arguments) == refusal);
    }
    CHECK(fixture.group.used_bytes() == used);
    CHECK(fixture.channel.ask_large(CommandId::set, {"large", kLarge}) == refusal);
    CHECK(fixture.ask(CommandId::getdel, {"k"}) == bulk("1"));
    CHECK(fixture.ask(CommandId::del, {"other"}) == ":1\r\n");
    CHECK(fixture.ask(CommandId::set, {"k", "2"}) == "+OK\r\n");
    fixture.group.set_maxmemory(1);
    CHECK(fixture.ask(CommandId::set, {"k", "3"}) == refusal);
    CHECK(fixture.ask(CommandId::flushall, {}) == "+OK\r\n");
    fixture.group.collect();
    CHECK(fixture.ask(CommandId::set, {"k", "3"}) == "+OK\r\n");
    CHECK(fixture.group.faults() == "");
}

TEST_CASE("channel server: a large request beyond the memory for requests in progress is refused, others are taken") {
    Fixture fixture;
    const std::string body = TestChannel::request(CommandId::set, {"k", std::string(Group::kAssemblyBytes + 1, 'x')});
    REQUIRE(fixture.channel.send_fragments(body));
    CHECK(fixture.channel.take_resp().starts_with("-OOM request not taken"));
    CHECK(fixture.group.get("k") == "<none>");
    CHECK(fixture.channel.ask_large(CommandId::set, {"k", kLarge}) == "+OK\r\n");
    CHECK(fixture.group.engine().assembly_budget.used == 0);
}

// --- a full ring ------------------------------------------------------------------------------------------------------

TEST_CASE("channel server: with the reply ring full requests wait, and none is lost or executed twice") {
    Fixture fixture;
    TestChannel& channel = fixture.channel;
    fixture.ask(CommandId::set, {"v", std::string(4000, 'v')});
    constexpr int kRequests = 60;  // their replies are four times the ring
    for (int i = 0; i < kRequests / 2; ++i) {
        REQUIRE(channel.send(CommandId::incr, {"n"}));
        REQUIRE(channel.send(CommandId::get, {"v"}));
    }
    while (channel.serve() == Turn::worked) {}
    CHECK(channel.serve() == Turn::stalled);
    CHECK(channel.serve() == Turn::stalled);
    CHECK_FALSE(channel.server->has_work());
    CHECK(channel.rings.replies().control->space_wanted == 1);
    CHECK(fixture.group.engine().counters.get(MdCounter::reply_ring_full) == 1);
    std::vector<Reply> replies;
    while (replies.size() < kRequests) {
        const std::vector<Reply> taken = channel.take_replies();
        REQUIRE(!taken.empty());
        replies.insert(replies.end(), taken.begin(), taken.end());
        if (replies.size() < kRequests) CHECK(channel.server->has_work());
        channel.serve();
    }
    CHECK(channel.rings.replies().control->space_wanted == 0);
    for (int i = 0; i < kRequests; i += 2) {
        CHECK(replies[i].resp == ":" + std::to_string(i / 2 + 1) + "\r\n");
        CHECK((replies[i + 1].resp == bulk(std::string(4000, 'v'))));
    }
    CHECK(channel.take_replies().empty());
    CHECK(fixture.group.get("n") == std::to_string(kRequests / 2));
}

TEST_CASE("channel server: one channel that is full or faulty does not hold up another") {
    Fixture fixture;
    TestChannel other(fixture.group, 2), faulty(fixture.group, 3);
    fixture.ask(CommandId::set, {"v", std::string(7000, 'v')});
    for (int i = 0; i < 20; ++i) REQUIRE(other.send(CommandId::get, {"v"}));
    while (other.serve() == Turn::worked) {}
    REQUIRE(faulty.push(MessageKind::reply, ""));
    faulty.requests.publish();
    CHECK(faulty.serve() == Turn::faulty);
    CHECK(fixture.ask(CommandId::incr, {"n"}) == ":1\r\n");
}

// --- the end of an io_conn --------------------------------------------------------------------------------------------

TEST_CASE("channel server: when an io_conn is followed by another, its records go and those of others stay") {
    Fixture fixture;
    TestChannel other(fixture.group, 2);
    fixture.channel.ask_large(CommandId::set, {"large", kLarge});
    const uint64_t used = fixture.group.used_bytes();
    for (int i = 0; i < 5; ++i) fixture.get_record(fixture.channel);
    REQUIRE(fixture.channel.send(CommandId::get, {"large"}));  // one more, which nobody has seen
    fixture.channel.serve();
    const uint64_t kept = fixture.get_record(other);
    CHECK(fixture.group.report().records == 7);
    fixture.ask(CommandId::del, {"large"});
    fixture.channel.restart_io_conn();
    CHECK(fixture.group.store().channel(1).request_head == 0);
    CHECK(fixture.group.store().channel(1).reply_tail == 0);
    CHECK(fixture.channel.take_replies().empty());
    CHECK(fixture.group.report().records == 1);
    fixture.group.collect();
    CHECK(fixture.group.faults() == "");
    CHECK((TestChannel::resp_of(other.text_of_record(kept)) == bulk(kLarge)));
    CHECK(fixture.group.used_bytes() > used - kLarge.size());
    REQUIRE(other.send_release(kept));
    CHECK(other.serve() == Turn::worked);
    fixture.ask(CommandId::flushall, {});
    fixture.group.collect();
    CHECK(fixture.group.used_bytes() == 0);
}
