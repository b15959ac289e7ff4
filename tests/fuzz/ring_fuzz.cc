// Fuzz target: what md and io_conn do when the other side of a ring is hostile (common/ring.h, R6).
//
// The input is a program. Its steps put requests, fragments, releases and messages of any kind into a request ring, write any
// values into the control words and any bytes into the data of both rings, let md's ChannelServer serve, keep house or die and
// be followed by another, let memory run out, and read the replies; other steps feed any bytes to io_conn's reply encoder.
// Every outcome is right but these:
//   - a crash, an access out of bounds, a turn that does not end;
//   - a store that check_store() finds fault with, or one that takes memory still when the channel and all keys are gone;
//   - assemblies that take more memory than their budget, or a budget that is not back at zero afterwards;
//   - a release that is taken although its reference is of no record of this channel, or the other way round;
//   - an encoded reply much longer than what it was made from;
//   - while nobody has tampered with the ring: a reply of md that io_conn cannot encode.
#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "common/commands.h"
#include "io_conn/reply_encoder.h"
#include "io_conn/store_view.h"
#include "md/channel_server.h"
#include "md/store_check.h"
#include "tests/fuzz/target.h"
#include "tests/stress/stage.h"

namespace millrace::fuzz {

namespace {

namespace st = millrace::store;
using md::ChannelServer;
using io_conn::EncoderState;

constexpr uint64_t kAssemblyBytesMax = 256 * 1024;
constexpr unsigned kTurnsMax = 64;          ///< of one `serve` step
constexpr unsigned kLargeValuesMax = 8;     ///< in one input
constexpr uint32_t kLargeBytesMax = 200'000;
constexpr uint64_t kEncodedPerByteMax = 32;  ///< "_" of one byte may become a number of up to 23
constexpr unsigned kConnections = 3;
constexpr uint32_t kSoundGeneration = 1;
constexpr unsigned kIndex = 1, kOtherIndex = 2;  ///< of the channel, and of one that nobody serves but that has replies
constexpr uint64_t kInstance = 1, kGeneration = 1;
constexpr uint64_t kOplogBytes = 64 * 1024;
constexpr uint64_t kStoreBytes = 64ull << 20;
constexpr uint64_t kUnlimited = ~uint64_t{0};
constexpr uint64_t kNever = ~uint64_t{0};
/// Inputs of which one has its store checked, beside those of which something went wrong: a check takes longer than most inputs.
constexpr unsigned kCheckEvery = 4;

enum class Step : uint8_t {
    request, damaged_request, large_set, message, fragment, forget, control_word, data, serve, replies, encode,
    release, wrong_release, die, restart, memory, house, steps
};

/// What outlives an input: the memory of md's store, the ring as its io_conn has mapped it, and a way to map it again.
struct World {
    World() {
        const stress::Folder folder;
        ring = Channel::create(folder.file("rings"), kInstance, kGeneration, kRingCapacityMin);
        store = Segment::create({folder.file("store"), st::kStoreLayout, kInstance, kGeneration, kStoreBytes, kStoreBytes});
        store.publish();
        view = io_conn::StoreView(folder.file("store"), kInstance);
        counters = Counters<MdCounter>(folder.file("counters-md-0"), "md", 0, kInstance, kGeneration);
        fifo = folder.fifo("fifo");
        fifo_path = by_descriptor(fifo.descriptor());
        ring_path = by_descriptor(open(folder.file("rings").c_str(), O_RDWR | O_CLOEXEC));
    }
    /// The folder is gone by the time this is opened.
    static std::string by_descriptor(int descriptor) { return "/proc/self/fd/" + std::to_string(descriptor); }

    md::StoreMemory memory() {
        std::byte* base = store.payload<std::byte>() - kSegmentPayload;
        return {base, kStoreBytes, [this](uint64_t, uint64_t) { return takes_left != 0 && (takes_left == kUnlimited || takes_left-- != 0); },
                [](uint64_t, uint64_t) {}};
    }
    /// Everything as at the first input, so that an input does the same again.
    void format() {
        takes_left = kUnlimited;
        std::memset(store.payload<std::byte>(), 0, 2 * st::kPageBytes - kSegmentPayload);
        md::Store::format(memory(), 1, kOplogBytes);
        empty_rings();
    }
    void empty_rings() {
        for (const RingView view : {ring.requests(), ring.replies()}) {
            view.control->tail.store(0);
            view.control->head.store(0);
            view.control->space_wanted.store(0);
            std::memset(view.data, 0, view.capacity);
        }
        fifo.drain();
    }

