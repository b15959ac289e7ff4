// The event loop of an io_conn: sockets, decoding, requests to md, replies to clients. Runs in io_conn, one thread.
//
// A turn:
//   1. events: a socket's callback only notes what the socket can do and puts the connection on the ready list;
//      if there is nothing else to do, this is where the process sleeps (parked, wakeup.h)
//   2. ready connections: read, decode, execute here (from the store, if it is a plain read) or hand to md; each connection at most kReadBytesPerTurn
//   3. publish the requests, once; wake md if it is parked
//   4. take md's replies (bounded), encode them into the connections' output
//   5. send the output of connections that have some: one system call each
//   When kUnsentMax connections more have output, 3 and 5 are done in between: the memory of the output stays small, its bytes in the
//   caches, and clients need not wait for all others.
// Invariants:
//   N1  Replies leave in the order of the requests: a reply made here waits (deferred) for md's earlier ones.
//   N2  A connection with more than kOutputLimit unsent, with kWindow requests in md, or with a large request under way
//       gets no further request executed; its socket is not read meanwhile, so TCP holds its sender back.
//   N3  Every list, buffer and batch is bounded: kWindow requests x ChannelServer::kShortReplyBytes bound what md can send a
//       connection that does not read. Long replies stay in the store until there is room in the output.
//   N4  Sockets are edge-triggered with one event each for their whole life; `readable` and `write_blocked` remember
//       the edges. Whoever stops early stays on the ready list.
//   N5  A read is answered from the store only while none of its connection's requests is with md: it sees its own writes.
//   N6  Who waits for the end of CLIENT PAUSE, or for other io_conn, is looked at every kPatienceMs; the process sleeps in between.
#pragma once

#include <event2/event.h>

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "common/client_rows.h"
#include "common/commands.h"
#include "common/counters.h"
#include "common/daemon.h"
#include "common/diagnostics.h"
#include "common/live_options.h"
#include "common/resident_memory.h"
#include "io_conn/acceptor.h"
#include "io_conn/client_orders.h"
#include "io_conn/connection.h"
#include "io_conn/direct_commands.h"
#include "io_conn/direct_reader.h"
#include "io_conn/doors.h"
#include "io_conn/md_link.h"
#include "io_conn/resp_writer.h"
#include "io_conn/supervisor_link.h"

namespace millrace::io_conn {

using Arguments = std::span<const std::string_view>;

struct LocalCall;

class Server {
  public:
    static constexpr size_t kOutputLimit = 1024 * 1024;    ///< unsent bytes beyond which nothing is executed
    static constexpr uint32_t kWindow = 128;               ///< requests of one connection in md at most
    static constexpr size_t kReadBytesPerTurn = 64 * 1024;
    static constexpr unsigned kRepliesPerTurn = 4096;
    static constexpr size_t kReplyBytesPerTurn = 2 * 1024 * 1024;
    static constexpr size_t kReadRecordBelow = 64 * 1024;  ///< unsent bytes below which more of a long reply is read
    static constexpr size_t kSendBytesPerTurn = 1024 * 1024;
    static constexpr size_t kUnsentMax = 256;              ///< connections whose output grows before any of it is sent
    static constexpr size_t kDirectReadsAhead = 16;        ///< requests of a pipeline read together
    static constexpr size_t kDirectKeysMax = 4096;         ///< requests with more keys go to md
    static constexpr size_t kWatchedKeysMax = 10'000;      ///< of a connection
    static constexpr size_t kQueuedLocalMax = 1000;        ///< commands of a transaction that io_conn answers: their replies are all held
    static constexpr uint64_t kGiveBackFromBytes = 1024 * 1024;  ///< freed by buffers before malloc is asked for it
    static constexpr uint64_t kCalmBytes = 64 * 1024;            ///< freed in a second at most when a burst is over
    static constexpr int kDoorMs = 100;                    ///< between looks at md_repl's door, while this server follows another one
    static constexpr uint64_t kLinkedBulkBytesMax = 512ull << 20;  ///< longest argument of md_repl, whatever clients may send
    static constexpr int kPatienceMs = 5;                  ///< between looks for the end of a pause
    static constexpr uint64_t kPeerPatienceUs = 1'000'000; ///< for other io_conn to close connections, or to follow a pause
    static constexpr uint64_t kCondemnedPatienceUs = 1'000'000;
    static constexpr int kStopPatienceMs = 1000;           ///< for owed replies, when the process is told to end

    explicit Server(Daemon& daemon);
    ~Server();
    Server(const Server&) = delete;

    /// Serves until told to end, or until retired and empty.
    void run();

    /// Takes a fresh client socket over.
    void add_connection(int fd);

