// What outlives md at a channel: no request is lost or executed twice, and no reply either, wherever md dies; T1 and T5 of
// common/store_layout.h. What md does while it lives: channel_server_test.cc.
#include <map>

#include "tests/unit/channel_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using Turn = md::ChannelServer::Turn;

namespace {

const std::string kLarge(150'000, 'L');

struct Fixture {
    explicit Fixture(uint64_t pages = TestMemory::kPagesDefault) : group(pages), channel(group, 1) {}

    /// How much of what md has committed it had published when it died.
    enum class Death { all_published, only_replies, nothing };

    /// md serves what is in the ring, and dies.
    void serve_and_die(Death death) {
        const TestChannel::Published before = channel.published();
        REQUIRE(channel.serve() != Turn::faulty);
        if (death != Death::all_published) channel.unpublish(before, death == Death::nothing);
        channel.restart_md();
    }
    /// Lets md see the requests up to this position of the ring.
    void show_up_to(uint64_t position) { channel.rings.requests().control->tail.store(position); }

    Group group;
    TestChannel channel;
};

struct Request {
    CommandId command;
    std::vector<std::string_view> arguments;
};
/// Requests of which each shows when it is lost or executed twice.
const Request kRequests[] = {
    {CommandId::incr, {"n"}}, {CommandId::append, {"text", "a"}}, {CommandId::set, {"k", "v"}}, {CommandId::getset, {"k", "w"}},
    {CommandId::get, {"large"}}, {CommandId::append, {"large", "!"}}, {CommandId::incr, {"n"}}, {CommandId::get, {"large"}},
    {CommandId::append, {"text", "b"}}, {CommandId::getdel, {"k"}}, {CommandId::decrby, {"n", "10"}}, {CommandId::getdel, {"large"}},
    {CommandId::mset, {"x", "1", "y", "2"}}, {CommandId::del, {"x", "none"}}, {CommandId::get, {"absent"}}, {CommandId::dbsize, {}}};

const std::string kReplies = ":1\r\n:1\r\n+OK\r\n" + bulk("v") + bulk(kLarge) + ":150001\r\n:2\r\n" + bulk(kLarge + "!") + ":2\r\n" +
                             bulk("w") + ":-8\r\n" + bulk(kLarge + "!") + "+OK\r\n:1\r\n$-1\r\n:3\r\n";

/// What there is when all of them were executed once.
void check_outcome(Fixture& fixture, std::vector<Reply> replies) {
    std::string all;
    for (const Reply& reply : replies) all += reply.resp;
    CHECK((all == kReplies));
    CHECK(fixture.group.get("n") == "-8");
    CHECK(fixture.group.get("text") == "ab");
    CHECK(fixture.group.get("y") == "2");
    CHECK(fixture.group.report().keys == 3);
    CHECK(fixture.group.report().records == 3);
    CHECK(fixture.group.faults() == "");
    for (const Reply& reply : replies)
        if (reply.record != 0) REQUIRE(fixture.channel.send_release(reply.record));
    CHECK(fixture.channel.serve() == Turn::worked);
    fixture.channel.ask(CommandId::flushall, {});
    fixture.group.collect();
    CHECK(fixture.group.used_bytes() == 0);
    CHECK(fixture.group.faults() == "");
}

}  // namespace

TEST_CASE("take-over T1: md dies between any two requests, with what it has committed published or not") {
    for (const auto death : {Fixture::Death::all_published, Fixture::Death::only_replies, Fixture::Death::nothing}) {
        for (size_t deadly = 0; deadly <= std::size(kRequests); ++deadly) {
            CAPTURE(static_cast<int>(death));
            CAPTURE(deadly);
            Fixture fixture;
            TestChannel& channel = fixture.channel;
            REQUIRE(channel.ask_large(CommandId::set, {"large", kLarge}) == "+OK\r\n");
            uint64_t until = channel.requests.position();
            for (size_t i = 0; i < std::size(kRequests); ++i) {
                REQUIRE(channel.push(MessageKind::request, TestChannel::request(kRequests[i].command, kRequests[i].arguments)));
                if (i + 1 == deadly) until = channel.requests.position();
            }
            fixture.show_up_to(until);
            fixture.serve_and_die(death);
            channel.requests.publish();
            CHECK(channel.serve() == (deadly < std::size(kRequests) ? Turn::worked : Turn::idle));
            check_outcome(fixture, channel.take_replies());
        }
    }
}

TEST_CASE("take-over T1: md dies after each request") {
    for (const auto death : {Fixture::Death::all_published, Fixture::Death::only_replies, Fixture::Death::nothing}) {
        CAPTURE(static_cast<int>(death));
        Fixture fixture;
        TestChannel& channel = fixture.channel;
        REQUIRE(channel.ask_large(CommandId::set, {"large", kLarge}) == "+OK\r\n");
        for (const Request& request : kRequests) {
            REQUIRE(channel.send(request.command, request.arguments));
            fixture.serve_and_die(death);
        }
        check_outcome(fixture, channel.take_replies());
    }
}

TEST_CASE("take-over T5: what was committed and not published is published by the next md before it takes a request") {
    Fixture fixture;
    TestChannel& channel = fixture.channel;
    REQUIRE(channel.send(CommandId::incr, {"n"}));
    const TestChannel::Published before = channel.published();
    REQUIRE(channel.serve() == Turn::worked);
    const TestChannel::Published after = channel.published();
    CHECK(after.request_head > before.request_head);
    CHECK(after.reply_tail > before.reply_tail);
    channel.unpublish(before);
    CHECK(channel.take_replies().empty());
    channel.restart_md();
    CHECK(channel.published().request_head == after.request_head);
    CHECK(channel.published().reply_tail == after.reply_tail);
    CHECK(channel.rings.requests().control->taken_over_at == after.request_head);
    CHECK(channel.take_resp() == ":1\r\n");
    channel.fifo().drain();
    channel.park = 2;  // not parked, as far as it has said
    channel.server->wake_always();
    CHECK(channel.fifo().wait(0));
}

TEST_CASE("take-over T2: frames behind the committed tail are nobody's, even if they were written") {
    Fixture fixture;
    TestChannel& channel = fixture.channel;
    REQUIRE(channel.ask(CommandId::set, {"k", "v"}) == "+OK\r\n");
    // md dies after it has written a reply and before its commit: the request is still there, the reply is written again.
    RingProducer dying(channel.rings.replies(), RingWriting::in_place, fixture.group.store().channel(1).reply_tail);
    REQUIRE(push_message(dying, frame_kind(MessageKind::reply), TestChannel::kConnection, bytes_of(std::string(500, 'x'))));
    REQUIRE(channel.send(CommandId::get, {"k"}));
    channel.restart_md();
    CHECK(channel.take_replies().empty());
    CHECK(channel.serve() == Turn::worked);
    CHECK(channel.take_resp() == bulk("v"));
}

TEST_CASE("take-over: a release is taken once, by whichever md") {
    for (const auto death : {Fixture::Death::all_published, Fixture::Death::only_replies, Fixture::Death::nothing}) {
        CAPTURE(static_cast<int>(death));
        Fixture fixture;
        TestChannel& channel = fixture.channel;
        channel.ask_large(CommandId::set, {"large", kLarge});
        for (int i = 0; i < 3; ++i) REQUIRE(channel.send(CommandId::get, {"large"}));
        channel.serve();
        const std::vector<Reply> replies = channel.take_replies();
        REQUIRE(replies.size() == 3);
        for (const Reply& reply : replies) {
            channel.restart_md();
            REQUIRE(channel.send_release(reply.record));
            fixture.serve_and_die(death);
            CHECK(channel.serve() == Turn::idle);
            CHECK(fixture.group.faults() == "");
        }
        CHECK(channel.first_record() == 0);
        channel.ask(CommandId::flushall, {});
        fixture.group.collect();
        CHECK(fixture.group.used_bytes() == 0);
    }
}

TEST_CASE("take-over: what has arrived of a large request is lost, and it is executed once when it is sent again") {
    Fixture fixture;
    TestChannel& channel = fixture.channel;
    channel.ask(CommandId::set, {"k", "<"});
    const std::string body = TestChannel::request(CommandId::append, {"k", kLarge});
    const uint64_t count = (body.size() + channel.fragment_bytes() - 1) / channel.fragment_bytes();
    for (const uint64_t before : {uint64_t{1}, count / 2, count - 1}) {
        CAPTURE(before);
        const std::string old = fixture.group.get("k");
        const uint64_t first_at = channel.requests.position();
        REQUIRE(channel.send_fragments(body, 0, before));
        CHECK(channel.take_replies().empty());
        channel.restart_md();
        // By this word the io_conn knows that md has not all of it.
        CHECK(channel.rings.requests().control->taken_over_at > first_at);
        CHECK(fixture.group.engine().assembly_budget.used == 0);
        REQUIRE(channel.send_fragments(body, before));  // the rest alone is dropped
        CHECK(channel.take_replies().empty());
        CHECK((fixture.group.get("k") == old));
        CHECK(channel.ask(CommandId::incr, {"n"}).starts_with(":"));
        REQUIRE(channel.send_fragments(body));
        CHECK(channel.take_resp() == ":" + std::to_string(old.size() + kLarge.size()) + "\r\n");
        CHECK((fixture.group.get("k") == old + kLarge));
        CHECK(fixture.group.engine().assembly_budget.used == 0);
        CHECK(fixture.group.faults() == "");
    }
}

TEST_CASE("take-over: a large request that was executed is not executed by the next md") {
    for (const auto death : {Fixture::Death::all_published, Fixture::Death::only_replies, Fixture::Death::nothing}) {
        CAPTURE(static_cast<int>(death));
        Fixture fixture;
        TestChannel& channel = fixture.channel;
        const std::string body = TestChannel::request(CommandId::append, {"k", kLarge});
        const uint64_t last = (body.size() - 1) / channel.fragment_bytes();
        REQUIRE(channel.send_fragments(body, 0, last));
        REQUIRE(channel.send_fragment(body.size(), last * channel.fragment_bytes(), std::string_view(body).substr(last * channel.fragment_bytes())));
        fixture.serve_and_die(death);
        CHECK(channel.serve() == Turn::idle);
        CHECK(channel.take_resp() == ":150000\r\n");
        CHECK((fixture.group.get("k") == kLarge));
    }
}

TEST_CASE("take-over: what a connection has sent of a large request is dropped when it is gone") {
    Fixture fixture;
    TestChannel& channel = fixture.channel;
    const std::string body = TestChannel::request(CommandId::set, {"k", kLarge});
    REQUIRE(channel.send_fragments(body, 0, 3));
    CHECK(fixture.group.engine().assembly_budget.used > 0);
    REQUIRE(channel.push(MessageKind::forget, ""));
    channel.requests.publish();
    CHECK(channel.serve() == Turn::worked);
    CHECK(fixture.group.engine().assembly_budget.used == 0);
    REQUIRE(channel.send_fragments(body, 3));
    CHECK(channel.take_replies().empty());
    CHECK(fixture.group.get("k") == "<none>");
}

TEST_CASE("take-over: md dies while the reply ring is full") {
    Fixture fixture;
    TestChannel& channel = fixture.channel;
    channel.ask(CommandId::set, {"v", std::string(4000, 'v')});
    constexpr int kPairs = 30;
    for (int i = 0; i < kPairs; ++i) {
        REQUIRE(channel.send(CommandId::incr, {"n"}));
        REQUIRE(channel.send(CommandId::get, {"v"}));
    }
    int taken = 0;
    for (int round = 0; taken < 2 * kPairs; ++round) {
        REQUIRE(round < 2 * kPairs);
        while (channel.serve() == Turn::worked) {}
        channel.restart_md();
        const bool more = taken + 16 < 2 * kPairs;
        if (more) CHECK(channel.serve() == Turn::stalled);  // the next md finds it as full
        for (const Reply& reply : channel.take_replies()) {
            REQUIRE((reply.resp == (taken % 2 == 0 ? ":" + std::to_string(taken / 2 + 1) + "\r\n" : bulk(std::string(4000, 'v')))));
            ++taken;
        }
    }
    CHECK(fixture.group.get("n") == std::to_string(kPairs));
}

TEST_CASE("take-over: a refusal for want of memory is committed like a reply") {
    Fixture fixture;
    TestChannel& channel = fixture.channel;
    channel.ask(CommandId::set, {"k", "v"});
    fixture.group.space.calls_left = 0;
    const std::string body = TestChannel::request(CommandId::set, {"k", kLarge});
    REQUIRE(channel.send_fragments(body, 0, (body.size() - 1) / channel.fragment_bytes()));  // all but the last
    const uint64_t last = body.size() / channel.fragment_bytes() * channel.fragment_bytes();
    REQUIRE(channel.send_fragment(body.size(), last, std::string_view(body).substr(last)));
    fixture.serve_and_die(Fixture::Death::nothing);
    fixture.group.space.calls_left = TestMemory::kUnlimited;
    CHECK(channel.serve() == Turn::idle);
    CHECK(channel.take_resp() == "-OOM the system has no shared memory left for this command\r\n");
    CHECK(fixture.group.get("k") == "v");
    CHECK(fixture.group.faults() == "");
}

// --- poison requests --------------------------------------------------------------------------------------------------

namespace {

/// Three times md fails on the request that is next in the ring, in a way that counts or not.
void fail_on_next(Fixture& fixture, uint64_t message_bytes, unsigned times, bool own_fault) {
    for (unsigned i = 0; i < times; ++i) {
        const uint64_t behind = fixture.group.store().channel(1).request_head + message_bytes;
        fixture.group.engine().poison.begin(md::Poison::name_of(1, fixture.channel.generation(), behind));
        fixture.group.space.view().root().faulted = own_fault;
        fixture.channel.restart_md();
        fixture.group.engine().poison.take_over(false);
    }
}

}  // namespace

TEST_CASE("poison: a request on which md has failed three times is set aside, and only that one") {
    for (const unsigned times : {md::Poison::kAttemptsMax - 1, md::Poison::kAttemptsMax}) {
        CAPTURE(times);
        Fixture fixture;
        const std::string body = TestChannel::request(CommandId::incr, {"n"});
        REQUIRE(fixture.channel.send(CommandId::incr, {"n"}));
        REQUIRE(fixture.channel.send(CommandId::incr, {"n"}));
        fail_on_next(fixture, message_frame_bytes(static_cast<uint32_t>(body.size())), times, true);
        CHECK(fixture.channel.serve() == Turn::worked);
        const std::vector<Reply> replies = fixture.channel.take_replies();
        REQUIRE(replies.size() == 2);
        const bool set_aside = times == md::Poison::kAttemptsMax;
        CHECK(replies[0].resp.starts_with(set_aside ? "-ERR the server has failed repeatedly" : ":1\r\n"));
        CHECK(replies[1].resp == (set_aside ? ":1\r\n" : ":2\r\n"));
    }
}

TEST_CASE("poison: md killed from outside while it executes a request counts for nothing") {
    Fixture fixture;
    const std::string body = TestChannel::request(CommandId::incr, {"n"});
    REQUIRE(fixture.channel.send(CommandId::incr, {"n"}));
    fail_on_next(fixture, message_frame_bytes(static_cast<uint32_t>(body.size())), 10, false);
    fixture.channel.serve();
    CHECK(fixture.channel.take_resp() == ":1\r\n");
}

TEST_CASE("poison: a fault of md between two requests is no request's") {
    Fixture fixture;
    const st::Root& root = fixture.group.space.view().root();
    for (int i = 0; i < 5; ++i) {
        CHECK(fixture.channel.ask(CommandId::incr, {"n"}) == ":" + std::to_string(i + 1) + "\r\n");
        CHECK(root.executing == 0);
        fixture.group.space.view().root().faulted = 1;
        fixture.channel.restart_md();
        fixture.group.engine().poison.take_over(false);
        CHECK(root.attempts == 0);
        CHECK(root.faulted == 0);
    }
}

TEST_CASE("poison: a store on which md has failed five times in a row between requests is one, unless one has served well") {
    Fixture fixture;
    const auto poison = [&]() -> md::Poison& { return fixture.group.engine().poison; };
    const auto die = [&](bool own_fault, bool hung, unsigned times) {
        for (unsigned i = 0; i < times; ++i) {
            fixture.group.space.view().root().faulted = own_fault;
            fixture.channel.restart_md();
            poison().take_over(hung);
        }
    };
    die(true, false, md::Poison::kFaultsBetweenMax - 1);
    die(false, false, 100);  // killed from outside
    CHECK_FALSE(poison().store_is_poison());
    poison().served_well();
    die(true, false, md::Poison::kFaultsBetweenMax - 1);
    CHECK_FALSE(poison().store_is_poison());
    die(false, true, 1);
    CHECK(poison().store_is_poison());
}

// --- by chance --------------------------------------------------------------------------------------------------------

TEST_CASE("take-over: any requests, with md dying at any time, give what a map gives") {
    Random random;
    INFO("SEED=" << random.seed);
    Fixture fixture;
    TestChannel& channel = fixture.channel;
    std::map<std::string, std::string> model;
    std::vector<uint64_t> held;
    const auto any_bytes = [&] { return std::string(random.below(4) == 0 ? random.below(200'000) : random.below(300), static_cast<char>('a' + random.below(26))); };
    std::string expected;
    for (int round = 0; round < 1500; ++round) {
        const std::string key = "key" + std::to_string(random.below(6)), bytes = any_bytes();
        const bool known = model.contains(key);
        const std::string old = known ? model[key] : "", old_reply = known ? bulk(old) : "$-1\r\n";
        CommandId command = CommandId::get;
        std::vector<std::string_view> arguments{key};
        std::string reply = old_reply;
        switch (random.below(5)) {
            case 0: command = CommandId::set, arguments.push_back(bytes), reply = "+OK\r\n", model[key] = bytes; break;
            case 1: command = CommandId::getset, arguments.push_back(bytes), model[key] = bytes; break;
            case 2: command = CommandId::getdel, model.erase(key); break;
            case 3:
                if (old.size() + bytes.size() > 900'000) break;
                command = CommandId::append, arguments.push_back(bytes), model[key] = old + bytes;
                reply = ":" + std::to_string(old.size() + bytes.size()) + "\r\n";
                break;
            default: break;
        }
        expected += reply;
        const auto die = [&] {
            if (random.below(10) == 0) fixture.serve_and_die(static_cast<Fixture::Death>(random.below(3)));
        };
        const std::string body = TestChannel::request(command, arguments);
        if (body.size() <= max_message(channel.requests)) {
            REQUIRE(channel.push(MessageKind::request, body));
        } else {
            channel.requests.publish();
            die();
            channel.serve();
            if (random.below(4) == 0) {
                REQUIRE(channel.send_fragments(body, 0, (body.size() - 1) / channel.fragment_bytes()));  // all but the last
                channel.restart_md();
            }
            REQUIRE(channel.send_fragments(body));
        }
        if (random.below(3) != 0) continue;  // several requests in the ring
        channel.requests.publish();
        die();
        channel.serve();
        die();
        std::string answers;
        for (const Reply& answer : channel.take_replies()) {
            answers += answer.resp;
            if (answer.record != 0) held.push_back(answer.record);
        }
        REQUIRE((answers == expected));
        expected.clear();
        while (!held.empty() && random.below(4) != 0) {
            std::swap(held[random.below(held.size())], held.back());
            REQUIRE(channel.send_release(held.back()));
            held.pop_back();
        }
        fixture.group.store().free_some(static_cast<unsigned>(1 + random.below(20)));
        if (random.below(20) == 0) fixture.group.store().give_back_some(16);
        if (round % 50 == 0) REQUIRE(fixture.group.faults() == "");
    }
    channel.requests.publish();
    channel.serve();
    CHECK((channel.take_resp() == expected));
    for (const auto& [key, bytes] : model) CHECK((fixture.group.get(key) == bytes));
    CHECK(fixture.group.report().keys == model.size());
    CHECK(fixture.group.faults() == "");
    channel.restart_io_conn();
    channel.ask(CommandId::flushall, {});
    fixture.group.collect();
    CHECK(fixture.group.used_bytes() == 0);
}

TEST_CASE("channel G4 of reply_gate.h: what a new md publishes for its predecessor has the oplog's position beside it") {
    Fixture fixture;
    fixture.group.store().set_oplog_on(true);
    REQUIRE(fixture.channel.ask(CommandId::set, {"k", "v"}) == "+OK\r\n");
    const ChannelControl& control = fixture.channel.rings.control();
    const uint64_t position = fixture.group.space.view().root().oplog_tail;
    CHECK(control.replies_oplog == position);
    REQUIRE(fixture.channel.send(CommandId::set, {"k", "w"}));
    fixture.serve_and_die(Fixture::Death::nothing);
    CHECK(fixture.group.space.view().root().oplog_tail > position);
    CHECK(control.replies_oplog == fixture.group.space.view().root().oplog_tail);
    CHECK(fixture.channel.take_resp() == "+OK\r\n");
}
