// See channel_server.h. Runs in md.
#include "md/channel_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>

#include "common/clock.h"
#include "common/live_options.h"
#include "common/log.h"
#include "common/paths.h"
#include "md/handlers.h"
#include "md/seeded_bugs.h"

namespace millrace::md {

void publish_keyspace(Engine& engine, uint32_t databases) {
    const uint64_t bytes = engine.store.counted_bytes();
    engine.counters.set(MdCounter::memory_bytes, bytes);
    if (bytes > engine.counters.get(MdCounter::memory_peak_bytes)) engine.counters.set(MdCounter::memory_peak_bytes, bytes);
    for (unsigned database = 0; database < kDatabases; ++database) {
        if ((databases >> database & 1u) == 0) continue;
        const auto keys = static_cast<MdCounter>(static_cast<unsigned>(MdCounter::db0_keys) + 2 * database);
        const auto expires = static_cast<MdCounter>(static_cast<unsigned>(MdCounter::db0_expires) + 2 * database);
        engine.counters.set(keys, engine.store.keys(database));
        engine.counters.set(expires, engine.store.keys_with_expiry(database));
    }
}

void publish_evictions(Engine& engine) {
    const uint64_t evicted = engine.evictor.take_evicted();
    if (evicted == 0) return;
    engine.counters.add(MdCounter::evicted_keys, evicted);
    publish_keyspace(engine, ~0u);
}

void Engine::follow_resets() {
    if (!diagnostics.follow_resets(store.memory().root().statistics_resets)) return;
    for (const MdCounter counter : {MdCounter::keyspace_hits, MdCounter::keyspace_misses, MdCounter::expired_keys, MdCounter::evicted_keys}) counters.set(counter, 0);
}

void Engine::follow_options() {
    const st::Root& root = store.memory().root();
    if (root.live_version == options_seen) return;
    options_seen = root.live_version;
    const auto word = [this](uint64_t at) { return store.memory().load(at); };
    meter.set_limits(live_number(OptionId::slowlog_log_slower_than, word), live_number(OptionId::latency_monitor_threshold, word),
                     live_number(OptionId::latency_tracking, word) == 0);
    pair.use(live_number(OptionId::replication_timeout, word));
    repl.use(live_number(OptionId::min_replicas, word), live_number(OptionId::replication_mode, word) == kSyncMode, live_number(OptionId::replication_acks, word),
             live_number(OptionId::replica_read_only, word) != 0);
}

ChannelServer::ChannelServer(Engine& engine, unsigned index, Channel channel, uint64_t generation, Bell bell)
    : engine_(engine),
      index_(index),
      channel_(std::move(channel)),
      generation_(generation),
      bell_(std::move(bell)),
      requests_(channel_.requests(), engine.store.channel(index).request_head),
      replies_(channel_.replies(), RingWriting::in_place, engine.store.channel(index).reply_tail),
      assembly_(engine.assembly_budget),
      reply_room_(std::min(kShortReplyBytes, max_message(replies_))),
      room_wanted_(reply_room_) {
    CHECK(engine.store.channel(index).generation == generation);
    publish_oplog_position();
    replies_.publish();  // what a predecessor committed and did not publish (T5)
    requests_.publish();
    if constexpr (kSeededBug != SeededBug::taken_not_announced)
        requests_.announce_take_over();  // last: who sees it sees all replies to what was taken before
}

ChannelServer::Taken ChannelServer::fail(std::string what) {
    fault_ = std::move(what);
    return Taken::faulty;
}

ChannelServer::Turn ChannelServer::serve(uint64_t until_us) {
    const uint64_t depth = requests_.depth();
    bool starved = false;
    unsigned taken = 0;
    uint64_t started_us = 0, tail = requests_.known_tail();
    for (Frame frame; taken < kBatchRequests; ++taken) {
        if (kSeededBug != SeededBug::room_not_reserved && !replies_.has_room(message_frame_bytes(room_wanted_))) {
            starved = true;
            break;
        }
        if (!engine_.log.takes(engine_.store) || engine_.store.window().is_full()) break;  // the disk is behind, or the other server of a strict pair
        const RingRead read = requests_.next(frame);
        if (read == RingRead::empty) break;
        if (read == RingRead::corrupt) {
            fail("its request ring's indices or a frame's length are out of range");
            return Turn::faulty;
        }
        if (taken == 0) {
            started_us = monotonic_us();
            first_enqueued_us_ = 0;
            engine_.meter.start();
        }
        // Read after the request had come: an io_conn that found a key's time over before it sent this must not see the key again.
        if (taken == 0 || requests_.known_tail() != tail) now_ms_ = wall_ms();
        tail = requests_.known_tail();
        if (taken % kLookAheadRequests == 0) look_ahead();
        const uint64_t splits = engine_.store.splits(), commits = engine_.store.memory().root().number;
        const Taken outcome = take(frame);
        if (outcome == Taken::faulty) return Turn::faulty;
        if (outcome == Taken::not_yet) {
            requests_.put_back(frame);
            starved = true;
            break;
        }
        room_wanted_ = reply_room_;
        // Splits of the index come in crowds, because all segments fill up alike, and each takes as long as many requests.
        // And a request may have had to evict many keys.
        const bool look_at_clock = taken % kLookAheadRequests == 0 || engine_.store.splits() != splits ||
                                   engine_.store.memory().root().number - commits > kManyCommits;
        if (look_at_clock && monotonic_us() > until_us) {
            ++taken;
            break;
        }
    }
    end_shared();
    if (taken > 0) count_batch(taken, started_us, depth);
    if (starved && !replies_.wants_space()) engine_.counters.add(MdCounter::reply_ring_full);
    replies_.want_space(starved);
    if (taken > 0) publish_gauges();
    const bool published = publish();
    return starved ? Turn::stalled : taken > 0 || published ? Turn::worked : Turn::idle;
}

void ChannelServer::publish_gauges() { engine_.counters.set(MdCounter::assembly_bytes, engine_.assembly_budget.used); }

/// D3 of log_words.h. REQUIRES: the ring's tail is published next.
void ChannelServer::publish_oplog_position() {
    channel_.control().replies_oplog.store(engine_.store.memory().root().oplog_tail, std::memory_order_relaxed);
}

bool ChannelServer::publish() {
    publish_oplog_position();
    const bool published = replies_.publish();
    const bool freed = requests_.publish();
    if (!published && !freed) return false;
    // A freed request ring matters to its io_conn only if it said so; published replies always do. The bell's fence
    // stands before both looks (wakeup.h).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if ((published || requests_.producer_wants_space()) && bell_.ring()) engine_.counters.add(MdCounter::wakeups_sent);
    return true;
}

void ChannelServer::wake_always() {
    if constexpr (kSeededBug == SeededBug::wake_only_the_parked) bell_.ring();
    else bell_.ring_always();
}

void ChannelServer::wake() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (bell_.ring()) engine_.counters.add(MdCounter::wakeups_sent);
}