    MdLink& link() { return link_; }
    const MdLink& link() const { return link_; }
    ConnectionTable& connections() { return connections_; }
    Counters<IoCounter>& counters() { return counters_; }
    const Doors& doors() const { return doors_; }
    /// Whether this server follows another one.
    bool is_following() const { return !live_.text(OptionId::replicaof).empty(); }
    /// Whether a client has sent more than the command that is being executed, or has not been sent all that it is to get.
    bool is_in_between(const Connection& connection) const { return bytes_behind_ != 0 || !connection.output.empty() || connection.replies_owed(); }
    /// Gives a client's connection to md_repl, with a line that says what it is. False: md_repl does not take it.
    bool hand_to_md_repl(Connection& connection, const std::string& line);
    /// Says a line at md_repl's door. False: it is not there.
    bool tell_md_repl(const std::string& line);
    /// The same for one that begins a failover. Of several only the first does. Why it does not; empty: it does.
    std::string_view begin_failover(const std::string& line);
    ClientRows& rows() { return rows_; }
    /// Closes these clients' connections, if they are of this process. The connection `except` gets its replies before.
    void close_clients(std::span<const uint64_t> clients, const Connection* except);
    bool begin_kill(const LocalCall& call, KillUnderWay* kill);
    const Daemon& daemon() const { return daemon_; }
    /// The options that can be changed while the group runs, as of the last look_at_options().
    int64_t live_number(OptionId id) const { return live_.number(id); }
    /// Takes over what CONFIG SET has changed, and acts on it.
    void look_at_options();
    /// Whether clients have to say a password, and whether this is it.
    bool needs_password() const { return !live_.text(OptionId::requirepass).empty(); }
    /// Whether a client has yet to say it.
    bool is_stranger(const Connection& connection) const { return connection.stranger && needs_password(); }
    bool is_password(std::string_view word) const;
    /// An option as CONFIG GET shows it.
    std::string option_text(OptionId id) const;
    uint64_t connections_of_group() const;
    /// Forgets what was queued since MULTI, and what is watched.
    void drop_transaction(Connection& connection);
    Diagnostics& diagnostics() { return diagnostics_; }
    /// Times that the group was told to forget its statistics.
    uint64_t statistics_resets() const { return link_.store().load(store::kStatisticsResetsAt); }
    /// Asks the supervisor for something (SupervisorLink::ask); the answer is the connection's reply. Empty, or why that is not possible.
    std::string ask_supervisor(Connection& connection, Asking what, const std::string& request);
    /// Writes into the counters how much memory this process has.
    void publish_memory();
    /// Writes what other processes may see of the connection.
    void describe(Connection& connection);
    void note_activity(Connection& connection);
    /// What other processes may see of it.
    std::optional<ClientInfo> info_of(const Connection& connection) { return read_row(rows_.row(connection.slot)); }

  private:
    enum class Executed { yes, not_now, closing };

    static void on_socket(int, short what, void* connection);
    static void on_fifo(int, short, void* server);
    static void on_second(int, short, void* server);
    static void on_patience(int, short, void* server);
    static void on_door(int, short, void*) {}

    // connection life (server_connections.cc)
    bool admit(int fd);
    void raise_descriptor_limit();
    bool debug_is_allowed(const Connection& connection) const;
    void wait_for_disk_as_configured();
    void refuse_connection(int fd, std::string_view error);
    void open_connection(int fd, bool linked);
    void close_connection(Connection& connection);
    void publish_connections();
    void close_if_done(Connection& connection);
    void set_socket_options(int fd);
    void close_when_executed(Connection& connection);
    void close_condemned();
    void close_idle_connections();
    void on_supervisor_answer(ConnectionId who, const SupervisorAnswer& answer);

    // input (server_input.cc)
    void serve_ready();
    void serve_input(Connection& connection);
    bool may_execute(Connection& connection);
    ssize_t read_socket(Connection& connection, char* into, size_t room);
    bool read_some(Connection& connection);
    size_t consume(Connection& connection, std::string_view bytes);
    const CommandRow* look_up(std::string_view name);
    Executed execute(Connection& connection, const CommandRow* row, Arguments words);
    bool is_plain(const Connection& connection, const CommandRow* row, size_t words) const;
    Executed execute_aloud(Connection& connection, const CommandRow* row, Arguments words);
    std::string refusal_of(const Connection& connection, const CommandRow& row) const;
    Executed wait_patiently(Connection& connection);
    void look_again_soon();
    void retry_patient();
    Executed save(Connection& connection, const CommandRow& row, Arguments words);
    Executed wait_for_replicas(Connection& connection, const CommandRow& row, Arguments words);
    Executed kill_clients(Connection& connection, const CommandRow& row, Arguments words);
    void kill_after_exec(const Connection& connection, std::span<const uint64_t> clients);
    void issue_orders(KillUnderWay& kill);
    static void answer_kill(const KillUnderWay& kill, RespWriter& out);
    void execute_here(Connection& connection, const CommandRow& row, Arguments words, RespWriter& out);
    void note_command(const Connection& connection, const CommandRow& row, Arguments words);
    void follow_resets();
    Executed execute_in_md(Connection& connection, const CommandRow& row, Arguments words);
    void send_outgoing(Connection& connection);

