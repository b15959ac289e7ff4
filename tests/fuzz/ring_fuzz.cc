// Fuzz target: what md and io_conn do when the other side of a ring is hostile (common/ring.h, R6).
//
// The input is a program. Its steps put requests, fragments and messages of any kind into a request ring, write any values
// into the control words and any bytes into the data of both rings, let md's ChannelServer serve, and read the replies;
// other steps feed any bytes to io_conn's reply encoder. Every outcome is right but these:
//   - a crash, an access out of bounds, a turn that does not end;
//   - assemblies that take more memory than their budget, or a budget or a store that is not back at zero afterwards;
//   - an encoded reply much longer than what it was made from;
//   - while nobody has tampered with the ring: a reply of md that io_conn cannot encode.
#include <memory>
#include <unordered_map>

#include "common/commands.h"
#include "io_conn/reply_encoder.h"
#include "md/channel_server.h"
#include "tests/fuzz/target.h"
#include "tests/stress/stage.h"

namespace millrace::fuzz {

namespace {

using md::ChannelServer;
using io_conn::EncoderState;

constexpr uint64_t kAssemblyBytesMax = 256 * 1024;
constexpr unsigned kTurnsMax = 64;          ///< of one `serve` step
constexpr unsigned kLargeValuesMax = 8;     ///< in one input
constexpr uint32_t kLargeBytesMax = 200'000;
constexpr uint64_t kEncodedPerByteMax = 32;  ///< "_" of one byte may become a number of up to 23
constexpr unsigned kConnections = 3;
constexpr uint32_t kSoundGeneration = 1;

enum class Step : uint8_t { request, damaged_request, large_set, message, fragment, note, control_word, data, serve, replies, encode, steps };

/// What outlives an input: md's engine, the ring as its io_conn has mapped it, and a way to map it again.
struct World {
    World() : engine(1) {
        const stress::Folder folder;
        ring = Channel::create(folder.file("rings"), 1, 1, kRingCapacityMin);
        engine.counters = Counters<MdCounter>(folder.file("counters-md-0"), "md", 0, 1, 1);
        engine.assembly_budget.limit = kAssemblyBytesMax;
        fifo = folder.fifo("fifo");
        fifo_path = by_descriptor(fifo.descriptor());
        ring_path = by_descriptor(open(folder.file("rings").c_str(), O_RDWR | O_CLOEXEC));
    }
    /// The folder is gone by the time this is opened.
    static std::string by_descriptor(int descriptor) { return "/proc/self/fd/" + std::to_string(descriptor); }

    void reset() {
        for (const RingView view : {ring.requests(), ring.replies()}) {
            view.control->tail.store(0);
            view.control->head.store(0);
            view.control->space_wanted.store(0);
            std::memset(view.data, 0, view.capacity);
        }
        fifo.drain();
        for (unsigned database = 0; database < md::kDatabases; ++database) engine.store.clear(database);
        while (engine.store.free_some(1'000'000)) {
        }
        CHECK(engine.store.memory_bytes() == 0 && engine.assembly_budget.used == 0);
    }

    md::Engine engine;
    Channel ring;
    Fifo fifo;
    std::string ring_path, fifo_path;
    std::atomic<uint32_t> park{1};
};

/// Runs the program of one input.
class Run {
  public:
    Run(World& world, Choices choices)
        : world_(world), choices_(choices), requests_(world.ring.requests()), replies_(world.ring.replies()), out_(pool_),
          server_(world.engine, Channel::attach(world.ring_path, 1, 1), 1, Bell(world.park, Fifo(world.fifo_path))) {}

    void run() {
        while (!faulty_ && !choices_.empty()) step(static_cast<Step>(choices_.take<uint8_t>() % static_cast<unsigned>(Step::steps)));
        serve();
        read_replies();
    }