bool ChannelServer::has_work() {
    if (!engine_.log.takes(engine_.store) || engine_.store.window().is_full()) return false;
    if (replies_.wants_space()) return replies_.has_room(message_frame_bytes(room_wanted_));
    return requests_.has_more();
}

/// Each key costs two or three cache misses that depend on each other. Those of several requests, under way at the same
/// time, cost little more than those of one: first the buckets of all of them, then the items.
void ChannelServer::look_ahead() {
    keys_ahead_.clear();
    uint64_t at = requests_.position();
    Frame frame;
    for (unsigned i = 1; i < kLookAheadRequests && requests_.peek(at, frame); ++i) note_keys(frame);
    for (KeyAhead& key : keys_ahead_) key.segment = engine_.store.prefetch(key.database, key.place);
    for (const KeyAhead& key : keys_ahead_) engine_.store.prefetch_item(key.segment, key.place);
}

/// Finds the keys of a request without taking its word for anything.
void ChannelServer::note_keys(const Frame& frame) {
    Message message;
    RequestHeader header;
    if (message_kind(frame.kind) != MessageKind::request || !open_message(frame, message) || message.bytes.size() < sizeof header)
        return;
    std::memcpy(&header, message.bytes.data(), sizeof header);
    if (header.command >= kCommandCount || header.database >= kDatabases) return;
    const CommandRow& row = command_row(static_cast<CommandId>(header.command));
    if (row.first_key != 1) return;
    std::span<const std::byte> left = message.bytes.subspan(sizeof header);
    for (int argument = 1; left.size() >= sizeof(uint32_t) && keys_ahead_.size() < kLookAheadKeys; ++argument) {
        uint32_t length;
        std::memcpy(&length, left.data(), sizeof length);
        left = left.subspan(sizeof length);
        if (length > left.size() || (row.last_key == 1 && argument > 1)) return;
        if ((argument - 1) % row.key_step == 0)
            keys_ahead_.push_back({header.database, engine_.store.place_of({reinterpret_cast<const char*>(left.data()), length}), 0});
        left = left.subspan(length);
    }
}

