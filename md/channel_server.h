// Serves one io_conn: takes its requests in bounded batches, executes them, writes replies. Runs in md.
//
// Order for each request: room for a short reply is sure -> take the request -> plan -> commit -> reply into the ring or
// into a stream. Order for each batch: replies published -> requests handed back -> the io_conn woken if it is parked.
// When the reply ring has no room for a short reply, this io_conn's requests wait and all others go on; the ring's
// space_wanted word gets md woken when there is room again.
// A frame that breaks the format closes the channel: serve() reports it, md drops the channel and goes on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/channel.h"
#include "common/counters.h"
#include "common/message.h"
#include "common/wakeup.h"
#include "md/assembly.h"
#include "md/plan.h"
#include "md/reply_streams.h"
#include "md/reply_writer.h"

namespace millrace::md {

/// What all channels of md share.
struct Engine {
    explicit Engine(uint64_t hash_seed) : store(hash_seed), plan(store, reply, statistics) {}

    Store store;
    ReplyWriter reply;
    PlanStatistics statistics;
    Plan plan;
    AssemblyBudget assembly_budget;
    uint64_t large_reply_bytes = 0;  ///< that wait in the streams of all channels
    Counters<MdCounter> counters;
};

/// Writes the gauges of the databases in the bit mask. Done before the replies of a batch are published, so that whoever
/// has seen a reply finds its effect counted.
void publish_keyspace(Engine& engine, uint32_t databases);

class ChannelServer {
  public:
    /// Requests executed from one ring before the next ring gets its turn.
    static constexpr unsigned kBatchRequests = 128;
    /// A reply up to this many bytes goes straight into the ring; its room is sure before a request starts.
    static constexpr uint32_t kShortReplyBytes = 8 * 1024;

    ChannelServer(Engine& engine, Channel channel, uint64_t generation, Bell bell);

    ~ChannelServer();
    ChannelServer(const ChannelServer&) = delete;

    enum class Turn { idle, worked, stalled, faulty };
    /// One turn: at most kBatchRequests messages and the parts that fit. `stalled`: the reply ring is full.
    Turn serve();
    /// Whether a turn would find something to do now (for the look before parking).
    bool has_work();
    void wake_always() { bell_.ring_always(); }

    uint64_t generation() const { return generation_; }
    /// After Turn::faulty: what was wrong.
    const std::string& fault() const { return fault_; }

  private:
    bool take(const Frame& frame);
    bool execute(ConnectionId connection, std::span<const std::byte> request);
    bool take_fragment(ConnectionId connection, std::span<const std::byte> body);
    void begin_reply();
    void finish_reply(ConnectionId connection);
    bool fail(std::string what);
    bool publish();
    void publish_gauges();
    void count_batch(unsigned requests, uint64_t started_us, uint64_t depth_bytes);

    Engine& engine_;
    Channel channel_;
    uint64_t generation_;
    Bell bell_;
    RingConsumer requests_;
    RingProducer replies_;
    ReplyStreams streams_;
    Assembly assembly_;
    std::vector<std::string_view> arguments_;
    uint32_t reply_room_;
    uint32_t first_enqueued_us_ = 0;
    int64_t now_ms_ = 0;
    uint64_t counted_reply_bytes_ = 0;  ///< this channel's share of Engine::large_reply_bytes
    bool starved_ = false;  ///< waits for room in the reply ring
    std::byte* claimed_ = nullptr;  ///< room of the reply being written
    std::string fault_;
};

}  // namespace millrace::md