  private:
    void step(Step step) {
        switch (step) {
            case Step::request: return send(frame_kind(MessageKind::request), request());
            case Step::damaged_request: return damaged_request();
            case Step::large_set: return large_set();
            case Step::message: return any_message();
            case Step::fragment: return any_fragment();
            case Step::note: return note();
            case Step::control_word: return control_word();
            case Step::data: return data();
            case Step::serve: return serve();
            case Step::replies: return read_replies();
            case Step::encode: return encode_any();
            case Step::steps: return;
        }
    }

    // --- what a hostile io_conn may do ---

    ConnectionId connection() {
        const auto choice = choices_.take<uint8_t>();
        const uint32_t generation = choice >= 0xf0 ? choice : kSoundGeneration;
        sound_ = sound_ && generation == kSoundGeneration;
        return {choice % kConnections, generation};
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
        sound_ = false;
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
    void send(uint32_t kind, ConnectionId id, std::string_view body) {
        body = body.substr(0, max_message(requests_));
        if (!push_message(requests_, kind, id, std::as_bytes(std::span(body)))) return;
        requests_.publish();
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
        sound_ = false;
        const auto kind = choices_.take<uint32_t>();
        const auto slot = choices_.take<uint32_t>();
        const std::string_view body = choices_.take_bytes(choices_.take<uint16_t>()).substr(0, requests_.max_body());
        if (requests_.try_push(kind, slot, std::as_bytes(std::span(body)))) requests_.publish();
    }
    void note() {
        const bool credit = choices_.take<uint8_t>() < 0xc0;
        sound_ = sound_ && credit;  // forget: what comes after it for the same id starts in the middle
        send(frame_kind(credit ? MessageKind::credit : MessageKind::forget), {});
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

    // --- the sides under test ---

    void serve() {
        for (unsigned turn = 0; turn < kTurnsMax && !faulty_; ++turn) {
            const ChannelServer::Turn result = server_.serve();
            faulty_ = result == ChannelServer::Turn::faulty;
            CHECK(world_.engine.assembly_budget.used <= kAssemblyBytesMax);
            CHECK(!faulty_ || !server_.fault().empty());
            if (faulty_ || !server_.has_work()) return;
        }
    }
    void read_replies() {
        Frame frame;
        RingRead read = RingRead::empty;
        while (!corrupt_ && (read = replies_.next(frame)) == RingRead::frame) {
            Message message;
            CHECK(open_message(frame, message) || !sound_);
            const bool good = encode(message.bytes, states_[message.id.slot]);
            CHECK(good || !sound_);
            if (out_.size() > (1u << 20)) out_.clear();
        }
        corrupt_ = corrupt_ || read == RingRead::corrupt;
        CHECK(!corrupt_ || !sound_);
        replies_.publish();
    }
    bool encode(std::span<const std::byte> body, EncoderState& state) {
        const size_t before = out_.size();
        io_conn::RespWriter writer(out_, choices_.rest().size() % 2 == 0);
        const bool good = io_conn::encode_reply(body, state, writer);
        CHECK(out_.size() - before <= kEncodedPerByteMax * (body.size() + 1));
        return good;
    }
    void encode_any() {
        EncoderState state{choices_.take<uint8_t>() % 32u};
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
    std::unordered_map<uint32_t, EncoderState> states_;
    ChannelServer server_;
    unsigned large_values_ = 0;
    bool faulty_ = false;   ///< md has closed the channel
    bool corrupt_ = false;  ///< the reply ring is broken
    bool sound_ = true;     ///< nobody has done what no io_conn does
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
        input.put(Step::note).put(uint8_t{0}).put(connection).put(Step::serve).put(Step::replies);
    }
    inputs.push_back(input.done());
    input = {};
    input.put(Step::fragment).put(uint8_t{0}).put(uint8_t{0}).put(uint8_t{40}).put(uint8_t{0}).put(uint8_t{4}).bytes("abcd");
    input.put(Step::fragment).put(uint8_t{0}).put(uint8_t{0}).put(uint8_t{40}).put(uint8_t{4}).put(uint8_t{4}).bytes("abcd");
    input.put(Step::note).put(uint8_t{0xff}).put(uint8_t{0}).put(Step::serve);
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
    Run(world, Choices(data, size)).run();
    world.reset();
    return 0;
}