ChannelServer::Taken ChannelServer::take(const Frame& frame) {
    Message message;
    if (!open_message(frame, message)) return fail("a message is shorter than any can be");
    const ConnectionId connection = message.id;
    if (connection.slot >= kConnectionSlotsMax) return fail("a message is about a connection slot that cannot be");
    switch (message_kind(frame.kind)) {
        case MessageKind::request: return execute(connection, message.bytes, true);
        case MessageKind::request_fragment: return take_fragment(connection, message.bytes);
        case MessageKind::release: return release(message.bytes);
        case MessageKind::forget:
            assembly_.forget(connection);
            consume();
            return Taken::done;
        default: return fail(fmt::format("a message of kind {} came, which is not one for md", frame.kind));
    }
}

/// Commits what the write set has, with the messages taken and the replies written so far.
bool ChannelServer::commit() {
    engine_.store.set_cursors(index_, requests_.position(), replies_.position());
    if (!engine_.store.commit()) return false;
    claimed_ = nullptr;
    return true;
}

/// Commits that a message is taken, and nothing else. That needs no memory, so it cannot fail.
void ChannelServer::consume() {
    const bool committed = commit();
    CHECK(committed);
}

ChannelServer::Taken ChannelServer::release(std::span<const std::byte> body) {
    uint64_t record;
    if (body.size() != sizeof record) return fail("a release of a reply has another length");
    std::memcpy(&record, body.data(), sizeof record);
    if (!engine_.store.release_record(index_, record)) return fail("a reply is released that is not this io_conn's");
    consume();
    return Taken::done;
}

ChannelServer::Taken ChannelServer::take_fragment(ConnectionId connection, std::span<const std::byte> body) {
    engine_.counters.add(MdCounter::request_fragments);
    switch (assembly_.add(connection, body)) {
        case Assembly::Outcome::waiting: consume(); return Taken::done;
        case Assembly::Outcome::complete: {
            const Taken outcome = execute(connection, assembly_.request(), false);
            assembly_.drop_request();
            return outcome;
        }
        case Assembly::Outcome::refused: break;
    }
    engine_.counters.add(MdCounter::assembly_refused);
    number_bytes_ = 0;
    refuse(connection, "OOM request not taken: the memory for requests in progress (assembly-memory) is used up");
    return Taken::done;
}

namespace {

/// Whether one of EXEC's requests is of a command with this flag.
bool queues(std::span<const std::string_view> requests, uint32_t flag) {
    return std::ranges::any_of(requests, [flag](std::string_view request) {
        RequestHeader header;
        if (request.size() < sizeof header) return false;
        std::memcpy(&header, request.data(), sizeof header);
        return header.command < kCommandCount && command_row(static_cast<CommandId>(header.command)).is(flag);
    });
}

}  // namespace

/// Evicts for a command that needs memory. False: there is more than maxmemory, and nothing that may go.
bool ChannelServer::make_room(const CommandRow& row) {
    Evictor& evictor = engine_.evictor;
    if (!evictor.over_limit() || (row.id == CommandId::exec ? !queues(arguments_, command_flag::denyoom) : !row.is(command_flag::denyoom))) return true;
    const bool possible = evictor.make_room(evictor.far_over_limit() ? kEvictFarUs : kEvictUs) != Evictor::Outcome::nothing_left;
    publish_evictions(engine_);
    return possible;
}