    Channel ring;
    Segment store;
    io_conn::StoreView view;
    Counters<MdCounter> counters;
    Fifo fifo;
    std::string ring_path, fifo_path;
    std::atomic<uint32_t> park{1};
    uint64_t takes_left = kUnlimited;  ///< times that the system gives memory
    unsigned inputs = 0;
};

/// md, for as long as it lives.
struct Md {
    explicit Md(World& world, uint64_t generation) : world(world), engine(world.memory()) {
        engine.counters = std::move(world.counters);
        engine.assembly_budget.limit = kAssemblyBytesMax;
        if (engine.store.channel(kIndex).generation != generation) {
            engine.store.reset_channel(kIndex, generation);
            CHECK(engine.store.commit());
        }
        server.emplace(engine, kIndex, Channel::attach(world.ring_path, kInstance, kGeneration), generation,
                       Bell(world.park, Fifo(world.fifo_path)));
    }
    ~Md() {
        server.reset();
        CHECK(engine.assembly_budget.used == 0);
        world.counters = std::move(engine.counters);
    }

    World& world;
    md::Engine engine;
    std::optional<ChannelServer> server;
};

/// Runs the program of one input.
class Run {
  public:
    Run(World& world, Choices choices)
        : world_(world), choices_(choices), requests_(world.ring.requests(), RingWriting::staged), replies_(world.ring.replies()), out_(pool_) {
        md_ = std::make_unique<Md>(world_, generation_);
    }

    void run() {
        while (!choices_.empty()) step(static_cast<Step>(choices_.take<uint8_t>() % static_cast<unsigned>(Step::steps)));
        serve();
        read_replies();
        if (faulty_ || world_.inputs++ % kCheckEvery == 0) check();
        let_everything_go();
    }

  private:
    md::Store& store() { return md_->engine.store; }
    void check() {
        const md::StoreReport report = md::check_store(store().memory());
        for (const std::string& fault : report.faults) std::fprintf(stderr, "%s\n", fault.c_str());
        CHECK(report.good());
    }
    /// What a store takes of which all channels and all keys are gone, is a leak.
    void let_everything_go() {
        world_.takes_left = kUnlimited;
        for (const unsigned index : {kIndex, kOtherIndex}) {
            store().reset_channel(index, 0);
            CHECK(store().commit());
        }
        for (unsigned database = 0; database < md::kDatabases; ++database) {
            CHECK(store().clear(database));
            CHECK(store().commit());
        }
        while (store().free_some(1000)) {
        }
        CHECK(store().used_bytes() == 0);
    }

    void step(Step step) {
        switch (step) {
            case Step::request: return send(frame_kind(MessageKind::request), request());
            case Step::damaged_request: return damaged_request();
            case Step::large_set: return large_set();
            case Step::message: return any_message();
            case Step::fragment: return any_fragment();
            case Step::forget: return send(frame_kind(MessageKind::forget), {});
            case Step::control_word: return control_word();
            case Step::data: return data();
            case Step::serve: return serve();
            case Step::replies: return read_replies();
            case Step::encode: return encode_any();
            case Step::release: return release();
            case Step::wrong_release: return wrong_release();
            case Step::die: return die();
            case Step::restart: return restart();
            case Step::memory: return memory();
            case Step::house: return keep_house();
            case Step::steps: return;
        }
    }

    // --- what a hostile io_conn may do ---

