// One io_conn, one md, and the rings and the store between them, in one process: md's ChannelServer over a real channel and a
// store in anonymous memory (store_fixture.h). Either side can end at any time and be followed by another. Includes nothing of
// doctest, see unit.h.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io_conn/reply_encoder.h"
#include "md/channel_server.h"
#include "tests/unit/ring_fixture.h"
#include "tests/unit/store_fixture.h"

namespace millrace::unit {

/// The memory and the files that all processes of a group share, and md while it lives.
class Group {
  public:
    static constexpr uint64_t kAssemblyBytes = 1 << 20;

    explicit Group(uint64_t pages = TestMemory::kPagesDefault) : space(pages) {
        space.prepare(0, md::Store::fixed_pages(TestStore::kOplogBytes) << st::kPageShift);
        md::Store::format(space.view(), TestStore::kSeed, TestStore::kOplogBytes);
        start();
    }
    /// md starts, and goes on where the one before it was.
    void start() {
        md_ = std::make_unique<md::Engine>(space.view());
        md_->store.adopt_options(Options());
        md_->counters = Counters<MdCounter>(folder.file("counters-md-0"), "md", 0, 1, 1);
        md_->assembly_budget.limit = kAssemblyBytes;
    }
    /// md is gone, at once. REQUIRES: its channel servers are.
    void die() { md_.reset(); }
    md::Engine& engine() { return *md_; }
    md::Store& store() { return md_->store; }
    bool alive() const { return md_ != nullptr; }

    void collect() {
        while (store().free_some(100)) {}
    }
    md::StoreReport report() { return md::check_store(space.view()); }
    std::string faults() {
        std::string text;
        for (const std::string& fault : report().faults) text += fault + "\n";
        return text;
    }
    void set_maxmemory(uint64_t bytes, EvictionPolicy policy = EvictionPolicy::noeviction) {
        store().set_live(OptionId::maxmemory, static_cast<int64_t>(bytes));
        store().set_live(OptionId::maxmemory_policy, static_cast<int64_t>(policy));
        store().commit();
    }
    uint64_t used_bytes() { return space.view().root().used_bytes; }
    /// The bytes of a key as a new md finds it, "<none>" without one.
    std::string get(std::string_view key, unsigned database = 0) {
        const md::Store store(space.view());
        const auto value = store.find(database, key, store.place_of(key));
        if (!value) return "<none>";
        return value->large == 0 ? std::string(value->small, value->stored_length) : value_of_large(value->large, value->stored_length);
    }
    /// The first bytes of a large item's value.
    std::string value_of_large(uint64_t reference, uint64_t length) {
        const md::StoreMemory memory = space.view();
        md::WriteSet set(memory);
        md::Allocator allocator(memory, set);
        std::string bytes(length, 0);
        md::Items(memory, set, allocator).read_large(reference, memory.as<st::LargeItem>(reference)->key_length, length, bytes.data());
        return bytes;
    }

    Folder folder;
    TestMemory space;

  private:
    std::unique_ptr<md::Engine> md_;
};

/// A reply as the io_conn took it from its ring.
struct Reply {
    ConnectionId id;
    std::string resp;     ///< in RESP2, also of a long reply
    uint64_t record = 0;  ///< of a long one
};

/// One channel: the io_conn's ends of the rings, and md's ChannelServer.
class TestChannel {
  public:
    using Turn = md::ChannelServer::Turn;

    TestChannel(Group& group, unsigned index, uint64_t ring_bytes = kRingCapacityMin)
        : group_(group), index_(index), ring_bytes_(ring_bytes), fifo_path_(group.folder.file("fifo-" + std::to_string(index))) {
        mkfifo(fifo_path_.c_str(), 0600);
        fifo_ = Fifo(fifo_path_);
        restart_io_conn();
    }
    /// The io_conn ends; another one makes fresh rings, and md attaches them.
    void restart_io_conn() {
        server.reset();
        rings = Channel::create(rings_path(), 1, ++generation_, ring_bytes_);
        requests = RingProducer(rings.requests(), RingWriting::in_place);  // so that tests can show a part of what is committed
        replies = RingConsumer(rings.replies());
        attach();
    }
    /// md maps the channel, as its loop does it.
    void attach() {
        if (group_.store().channel(index_).generation != generation_) {
            group_.store().reset_channel(index_, generation_);
            if (!group_.store().commit()) throw Error("no memory");
        }
        server.emplace(group_.engine(), index_, Channel::attach(rings_path(), 1, generation_), generation_, Bell(park, Fifo(fifo_path_)));
    }
    /// md dies and is followed by another; with this channel only.
    void restart_md() {
        server.reset();
        group_.die();
        group_.start();
        attach();
    }

    /// One turn of md.
    Turn serve() { return server->serve(kNever); }

    // --- the io_conn's side ---