    // transactions (server_transaction.cc)
    Executed queue_command(Connection& connection, const CommandRow& row, Arguments words);
    Executed execute_transaction(Connection& connection, const CommandRow& exec);
    void prepare_transaction(Connection& connection);
    Executed watch(Connection& connection, const CommandRow& row, Arguments keys);
    void take_tokens(Connection& connection);
    bool exec_is_settled(Connection& connection);
    bool knows_whether_rewrite_is_possible(Connection& connection);
    void rewrite_after_exec(Connection& connection);
    void end_rewrite_of_exec(Connection& connection, std::string_view obstacle);
    void refuse_queued(Connection& connection, std::string_view error);
    void drop_outgoing(Connection& connection);
    void wait_for_ring(Connection& connection);
    bool assembly_memory_has(uint64_t bytes) const;
    void reject(Connection& connection, std::string_view error);
    bool keep_input(Connection& connection, std::string_view bytes);

    // CLIENT PAUSE (server_pause.cc)
    void look_at_pause();
    void follow_pause();
    bool all_follow_pause();
    void await_pause(Connection& connection);
    bool pause_is_settled(Connection& connection);
    /// Whether a command may change data: PFCOUNT keeps what it has counted.
    static bool may_write(const CommandRow& row) { return row.is(command_flag::write) || row.id == CommandId::pfcount; }
    bool waits_for_pause(const Connection& connection, const CommandRow& row) const;

    // replication (server_replication.cc)
    void look_at_master();
    void look_at_door();
    void close_linked();
    std::string_view refusal_of_replication(const Connection& connection, const CommandRow& row) const;
    Executed register_replica(Connection& connection, const CommandRow& row, Arguments words);

    // direct reads (server_direct.cc)
    struct PendingRead;
    bool queue_direct(Connection& connection, const CommandRow& row, Arguments words, size_t begin);
    size_t run_direct(Connection& connection, size_t end);
    bool answer_direct(Connection& connection, const PendingRead& read);
    void account_direct(const Connection& connection, uint64_t elapsed);

    // output (server_output.cc)
    void take_replies();
    // --- a strict pair: server_pair.cc ---
    /// A reply that waits for its commit to be shown.
    struct PairReply {
        uint32_t kind;
        ConnectionId id;
        uint64_t number;
        std::string bytes;
    };
    static constexpr size_t kPairReplyBytesMax = 16 * 1024 * 1024;
    void take_pair_reply(uint32_t kind, Message message, Connection* connection);
    void give_pair_reply(uint32_t kind, Connection* connection, std::span<const std::byte> bytes, MdLink::Standing standing);
    void give_pair_replies();
    void take_reply(Connection& connection, uint32_t frame_kind, std::span<const std::byte> reply);
    bool encode(Connection& connection, std::span<const std::byte> reply);
    void end_reply(Connection& connection);
    void go_on_with_waiting(Connection& connection);
    void drop_reply(uint32_t frame_kind, std::span<const std::byte> reply);
    void answered_one(Connection& connection);
    void give_memory_back();
    void send_dirty();
    bool must_send() const { return dirty_.size() >= send_from_; }
    void send_output(Connection& connection);
    void release_output(Connection& connection);

    void look_at_group();
    void on_md_change();
    void send_lost_again();
    bool idle();
    void turn();
    void make_ready(Connection& connection);
    void make_dirty(Connection& connection);
    void publish();
    void publish_gauges();
    void publish_rates();
    bool stop_is_over();

    friend class LocalReply;

    /// A request of a pipeline that is going to be answered by a direct read. Its words are views into the input, or into the
    /// decoder, which then is not used again before run_direct().
    struct PendingRead {
        const CommandRow* row;
        DirectHandler handler;
        size_t begin;  ///< of the request in the input
        uint32_t first_argument, arguments;
        uint32_t first_key, keys;
        bool answered = false;
    };