    ConnectionId connection() {
        const auto choice = choices_.take<uint8_t>();
        return {choice % kConnections, choice >= 0xf0 ? choice : kSoundGeneration};
    }
    std::string request() {
        const auto command = choices_.take<uint8_t>();
        const auto database = choices_.take<uint8_t>();
        const RequestHeader header{static_cast<uint16_t>(command % (kCommandCount + 1)), static_cast<uint8_t>(database % 17), 0,
                                   choices_.take<uint8_t>() % 8u, 0};
        std::vector<std::string_view> arguments;
        for (uint32_t i = 0; i < header.argument_count; ++i) arguments.push_back(argument());
        return encoded(header, arguments);
    }
    static std::string encoded(const RequestHeader& header, const std::vector<std::string_view>& arguments) {
        std::string body(request_bytes(arguments), '\0');
        write_request(reinterpret_cast<std::byte*>(body.data()), header, arguments);
        return body;
    }
    /// A request of which one length or other number is a lie, or the end is missing.
    void damaged_request() {
        std::string body = request();
        const uint32_t lie = choices_.take<uint8_t>() < 0x80 ? choices_.take<uint8_t>() : choices_.take<uint32_t>();
        const size_t at = choices_.take<uint8_t>() * sizeof lie;
        if (at + sizeof lie <= body.size()) std::memcpy(body.data() + at, &lie, sizeof lie);
        body.resize(body.size() - std::min<size_t>(body.size(), choices_.take<uint8_t>() / 16));
        parse(body);
        send(frame_kind(MessageKind::request), body);
    }
    /// By itself and from memory of exactly its length, since the ring has no guards around a frame.
    static void parse(const std::string& body) {
        const std::unique_ptr<char[]> exact(new char[body.size()]);
        if (!body.empty()) std::memcpy(exact.get(), body.data(), body.size());
        const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(exact.get()), body.size());
        RequestHeader header;
        std::vector<std::string_view> arguments;
        if (!parse_request(bytes, header, arguments)) return;
        CHECK(arguments.size() == header.argument_count && request_bytes(arguments) == body.size());
    }
    std::string_view argument() {
        static constexpr std::string_view kWords[] = {"key", "key2", "7", "-1", "NX", "GET", "EX", "KEEPTTL", ""};
        const auto choice = choices_.take<uint8_t>();
        if (choice < std::size(kWords)) return kWords[choice];
        return choices_.take_bytes(choice % 64);
    }
    void send(uint32_t kind, std::string_view body) { send(kind, connection(), body); }
    bool send(uint32_t kind, ConnectionId id, std::string_view body) {
        body = body.substr(0, max_message(requests_));
        return push_message(requests_, kind, id, std::as_bytes(std::span(body))) && requests_.publish();
    }
    /// SET of a long value in fragments, as io_conn sends it; GET of it.
    void large_set() {
        const ConnectionId id = connection();
        const std::string value(choices_.take<uint32_t>() % kLargeBytesMax, 'v');
        if (++large_values_ > kLargeValuesMax) return;
        const std::string body = encoded({static_cast<uint16_t>(CommandId::set), 0, 0, 2, 0}, {"key", value});
        const size_t piece = max_message(requests_) - sizeof(FragmentHeader);
        for (size_t offset = 0; offset < body.size() && !faulty_; offset += piece) {
            send_fragment(id, {body.size(), offset}, std::string_view(body).substr(offset, piece));
            serve();
        }
        send(frame_kind(MessageKind::request), id, encoded({static_cast<uint16_t>(CommandId::get), 0, 0, 1, 0}, {"key"}));
    }
    void send_fragment(ConnectionId id, FragmentHeader header, std::string_view bytes) {
        std::string body(reinterpret_cast<const char*>(&header), sizeof header);
        send(frame_kind(MessageKind::request_fragment), id, body.append(bytes));
    }
    void any_fragment() {
        const ConnectionId id = connection();
        const auto flavour = choices_.take<uint8_t>();
        FragmentHeader header{choices_.take<uint8_t>(), choices_.take<uint8_t>()};
        if (flavour >= 0x80) header = {choices_.take<uint64_t>(), flavour >= 0xc0 ? 0 : choices_.take<uint64_t>()};
        send_fragment(id, header, choices_.take_bytes(choices_.take<uint8_t>()));
    }
    void any_message() {
        const auto kind = choices_.take<uint32_t>();
        const auto slot = choices_.take<uint32_t>();
        const std::string_view body = choices_.take_bytes(choices_.take<uint16_t>()).substr(0, requests_.max_body());
        if (requests_.try_push(kind, slot, std::as_bytes(std::span(body)))) requests_.publish();
    }
    bool send_release(uint64_t record) {
        return send(frame_kind(MessageKind::release), {}, {reinterpret_cast<const char*>(&record), sizeof record});
    }
    void release() {
        if (held_.empty()) return;
        const size_t which = choices_.take<uint8_t>() % held_.size();
        if (!send_release(held_[which])) return;
        released_.push_back(held_[which]);
        held_.erase(held_.begin() + static_cast<long>(which));
    }
    /// One that was released before, one of another channel, any part of the store, or any number. What is in the ring is
    /// served first, so that nothing but this release decides.
    void wrong_release() {
        uint64_t reference = choices_.take<uint64_t>();
        switch (choices_.take<uint8_t>() % 4) {
            case 0: reference = released_.empty() ? 0 : released_[reference % released_.size()]; break;
            case 1: reference = others_record(); break;
            case 2: reference = held_.empty() ? reference % kStoreBytes : held_[reference % held_.size()] + 8 * (reference >> 32 & 0xff); break;
            default: break;
        }
        serve();
        const std::set<uint64_t> records = records_of(kIndex);
        if (faulty_ || md_->server->has_work() || !send_release(reference)) return;
        serve();
        if (sound_) CHECK(faulty_ == !records.contains(reference));
        std::erase(held_, reference);
    }
    std::set<uint64_t> records_of(unsigned index) {
        std::set<uint64_t> records;
        for (uint64_t at = store().channel(index).records; at != 0; at = world_.view.at<st::ReplyRecord>(at).next_record) records.insert(at);
        return records;
    }
    uint64_t others_record() {
        const std::set<uint64_t> records = records_of(kOtherIndex);
        if (!records.empty()) return *records.begin();
        const md::ReplyPart part{"K", 0, 0};
        const uint64_t record = store().add_record(kOtherIndex, {&part, 1});
        if (record != 0 && store().commit()) return record;
        store().abandon();
        return 0;
    }
    void control_word() {
        sound_ = false;
        const auto which = choices_.take<uint8_t>();
        RingControl& control = *((which & 1) != 0 ? world_.ring.requests() : world_.ring.replies()).control;
        if ((which & 2) != 0) return control.space_wanted.store(choices_.take<uint32_t>());
        std::atomic<uint64_t>& word = (which & 4) != 0 ? control.tail : control.head;
        if ((which & 8) != 0) word.store(choices_.take<uint64_t>());
        else word.fetch_add(static_cast<uint64_t>(int64_t{choices_.take<int16_t>()}));
    }
    void data() {
        sound_ = false;
        const RingView ring = choices_.take<uint8_t>() % 2 == 0 ? world_.ring.requests() : world_.ring.replies();
        const uint64_t at = choices_.take<uint16_t>() % ring.capacity;
        const std::string_view bytes = choices_.take_bytes(choices_.take<uint8_t>());
        if (!bytes.empty()) std::memcpy(ring.data + at, bytes.data(), bytes.size());
    }

