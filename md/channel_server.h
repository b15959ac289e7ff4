// Serves one io_conn: takes its requests in bounded batches, executes them, writes replies. Runs in md.
//
// Order for each request: room for a short reply is sure -> take the request -> plan -> build -> reply behind the ring's
// committed tail, or a reply record -> one commit: store changed, request consumed, reply written (T1 of store_layout.h).
// Order for each batch: replies published -> requests handed back -> the io_conn woken if it is parked.
// Every other message is consumed by a commit as well, so that each is taken exactly once, whoever is md.
// When the reply ring has no room for a short reply, this io_conn's requests wait and all others go on; the ring's
// space_wanted word gets md woken when there is room again.
// A frame that breaks the format closes the channel: serve() reports it, md drops the channel and goes on.
// What has arrived of a large request is the one thing that md keeps to itself: io_conn sends such a request again when md
// dies before it has executed it (io_conn/server_input.cc).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/channel.h"
#include "common/commands.h"
#include "common/client_rows.h"
#include "common/counters.h"
#include "common/diagnostics.h"
#include "common/message.h"
#include "common/wakeup.h"
#include "md/assembly.h"
#include "md/checksum_keeper.h"
#include "md/evictor.h"
#include "md/log_link.h"
#include "md/pair_link.h"
#include "md/plan.h"
#include "md/poison.h"
#include "md/repl_link.h"
#include "md/reply_writer.h"

namespace millrace::md {

/// What all channels of md share.
struct Engine {
    explicit Engine(StoreMemory memory, Marks marks = {})
        : store(std::move(memory), std::move(marks)), plan(store, reply, statistics), poison(store.memory().root()), evictor(store) {}

    Store store;
    ReplyWriter reply;
    PlanStatistics statistics;
    Plan plan;
    Poison poison;
    Evictor evictor;
    LogLink log;
    ReplLink repl;
    ChecksumKeeper checksums;
    PairLink pair;
    bool reload_wanted = false;  ///< the store is to be thrown away, and what lies ready on disk loaded
    AssemblyBudget assembly_budget;
    Counters<MdCounter> counters;
    Diagnostics diagnostics;
    CommandMeter meter;
    std::string dir;        ///< instance folder
    uint64_t instance = 0;

    /// Carries CONFIG RESETSTAT out, if there was one since.
    void follow_resets();
    /// Takes the limits over from which on commands are noted, if CONFIG SET has changed any option since.
    void follow_options();
    uint64_t options_seen = 0;  ///< version
};

/// Counts what was evicted.
void publish_evictions(Engine& engine);

/// Writes the gauges of the databases in the bit mask. Done before the replies of a batch are published, so that whoever
/// has seen a reply finds its effect counted.
void publish_keyspace(Engine& engine, uint32_t databases);

class ChannelServer {
  public:
    /// Requests executed from one ring before the next ring gets its turn.
    static constexpr unsigned kBatchRequests = 128;
    /// Requests whose keys' cache lines are asked for together, before they are executed one after the other.
    static constexpr unsigned kLookAheadRequests = 16;
    static constexpr unsigned kLookAheadKeys = 64;
    /// After a request with more commits than this the clock is looked at.
    static constexpr uint64_t kManyCommits = 16;
    /// A command that needs memory evicts for so long at most when there is more than maxmemory, microseconds; the rest is done between
    /// the turns. The longer time counts when there is far more, so that writing cannot outrun it.
    static constexpr uint64_t kEvictUs = 300;
    static constexpr uint64_t kEvictFarUs = 10'000;
    /// A reply up to this many bytes is written straight into the ring; its room is sure before a request starts.
    static constexpr uint32_t kShortReplyBytes = 8 * 1024;

    /// Goes on where the store says that the channel `index` is; the store knows it under this generation.
    ChannelServer(Engine& engine, unsigned index, Channel channel, uint64_t generation, Bell bell);
    ChannelServer(const ChannelServer&) = delete;

    enum class Turn { idle, worked, stalled, faulty };
    /// One turn: at most kBatchRequests messages, and no further one once monotonic_us() has passed `until_us`. `stalled`: the
    /// reply ring is full.
    Turn serve(uint64_t until_us);
    /// Whether a turn would find something to do now (for the look before parking).
    bool has_work();
    /// Wakes the io_conn whatever it has said: who died may have been about to.
    void wake_always();
    /// Wakes it if it sleeps: what it waits for may be there.
    void wake();

    uint64_t generation() const { return generation_; }
    /// After Turn::faulty: what was wrong.
    const std::string& fault() const { return fault_; }

  private:
    void look_ahead();
    void note_keys(const Frame& frame);
    /// What became of a message. `not_yet`: nothing has happened, its reply needs more room in the ring than there is.
    enum class Taken { done, not_yet, faulty };
    enum class Finished { done, not_yet, no_memory };
    Taken take(const Frame& frame);
    Taken execute(ConnectionId connection, std::span<const std::byte> request, bool in_ring);
    Taken take_fragment(ConnectionId connection, std::span<const std::byte> body);
    Taken release(std::span<const std::byte> body);
    bool make_room(const CommandRow& row);
    bool writes(const CommandRow& row) const;
    std::string_view refusal_of(const CommandRow& row) const;
    void note_one_of_several(const CommandRow& row);
    void end_shared();
    void note(const CommandRow& row, std::span<const std::string_view> arguments, uint32_t slot);
    SlowCommand describe(const CommandRow& row, std::span<const std::string_view> arguments, uint32_t slot);
    void begin_reply();
    uint32_t number_reply(std::byte* at, MessageKind kind) const;
    Finished finish_reply(ConnectionId connection, bool may_wait);
    bool put_into_ring(ConnectionId connection, uint32_t bytes);
    void refuse(ConnectionId connection, std::string_view error);
    bool commit();
    void consume();
    Taken fail(std::string what);
    bool publish();
    void publish_oplog_position();
    void publish_gauges();
    void count_batch(unsigned requests, uint64_t started_us, uint64_t depth);

    Engine& engine_;
    unsigned index_;
    Channel channel_;
    uint64_t generation_;
    Bell bell_;
    RingConsumer requests_;
    RingProducer replies_;
    Assembly assembly_;
    std::vector<std::string_view> arguments_;
    struct KeyAhead {
        unsigned database;
        st::KeyPlace place;
        uint64_t segment;  ///< of the index
    };
    std::vector<KeyAhead> keys_ahead_;
    uint32_t number_bytes_ = 0;  ///< in front of the reply under way: kReplyNumberBytes, if it is a numbered one
    uint32_t reply_room_;
    uint32_t room_wanted_;  ///< of the reply ring before a request is taken: reply_room_, or more for one that did not suffice
    uint32_t first_enqueued_us_ = 0;
    int64_t now_ms_ = 0;
    std::byte* claimed_ = nullptr;    ///< room of a reply that is not committed yet, or null
    uint64_t reply_begins_ = 0;       ///< where in the reply ring
    std::string fault_;
    Segment clients_;                 ///< of its io_conn, once a slow command asks for its client
};

}  // namespace millrace::md