bool ChannelServer::writes(const CommandRow& row) const {
    return row.id == CommandId::exec ? queues(arguments_, command_flag::write) : row.is(command_flag::write);
}

/// Why a command that writes is not executed now; empty: it is, or does not write.
std::string_view ChannelServer::refusal_of(const CommandRow& row) const {
    std::string_view refusal = engine_.log.refusal();
    if (engine_.store.window().is_incomplete() && !row.is(command_flag::stale | command_flag::linked)) return PairLink::kIncomplete;
    if (engine_.store.window().is_passive() && row.id != CommandId::ms_window) refusal = engine_.pair.refusal(engine_.store);
    if (refusal.empty()) refusal = engine_.repl.refusal(engine_.store.is_following(), row.id == CommandId::ms_apply || row.id == CommandId::ms_execute || row.id == CommandId::ms_window);
    return refusal.empty() || !writes(row) ? std::string_view() : refusal;
}

namespace {

/// Requests of at most so many bytes, of commands that take the same few steps whatever they are given.
constexpr size_t kBriefBytesMax = 4096;

constexpr bool is_brief(CommandId id) {
    switch (id) {
        case CommandId::get:
        case CommandId::set:
        case CommandId::setnx:
        case CommandId::setex:
        case CommandId::psetex:
        case CommandId::incr:
        case CommandId::decr:
        case CommandId::incrby:
        case CommandId::decrby:
        case CommandId::expire:
        case CommandId::pexpire: return true;
        default: return false;
    }
}

}  // namespace