    static std::string request(CommandId command, const std::vector<std::string_view>& arguments, uint8_t database = 0) {
        const RequestHeader header{static_cast<uint16_t>(command), database, 0, static_cast<uint32_t>(arguments.size()), 0};
        std::string body(request_bytes(arguments), 0);
        write_request(reinterpret_cast<std::byte*>(body.data()), header, arguments);
        return body;
    }
    /// Puts a message into the ring; false when there is no room.
    bool push(MessageKind kind, std::string_view body, ConnectionId id = kConnection) {
        return push_message(requests, frame_kind(kind), id, bytes_of(body));
    }
    bool send(CommandId command, const std::vector<std::string_view>& arguments, uint8_t database = 0) {
        return push(MessageKind::request, request(command, arguments, database)) && requests.publish();
    }
    bool send_release(uint64_t record) {
        return push(MessageKind::release, {reinterpret_cast<const char*>(&record), sizeof record}) && requests.publish();
    }
    bool send_fragment(uint64_t total, uint64_t offset, std::string_view bytes, ConnectionId id = kConnection) {
        const FragmentHeader header{total, offset};
        std::string body(reinterpret_cast<const char*>(&header), sizeof header);
        return push(MessageKind::request_fragment, body.append(bytes), id) && requests.publish();
    }
    /// Bytes of a large request in one message.
    uint64_t fragment_bytes() const { return max_message(requests) - sizeof(FragmentHeader); }
    /// Sends `count` fragments of a request from that one on, md serving each; false when one found no room.
    bool send_fragments(std::string_view body, uint64_t first = 0, uint64_t count = ~uint64_t{0}) {
        for (uint64_t offset = first * fragment_bytes(); offset < body.size() && count > 0; offset += fragment_bytes(), --count) {
            if (!send_fragment(body.size(), offset, body.substr(offset, fragment_bytes()))) return false;
            serve();
        }
        return true;
    }
    /// All replies that are published; long ones are read where they lie and not released.
    std::vector<Reply> take_replies() {
        std::vector<Reply> taken;
        for (Frame frame; replies.next(frame) == RingRead::frame;) {
            Message message;
            Reply reply;
            if (!open_message(frame, message)) throw Error("a reply is no message");
            reply.id = message.id;
            std::string encoded = text_of(message.bytes);
            if (message_kind(frame.kind) == MessageKind::reply_reference) {
                std::memcpy(&reply.record, encoded.data(), sizeof reply.record);
                encoded = text_of_record(reply.record);
            }
            reply.resp = resp_of(encoded);
            taken.push_back(reply);
        }
        replies.publish();
        return taken;
    }
    /// The replies' RESP behind each other.
    std::string take_resp() {
        std::string all;
        for (const Reply& reply : take_replies()) all += reply.resp;
        return all;
    }
    /// One request, served and answered.
    std::string ask(CommandId command, const std::vector<std::string_view>& arguments, uint8_t database = 0) {
        if (!send(command, arguments, database)) return "<no room>";
        if (serve() == Turn::faulty) return "<faulty: " + server->fault() + ">";
        return take_resp();
    }
    /// The same for one that may be larger than a message, and with a long reply released.
    std::string ask_large(CommandId command, const std::vector<std::string_view>& arguments) {
        const std::string body = request(command, arguments);
        if (body.size() <= max_message(requests)) send(command, arguments);
        else send_fragments(body);
        serve();
        std::string all;
        for (const Reply& reply : take_replies()) {
            all += reply.resp;
            if (reply.record != 0) send_release(reply.record);
        }
        serve();
        return all;
    }

    // --- between both ---

    /// The indices that the peers see; md may have committed more than it has published (T5).
    struct Published {
        uint64_t request_head, reply_tail, oplog;
    };
    Published published() const {
        return {rings.requests().control->head.load(), rings.replies().control->tail.load(), rings.control().replies_oplog.load()};
    }
    /// What would be there if md had died before it published. REQUIRES: nobody has looked since.
    void unpublish(Published before, bool also_replies = true) {
        rings.requests().control->head.store(before.request_head);
        if (!also_replies) return;
        rings.replies().control->tail.store(before.reply_tail);
        rings.control().replies_oplog.store(before.oplog);
    }
    uint64_t generation() const { return generation_; }
    const Fifo& fifo() const { return fifo_; }
    uint64_t first_record() { return group_.space.view().root().channels[index_].records; }
    /// The encoded bytes of a reply record.
    std::string text_of_record(uint64_t record) {
        const md::StoreMemory memory = group_.space.view();
        std::string all;
        for (uint64_t at = memory.as<st::ReplyRecord>(record)->first_chunk; at != 0; at = memory.as<st::ReplyChunk>(at)->next_chunk) {
            const auto& chunk = *memory.as<st::ReplyChunk>(at);
            all.append(memory.as<char>(at + sizeof chunk), chunk.bytes);
            if (chunk.item != 0) all += group_.value_of_large(chunk.item, chunk.item_length);
        }
        return all;
    }
    static std::string resp_of(std::string_view encoded) {
        io_conn::BufferPool pool;
        io_conn::Buffer out(pool);
        io_conn::RespWriter writer(out, false);
        io_conn::EncoderState state;
        const bool good = io_conn::encode_reply(bytes_of(encoded), state, writer) && state.bulk_left == 0;
        return good ? std::string(out.bytes()) : "<malformed>";
    }

    static constexpr ConnectionId kConnection{7, 70};
    static constexpr uint64_t kNever = ~uint64_t{0};  ///< a turn ends when there is nothing to do

    Channel rings;
    RingProducer requests;
    RingConsumer replies;
    std::atomic<uint32_t> park{1};
    std::optional<md::ChannelServer> server;

  private:
    std::string rings_path() const { return group_.folder.file("rings-" + std::to_string(index_)); }

    Group& group_;
    unsigned index_;
    uint64_t ring_bytes_;
    std::string fifo_path_;
    Fifo fifo_;
    uint64_t generation_ = 0;
};

/// RESP2 of a bulk.
inline std::string bulk(std::string_view bytes) { return "$" + std::to_string(bytes.size()) + "\r\n" + std::string(bytes) + "\r\n"; }

}  // namespace millrace::unit