    Daemon& daemon_;
    Counters<IoCounter> counters_;
    MdLink link_;
    BufferPool input_pool_, output_pool_;
    ResidentMemory memory_;
    uint64_t outgoing_bytes_ = 0;  ///< of large requests on their way to md
    ConnectionTable connections_;
    LiveValues live_;
    Buffer deferred_scratch_;
    ClientRows rows_;
    ClientOrders orders_;
    Diagnostics diagnostics_;
    CommandMeter meter_;
    event_base* base_ = nullptr;
    Doors doors_;
    event* fifo_event_ = nullptr;
    event* second_event_ = nullptr;
    event* patience_event_ = nullptr;
    event* door_event_ = nullptr;  ///< while this server follows another one: a turn now and then, to look at md_repl's door
    std::unique_ptr<Acceptor> acceptor_;
    std::unique_ptr<SupervisorLink> supervisor_;
    RespDecoder decoder_;
    /// One that CLIENT KILL closes as soon as md has executed what it had been handed.
    struct Condemned {
        ConnectionId who;
        uint64_t close_at_us;
    };
    std::vector<Condemned> condemned_;
    std::vector<Connection*> ready_, ready_now_, dirty_, dirty_now_, ring_waiters_, patient_;
    uint64_t freed_a_second_ago_ = 0, given_back_ = 0;  ///< of what the pools have freed, bytes
    size_t send_from_ = kUnsentMax;  ///< length of dirty_ from which on it is sent at once
    std::vector<ConnectionId> to_forget_;
    std::vector<uint64_t> to_release_;   ///< reply records
    bool look_for_lost_ = false;         ///< another md has taken over, and its replies have not all been taken yet
    std::string last_name_;  ///< as the client wrote it
    const CommandRow* last_row_ = nullptr;
    std::unique_ptr<char[]> scratch_;
    DirectReader direct_;
    std::vector<PendingRead> pending_reads_;
    std::vector<std::string_view> pending_arguments_;
    std::vector<DirectLookup> pending_keys_;
    uint64_t direct_hits_ = 0, direct_misses_ = 0, direct_answers_ = 0;  ///< of the reads that are being answered
    uint64_t now_us_ = 0;  ///< of this turn
    uint64_t wall_s_ = 0;  ///< of this turn, seconds since 1970
    uint64_t published_at_us_ = 0;
    uint64_t stop_asked_us_ = 0;
    uint64_t rates_at_us_ = 0;
    std::array<uint64_t, 3> rate_counts_{};  ///< counters of which the rates are published, as they were then
    unsigned batch_ = 0;
    uint64_t pause_word_ = 0;   ///< as it was looked at last
    uint64_t pause_seen_at_us_ = 0;  ///< when it was another word
    uint64_t handed_over_before_pause_ = 0;  ///< position in the request ring
    bool paused_ = false, paused_all_ = false;
    bool loading_ = false;         ///< md loads data, and serves nobody yet
    bool refuses_writes_ = false;  ///< because of trouble with the disk
    bool following_ = false;       ///< another server
    bool stale_ = false;           ///< it cannot be reached, and what is here is not to be shown
    std::deque<PairReply> pair_replies_;
    size_t pair_reply_bytes_ = 0;
    bool incomplete_ = false;  ///< this half of a strict pair may lack acknowledged writes
    bool restricted_ = false;      ///< one of these, or a pause: not every command is executed now
    bool pause_unfollowed_ = false;  ///< the roster does not say yet that it is followed (U1)
    bool patience_over_ = false;
    unsigned kills_under_way_ = 0;
    unsigned linked_ = 0;          ///< connections to md_repl
    uint32_t door_seen_ = 0;       ///< ReplWords::door_wanted, as of when it was done with
    size_t bytes_behind_ = 0;      ///< of the input, what follows the request that is being executed
    bool ring_was_full_ = false;
};

/// Where a reply made in this process goes: straight to the connection's output, or behind replies that md still owes.
class LocalReply {
  public:
    LocalReply(Server& server, Connection& connection);
    ~LocalReply();
    RespWriter& out() { return writer_; }

  private:
    Buffer& choose_target();

    Server& server_;
    Connection& connection_;
    bool deferred_ = false;
    Buffer& target_;
    RespWriter writer_;
    size_t begins_;  ///< where in the target
};

/// What an error begins with when the supervisor does not do what it was asked for.
inline constexpr std::string_view kRewriteFailed = "Rewriting config file";
inline constexpr std::string_view kShutdownFailed = "Errors trying to SHUTDOWN";

/// Asks the supervisor to write the configuration file, or (`rewrite-check`) whether it could (local_server.cc).
std::string rewrite_request(const Server& server, std::string_view operation);

/// Executes a command that is answered here (local_*.cc). `row` is the subcommand's for containers.
void execute_local(Server& server, Connection& connection, const CommandRow& row, Arguments words, RespWriter& out);

}  // namespace millrace::io_conn