    // --- what befalls md ---

    /// md dies, and another one goes on with its store.
    void die() {
        md_.reset();
        md_ = std::make_unique<Md>(world_, generation_);
    }
    /// The io_conn dies, and another one comes with fresh rings.
    void restart() {
        world_.empty_rings();
        requests_ = RingProducer(world_.ring.requests(), RingWriting::staged);
        replies_ = RingConsumer(world_.ring.replies());
        md_.reset();
        md_ = std::make_unique<Md>(world_, ++generation_);
        faulty_ = corrupt_ = false;
        sound_ = true;
        released_.insert(released_.end(), held_.begin(), held_.end());
        held_.clear();
    }
    void memory() {
        const auto choice = choices_.take<uint8_t>();
        world_.takes_left = choice < 0x80 ? choice % 4u : kUnlimited;
        store().set_live(OptionId::maxmemory, choice % 3 == 0 ? choice * 1024 : 0);
        store().set_live(OptionId::maxmemory_policy, choice % static_cast<int>(kEvictionPolicies));
        store().commit();
    }
    void keep_house() {
        const auto choice = choices_.take<uint8_t>();
        store().free_some(1 + choice % 8u);
        if (choice >= 0x40) store().expire_some(choice >= 0x80 ? 1ll << 60 : 1, 100);
        if (choice >= 0xc0) store().give_back_some(4);
        if (choice == 0xff) check();
    }