/// `in_ring`: it lies in the ring as one message, and so can be taken again later, when there is more room for its reply.
ChannelServer::Taken ChannelServer::execute(ConnectionId connection, std::span<const std::byte> request, bool in_ring) {
    RequestHeader header;
    if (!parse_request(request, header, arguments_)) return fail("a request's lengths do not add up");
    const Handler handler = handler_of(static_cast<CommandId>(header.command));
    if (handler == nullptr) return fail(fmt::format("command number {} is not one for md", header.command));
    const CommandRow& row = command_row(static_cast<CommandId>(header.command));
    // EXEC has as many arguments here as there are commands in it.
    if (header.database >= kDatabases || (row.id != CommandId::exec && !row.accepts(arguments_.size() + 1)))
        return fail("a request's database or number of arguments is out of range");
    if (first_enqueued_us_ == 0) first_enqueued_us_ = header.enqueued_us;
    number_bytes_ = engine_.store.window().is_on() && !row.is(command_flag::linked) ? kReplyNumberBytes : 0;  // md_repl is to hear at once
    if (const std::string_view refusal = refusal_of(row); !refusal.empty()) {
        engine_.diagnostics.reject(row.id);
        refuse(connection, row.id == CommandId::exec ? "EXECABORT Transaction discarded because of: " + std::string(refusal) : std::string(refusal));
        return Taken::done;
    }
    if (!make_room(row)) {
        engine_.diagnostics.reject(row.id);
        refuse(connection, row.id == CommandId::exec ? "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'."
                                                     : "OOM command not allowed when used memory > 'maxmemory'.");
        return Taken::done;
    }
    const uint64_t name = in_ring ? Poison::name_of(index_, generation_, requests_.position())
                                  : Poison::name_of(index_, generation_, connection, request);
    if (engine_.poison.is_poison(name)) {
        log::warning("a {} command is set aside: md has failed {} times while executing it", row.name, Poison::kAttemptsMax);
        refuse(connection, "ERR the server has failed repeatedly while executing this command; it is set aside");
        return Taken::done;
    }
    const PlanStatistics counted = engine_.statistics;
    engine_.poison.begin(name);
    begin_reply();
    engine_.plan.begin(header.database, now_ms_, (header.flags & request_flag::no_touch) == 0);
    const bool brief = is_brief(row.id) && request.size() <= kBriefBytesMax && engine_.meter.lets_share();
    if (!brief) end_shared();
    const uint64_t began = engine_.meter.last(), errors = engine_.reply.errors();
    if (row.id == CommandId::exec)
        engine_.plan.set_observer([this, slot = connection.slot](const CommandRow& each, Arguments arguments, bool failed) {
            if (engine_.meter.end(engine_.diagnostics, each.id, engine_.meter.last(), failed)) note(each, arguments, slot);
        });
    Finished finished = Finished::no_memory;
    bool unconfirmed = false;
    try {
        handler(engine_.plan, arguments_);
        if (engine_.plan.read_unconfirmed() && !row.is(command_flag::linked)) {
            unconfirmed = true;
        } else if (engine_.plan.build()) {
            finished = finish_reply(connection, in_ring);
        }
    } catch (const std::exception& failure) {  // md's own memory, as a rule; nothing of the plan is committed
        log::warning("a {} command is answered with an error: {}", row.name, failure.what());
        engine_.plan.begin(header.database, now_ms_);
        finished = Finished::no_memory;
    }
    if constexpr (kSeededBug == SeededBug::reply_before_commit) replies_.publish();
    if (finished == Finished::not_yet) {
        engine_.store.abandon();
        engine_.statistics = counted;  // it is going to be executed again
        replies_.rewind(reply_begins_);
        claimed_ = nullptr;
    } else if (unconfirmed) {
        refuse(connection, "NOREPLICAS The value is not known to be on both servers of the strict pair, and they are not in sync; try again.");
    } else if (finished == Finished::no_memory || !commit()) {
        refuse(connection, "OOM the system has no shared memory left for this command");
    } else if (engine_.plan.reloads()) {
        engine_.reload_wanted = true;
    } else if (engine_.plan.logged_checksum()) {
        engine_.checksums.note(engine_.repl, engine_.store.stream_number(), *engine_.plan.logged_checksum());
    }
    engine_.poison.end();
    if (engine_.plan.pair_step() && finished == Finished::done) tell(engine_.plan.pair_before(), *engine_.plan.pair_step());
    if (row.is(command_flag::admin) || row.id == CommandId::exec) {
        engine_.follow_resets();
        engine_.follow_options();
    }
    if (brief) {
        const CommandId before = engine_.meter.shared_id();
        if (finished != Finished::not_yet && engine_.meter.end_brief(engine_.diagnostics, row.id, engine_.reply.errors() != errors)) note_one_of_several(command_row(before));
    } else if (finished != Finished::not_yet &&
        engine_.meter.end(engine_.diagnostics, row.id, began, row.id != CommandId::exec && engine_.reply.errors() != errors))
        note(row, arguments_, connection.slot);
    return finished == Finished::not_yet ? Taken::not_yet : Taken::done;
}

/// Brief commands have ended of which one was slow: nobody knows which.
void ChannelServer::note_one_of_several(const CommandRow& row) {
    engine_.meter.note(engine_.diagnostics, row, [&] {
        SlowCommand command;
        command.arguments = {std::string(row.name), "... (one of several brief commands)"};
        return command;
    });
}

void ChannelServer::end_shared() {
    if (engine_.meter.end_shared(engine_.diagnostics)) note_one_of_several(command_row(engine_.meter.shared_id()));
}

/// Notes the slow command that has just ended.
void ChannelServer::note(const CommandRow& row, std::span<const std::string_view> arguments, uint32_t slot) {
    engine_.meter.note(engine_.diagnostics, row, [&] { return describe(row, arguments, slot); });
}

SlowCommand ChannelServer::describe(const CommandRow& row, std::span<const std::string_view> arguments, uint32_t slot) {
    SlowCommand command;
    std::vector<std::string_view> words(1, row.name.substr(0, row.name.find('|')));
    words.insert(words.end(), arguments.begin(), arguments.end());
    command.arguments = slow_words(words);
    try {
        if (!clients_.mapped()) clients_ = Segment::attach({paths::clients(engine_.dir, index_), kClientsLayout, engine_.instance}, Access::read_only);
        const uint64_t at = kClientRowsAt + slot * sizeof(ClientRow);
        if (kSegmentPayload + at + sizeof(ClientRow) > clients_.grown()) return command;
        if (const auto client = read_row(*clients_.payload<ClientRow>(at))) {
            command.address = client->address.text();
            command.name = client->name;
        }
    } catch (const Error& error) {
        log::verbose("the client of a slow command is not known: {}", error.what());
    }
    return command;
}

