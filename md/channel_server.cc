// See channel_server.h. Runs in md.
#include "md/channel_server.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/clock.h"
#include "md/handlers.h"

namespace millrace::md {

void publish_keyspace(Engine& engine, uint32_t databases) {
    engine.counters.set(MdCounter::memory_bytes, engine.store.memory_bytes());
    for (unsigned database = 0; database < kDatabases; ++database) {
        if ((databases >> database & 1u) == 0) continue;
        const auto keys = static_cast<MdCounter>(static_cast<unsigned>(MdCounter::db0_keys) + 2 * database);
        const auto expires = static_cast<MdCounter>(static_cast<unsigned>(MdCounter::db0_expires) + 2 * database);
        engine.counters.set(keys, engine.store.keys(database));
        engine.counters.set(expires, engine.store.keys_with_expiry(database));
    }
}

ChannelServer::ChannelServer(Engine& engine, Channel channel, uint64_t generation, Bell bell)
    : engine_(engine),
      channel_(std::move(channel)),
      generation_(generation),
      bell_(std::move(bell)),
      requests_(channel_.requests()),
      replies_(channel_.replies()),
      assembly_(engine.assembly_budget),
      reply_room_(std::min(kShortReplyBytes, max_message(replies_))) {}

ChannelServer::~ChannelServer() { engine_.large_reply_bytes -= counted_reply_bytes_; }

bool ChannelServer::fail(std::string what) {
    fault_ = std::move(what);
    return false;
}

ChannelServer::Turn ChannelServer::serve() {
    const uint64_t depth = requests_.depth();
    bool worked = !streams_.idle();
    starved_ = !streams_.pump(replies_);
    unsigned taken = 0;
    uint64_t started_us = 0;
    for (Frame frame; !starved_ && taken < kBatchRequests; ++taken) {
        if (!replies_.has_room(message_frame_bytes(reply_room_))) {
            starved_ = true;
            break;
        }
        const RingRead read = requests_.next(frame);
        if (read == RingRead::empty) break;
        if (read == RingRead::corrupt) {
            fail("its request ring's indices or a frame's length are out of range");
            return Turn::faulty;
        }
        if (taken == 0) {
            started_us = monotonic_us();
            now_ms_ = wall_ms();
            first_enqueued_us_ = 0;
        }
        if (!take(frame)) return Turn::faulty;
    }
    if (taken > 0) {
        if (!streams_.idle()) starved_ = !streams_.pump(replies_);
        count_batch(taken, started_us, depth);
        worked = true;
    }
    if (starved_ && !replies_.wants_space()) engine_.counters.add(MdCounter::reply_ring_full);
    replies_.want_space(starved_);
    if (worked) publish_gauges();
    worked |= publish();
    return starved_ ? Turn::stalled : worked ? Turn::worked : Turn::idle;
}

void ChannelServer::publish_gauges() {
    engine_.large_reply_bytes += streams_.queued_bytes() - counted_reply_bytes_;
    counted_reply_bytes_ = streams_.queued_bytes();
    engine_.counters.set(MdCounter::large_reply_bytes, engine_.large_reply_bytes);
    engine_.counters.set(MdCounter::assembly_bytes, engine_.assembly_budget.used);
}

bool ChannelServer::publish() {
    const bool published = replies_.publish();
    const bool freed = requests_.publish();
    if (!published && !freed) return false;
    // A freed request ring matters to its io_conn only if it said so; published replies always do. The bell's fence
    // stands before both looks (wakeup.h).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if ((published || requests_.producer_wants_space()) && bell_.ring()) engine_.counters.add(MdCounter::wakeups_sent);
    return true;
}

bool ChannelServer::has_work() {
    if (replies_.wants_space())
        return replies_.has_room(message_frame_bytes(std::min(ReplyStreams::kPartBytesMax, max_message(replies_))));
    return requests_.has_more() || !streams_.idle();
}

bool ChannelServer::take(const Frame& frame) {
    Message message;
    if (!open_message(frame, message)) return fail("a message is shorter than any can be");
    const ConnectionId connection = message.id;
    if (connection.slot >= kConnectionSlotsMax) return fail("a message is about a connection slot that cannot be");
    switch (message_kind(frame.kind)) {
        case MessageKind::request: return execute(connection, message.bytes);
        case MessageKind::request_fragment: return take_fragment(connection, message.bytes);
        case MessageKind::credit: streams_.grant_credit(connection); return true;
        case MessageKind::forget:
            streams_.forget(connection);
            assembly_.forget(connection);
            return true;
        default: return fail(fmt::format("a message of kind {} came, which is not one for md", frame.kind));
    }
}

bool ChannelServer::take_fragment(ConnectionId connection, std::span<const std::byte> body) {
    engine_.counters.add(MdCounter::request_fragments);
    switch (assembly_.add(connection, body)) {
        case Assembly::Outcome::waiting: return true;
        case Assembly::Outcome::complete: {
            const bool good = execute(connection, assembly_.request());
            assembly_.drop_request();
            return good;
        }
        case Assembly::Outcome::refused: break;
    }
    engine_.counters.add(MdCounter::assembly_refused);
    begin_reply();
    engine_.reply.error("OOM request not taken: the memory for requests in progress (assembly-memory) is used up");
    finish_reply(connection);
    return true;
}

bool ChannelServer::execute(ConnectionId connection, std::span<const std::byte> request) {
    RequestHeader header;
    if (!parse_request(request, header, arguments_)) return fail("a request's lengths do not add up");
    const Handler handler = handler_of(static_cast<CommandId>(header.command));
    if (handler == nullptr) return fail(fmt::format("command number {} is not one for md", header.command));
    if (header.database >= kDatabases || !command_row(static_cast<CommandId>(header.command)).accepts(
                                             arguments_.size() + 1))
        return fail("a request's database or number of arguments is out of range");
    if (first_enqueued_us_ == 0) first_enqueued_us_ = header.enqueued_us;
    begin_reply();
    engine_.plan.begin(header.database, now_ms_);
    handler(engine_.plan, arguments_);
    engine_.plan.commit();
    finish_reply(connection);
    return true;
}

void ChannelServer::begin_reply() {
    claimed_ = claim_message(replies_, reply_room_);
    CHECK(claimed_ != nullptr);  // serve() has made sure
    engine_.reply.begin(claimed_, reply_room_, reply_room_);
}

void ChannelServer::finish_reply(ConnectionId connection) {
    ReplyWriter& reply = engine_.reply;
    if (reply.in_parts()) {
        engine_.counters.add(MdCounter::large_replies);
        streams_.add(connection, reply.take_parts());
    } else if (streams_.has_queue(connection)) {  // L1
        streams_.add(connection, reply.short_reply());
    } else {
        commit_message(replies_, claimed_, reply.size(), frame_kind(MessageKind::reply), connection);
    }
}

void ChannelServer::count_batch(unsigned requests, uint64_t started_us, uint64_t depth_bytes) {
    Counters<MdCounter>& counters = engine_.counters;
    counters.add(MdCounter::requests, requests);
    counters.record(MdCounter::batch, requests);
    counters.record(MdCounter::ring_depth_bytes, depth_bytes);
    const uint64_t elapsed_us = monotonic_us() - started_us;
    counters.record(MdCounter::batch_service_ns, elapsed_us * 1000 / requests);
    if (first_enqueued_us_ != 0)
        counters.record(MdCounter::queue_wait_us, static_cast<uint32_t>(started_us) - first_enqueued_us_);
    PlanStatistics& statistics = engine_.statistics;
    counters.add(MdCounter::keyspace_hits, statistics.hits);
    counters.add(MdCounter::keyspace_misses, statistics.misses);
    counters.add(MdCounter::expired_keys, statistics.expired);
    if (statistics.databases_changed != 0) publish_keyspace(engine_, statistics.databases_changed);
    statistics = {};
}

}  // namespace millrace::md