    // --- the sides under test ---

    void serve() {
        for (unsigned turn = 0; turn < kTurnsMax && !faulty_; ++turn) {
            const ChannelServer::Turn result = md_->server->serve(choices_.rest().size() % 5 == 0 ? 0 : kNever);
            faulty_ = result == ChannelServer::Turn::faulty;
            CHECK(md_->engine.assembly_budget.used <= kAssemblyBytesMax);
            CHECK(!faulty_ || !md_->server->fault().empty());
            if (faulty_ || !md_->server->has_work()) return;
        }
    }
    void read_replies() {
        Frame frame;
        RingRead read = RingRead::empty;
        while (!corrupt_ && (read = replies_.next(frame)) == RingRead::frame) {
            Message message;
            CHECK(open_message(frame, message) || !sound_);
            const bool good = message_kind(frame.kind) == MessageKind::reply_reference ? read_record(message.bytes) : encode_reply(message.bytes);
            CHECK(good || !sound_);
        }
        corrupt_ = corrupt_ || read == RingRead::corrupt;
        CHECK(!corrupt_ || !sound_);
        replies_.publish();
    }
    /// A reply that stands in the ring.
    bool encode_reply(std::span<const std::byte> body) {
        EncoderState state;
        return encode(body, state) && state.bulk_left == 0;
    }
    /// One that stands in the store. io_conn believes md, so whoever writes into the ring of replies is believed as well.
    bool read_record(std::span<const std::byte> body) {
        uint64_t record;
        if (!sound_ || body.size() != sizeof record) return false;
        std::memcpy(&record, body.data(), sizeof record);
        held_.push_back(record);
        EncoderState state;
        io_conn::RecordReader reader(world_.view, record);
        for (std::span<const std::byte> piece; !(piece = reader.next(world_.view)).empty();)
            if (!encode(piece, state)) return false;
        return state.bulk_left == 0;
    }
    bool encode(std::span<const std::byte> body, EncoderState& state) {
        if (out_.size() > (1u << 20)) out_.clear();
        const size_t before = out_.size();
        io_conn::RespWriter writer(out_, choices_.rest().size() % 2 == 0);
        const bool good = io_conn::encode_reply(body, state, writer);
        CHECK(out_.size() - before <= kEncodedPerByteMax * (body.size() + 1));
        return good;
    }
    void encode_any() {
        EncoderState state; state.bulk_left = choices_.take<uint8_t>() % 32u;
        for (unsigned parts = 1 + choices_.take<uint8_t>() % 3u; parts > 0; --parts) {
            const std::string_view bytes = choices_.take_bytes(choices_.take<uint8_t>());
            const std::vector<char> exact(bytes.begin(), bytes.end());
            encode(std::as_bytes(std::span(exact)), state);
        }
    }

    World& world_;
    Choices choices_;
    RingProducer requests_;
    RingConsumer replies_;
    io_conn::BufferPool pool_;
    io_conn::Buffer out_;
    std::unique_ptr<Md> md_;
    uint64_t generation_ = kGeneration;
    std::vector<uint64_t> held_;      ///< records that were read and not released
    std::vector<uint64_t> released_;  ///< records that were released, or went with their channel
    unsigned large_values_ = 0;
    bool faulty_ = false;   ///< md has closed the channel
    bool corrupt_ = false;  ///< the reply ring is broken
    bool sound_ = true;     ///< nobody has written into the rings but their own ends
};

/// A request step of an input.
void put_request(InputWriter& input, uint8_t connection, CommandId command, const std::vector<uint8_t>& words) {
    input.put(Step::request).put(static_cast<uint8_t>(command)).put(uint8_t{0}).put(static_cast<uint8_t>(words.size()));
    for (const uint8_t word : words) input.put(word);
    input.put(connection);
}

}  // namespace