void ChannelServer::begin_reply() {
    reply_begins_ = replies_.position();
    claimed_ = claim_message(replies_, reply_room_);
    CHECK(claimed_ != nullptr);  // serve() has made sure
    engine_.reply.begin(claimed_ + number_bytes_, reply_room_ - number_bytes_);
}

/// What a numbered reply begins with, and its kind.
uint32_t ChannelServer::number_reply(std::byte* at, MessageKind kind) const {
    if (number_bytes_ == 0) return frame_kind(kind);
    const uint64_t number = engine_.store.answer_number(!engine_.store.window().is_unresolved() && !engine_.plan.pair_step());
    std::memcpy(at, &number, sizeof number);
    return frame_kind(kind == MessageKind::reply ? MessageKind::numbered_reply : MessageKind::numbered_reference);
}

/// Puts the reply's frame behind the committed tail; a long reply becomes a record in the store. Without memory for that the
/// ring is the way out if the reply can be a message, and its reader makes room for it (not_yet): reading goes on when memory
/// is full. It is not the usual way, because io_conn has to hold such a reply for a client that does not read.
ChannelServer::Finished ChannelServer::finish_reply(ConnectionId connection, bool may_wait) {
    ReplyWriter& reply = engine_.reply;
    if (!reply.in_parts()) {
        commit_message(replies_, claimed_, number_bytes_ + reply.size(), number_reply(claimed_, MessageKind::reply), connection);
        return Finished::done;
    }
    const uint64_t record = engine_.store.add_record(index_, reply.parts());
    if (record != 0) {
        engine_.counters.add(MdCounter::large_replies);
        std::memcpy(claimed_ + number_bytes_, &record, sizeof record);
        commit_message(replies_, claimed_, number_bytes_ + sizeof record, number_reply(claimed_, MessageKind::reply_reference), connection);
        return Finished::done;
    }
    engine_.store.abandon();  // half a record, and the plan's changes, which are built again
    const uint64_t bytes = reply.total_bytes() + number_bytes_;
    if (bytes > max_message(replies_) || !engine_.plan.build()) return Finished::no_memory;
    if (put_into_ring(connection, static_cast<uint32_t>(bytes))) return Finished::done;
    if (!may_wait) return Finished::no_memory;
    room_wanted_ = static_cast<uint32_t>(bytes);
    return Finished::not_yet;
}

/// A reply in parts as one message; false when the ring has no room for it now.
bool ChannelServer::put_into_ring(ConnectionId connection, uint32_t bytes) {
    const MessageKind kind = number_bytes_ == 0 ? MessageKind::reply : MessageKind::numbered_reply;
    return put_message(replies_, frame_kind(kind), connection, bytes, [&](std::byte* at) {
        number_reply(at, MessageKind::reply);
        at += number_bytes_;
        for (const ReplyPart& part : engine_.reply.parts()) {
            at = std::ranges::copy(std::as_bytes(std::span(part.fields)), at).out;
            if (part.item == 0) continue;
            engine_.store.read_large_value(part.item, 0, part.item_length, reinterpret_cast<char*>(at));
            at += part.item_length;
        }
    });
}

/// Answers with an error in place of whatever was under way; nothing else happens.
void ChannelServer::refuse(ConnectionId connection, std::string_view error) {
    engine_.store.abandon();
    if (claimed_ != nullptr) replies_.rewind(reply_begins_);
    begin_reply();
    engine_.reply.error(error);
    const Finished finished = finish_reply(connection, false);
    CHECK(finished == Finished::done);
    consume();
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
    if (statistics.changes != 0) counters.add(MdCounter::changes, statistics.changes);
    if (statistics.databases_changed != 0) publish_keyspace(engine_, statistics.databases_changed);
    statistics = {};
}

}  // namespace millrace::md