std::vector<std::string> valid_inputs() {
    std::vector<std::string> inputs;
    InputWriter input;
    const uint8_t key = 0, key2 = 1, seven = 2;
    put_request(input, 0, CommandId::set, {key, seven});
    put_request(input, 1, CommandId::incr, {key});
    put_request(input, 2, CommandId::mset, {key, seven, key2, seven});
    put_request(input, 0, CommandId::mget, {key, key2, seven});
    put_request(input, 0, CommandId::append, {key, seven});
    put_request(input, 0, CommandId::getset, {key, key2});
    put_request(input, 0, CommandId::del, {key, key2});
    put_request(input, 0, CommandId::flushall, {});
    inputs.push_back(input.put(Step::serve).put(Step::replies).done());
    input = {};
    for (uint8_t connection = 0; connection < 2; ++connection) {
        input.put(Step::large_set).put(connection).put(uint32_t{150'000}).put(Step::serve).put(Step::replies);
        input.put(Step::release).put(uint8_t{0}).put(Step::serve).put(Step::house).put(uint8_t{1});
    }
    inputs.push_back(input.done());
    for (uint8_t flavour = 0; flavour < 4; ++flavour) {
        input = {};
        for (int i = 0; i < 2; ++i) input.put(Step::large_set).put(uint8_t{0}).put(uint32_t{150'000}).put(Step::serve).put(Step::replies);
        put_request(input, 1, CommandId::getset, {key, seven});
        input.put(Step::serve).put(Step::replies).put(Step::release).put(uint8_t{1}).put(Step::die).put(Step::house).put(uint8_t{1});
        input.put(Step::wrong_release).put(uint64_t{1} << 33).put(flavour).put(Step::restart);
        put_request(input, 0, CommandId::getdel, {key});
        inputs.push_back(input.put(Step::die).put(Step::serve).put(Step::replies).put(Step::release).put(uint8_t{0}).done());
    }
    input = {};
    for (const uint8_t takes : {uint8_t{0}, uint8_t{1}, uint8_t{2}, uint8_t{0xfd}}) {
        input.put(Step::memory).put(takes).put(Step::large_set).put(uint8_t{2}).put(uint32_t{190'000}).put(Step::serve).put(Step::replies);
        put_request(input, 2, CommandId::append, {key2, seven});
        put_request(input, 2, CommandId::flushall, {});
        input.put(Step::house).put(uint8_t{0xff});
    }
    inputs.push_back(input.done());
    input = {};
    input.put(Step::fragment).put(uint8_t{0}).put(uint8_t{0}).put(uint8_t{40}).put(uint8_t{0}).put(uint8_t{4}).bytes("abcd");
    input.put(Step::fragment).put(uint8_t{0}).put(uint8_t{0}).put(uint8_t{40}).put(uint8_t{4}).put(uint8_t{4}).bytes("abcd");
    input.put(Step::forget).put(uint8_t{0}).put(Step::serve);
    inputs.push_back(input.done());
    input = {};
    input.put(Step::damaged_request).put(static_cast<uint8_t>(CommandId::set)).put(uint8_t{0}).put(uint8_t{2}).put(key).put(seven);
    input.put(uint8_t{0}).put(uint8_t{4}).put(uint8_t{4}).put(uint8_t{0}).put(uint8_t{0}).put(Step::serve);
    inputs.push_back(input.done());
    input = {};
    put_request(input, 0, CommandId::get, {key});
    input.put(Step::control_word).put(uint8_t{1 | 4}).put(int16_t{8}).put(Step::serve);
    inputs.push_back(input.done());
    input = {};
    put_request(input, 0, CommandId::get, {key});
    input.put(Step::control_word).put(uint8_t{0}).put(int16_t{8}).put(Step::serve).put(Step::replies);
    input.put(Step::data).put(uint8_t{0}).put(uint16_t{0}).put(uint8_t{4}).put(uint32_t{0xffffffff}).put(Step::serve);
    inputs.push_back(input.done());
    input = {};
    input.put(Step::encode).put(uint8_t{0}).put(uint8_t{0}).put(uint8_t{18}).bytes("*").put(uint32_t{2});
    input.bytes("K$").put(uint32_t{3}).bytes("abc_:").put(uint8_t{0});
    inputs.push_back(input.done());
    return inputs;
}

}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace::fuzz;
    static World world;
    world.format();
    Run(world, Choices(data, size)).run();
    return 0;
}
