// One client connection, and the table of them: slots that are reused with a new generation each time. Runs in io_conn.
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "common/client_rows.h"
#include "common/message.h"
#include "io_conn/buffer.h"
#include "io_conn/client_names.h"
#include "io_conn/reply_encoder.h"
#include "io_conn/resp_decoder.h"
#include "io_conn/transaction.h"
#include "io_conn/store_view.h"

namespace millrace::io_conn {

class Server;

/// A reply made here that has to wait for earlier replies of md.
struct DeferredReply {
    uint32_t after;  ///< goes out once so many of the connection's requests to md are answered
    std::string bytes;
};

/// A reply of md that cannot go out yet: an earlier one is being read from the store, or this one is.
struct WaitingReply {
    std::string bytes;    ///< as it came, or
    uint64_t record = 0;  ///< where it lies in the store
};

/// Replies that cannot go out yet.
struct HeldReplies {
    std::list<DeferredReply> deferred;
    std::list<WaitingReply> waiting;  ///< in order; the first one with a record is being read
    RecordReader reading;
    size_t bytes = 0;                 ///< of all of them
};

/// A request too large for one ring message, on its way in fragments. Kept until its reply has arrived: what md has of it
/// goes with md.
struct OutgoingRequest {
    std::string bytes;
    size_t sent = 0;
    uint64_t first_at = 0;  ///< position of its first fragment in the request ring
};

/// CLIENT REPLY: whether the client gets replies.
enum class Muted : uint8_t {
    no,
    next,     ///< not that of the next command
    current,  ///< not that of the command under way
    all,
};

/// A CLIENT KILL that waits for other io_conn (client_orders.h).
struct KillUnderWay {
    std::vector<uint64_t> to_order;  ///< clients for which there was no room yet
    uint64_t orders = 0;             ///< how many of our orders have to be carried out
    uint64_t give_up_at_us = 0;
    int64_t killed = 0;
    bool answers_with_count = true;
    bool kills_itself = false;
};

/// What a connection waits for that the supervisor does. Nothing else of it is executed meanwhile.
enum class Asking : uint8_t {
    nothing,
    rewrite,          ///< CONFIG REWRITE
    rewrite_check,    ///< whether the CONFIG REWRITE of a transaction is possible
    rewrite_of_exec,  ///< to do it, now that EXEC was executed
    shutdown,
    the_end,  ///< the group is ending, as this connection has asked for: there is no reply
};

struct Connection {
    Connection(BufferPool& input_pool, BufferPool& output_pool) : input(input_pool), output(output_pool) {}

    struct event event;
    Server* server = nullptr;
    int fd = -1;
    uint32_t slot = 0;
    uint32_t generation = 0;
    uint64_t client_id = 0;

    Buffer input;   ///< received and not yet executed; empty for most connections most of the time
    Buffer output;  ///< encoded and not yet sent
    EncoderState encoder;
    std::unique_ptr<RespDecoder> partial;  ///< how far an incomplete request is understood
    std::unique_ptr<OutgoingRequest> outgoing;
    std::unique_ptr<HeldReplies> held;  ///< null: none
    std::unique_ptr<KillUnderWay> kill;
    std::unique_ptr<Transaction> transaction;  ///< between MULTI and EXEC
    std::unique_ptr<std::vector<WatchedKey>> watched;  ///< null: none
    std::unique_ptr<ConnectionBefore> before_exec;  ///< while an EXEC that has changed it is not answered; nothing else is executed then

    uint64_t wait_number = 0;    ///< stream number that the replicas which WAIT waits for have to have; 0: it does not wait
    uint64_t wait_until_us = 0;  ///< 0: for ever
    uint64_t save_ticket = 0;  ///< of the SAVE that it waits for (MdLink::want_save()); 0: none
    uint32_t sent = 0;      ///< requests handed to md, modulo 2^32
    uint32_t arrived = 0;   ///< of these, those whose reply md has given
    uint32_t answered = 0;  ///< of these, those whose reply is in the output as a whole
    uint32_t last_active_s = 0;
    uint16_t last_command = 0;
    uint8_t database = 0;
    Asking asking = Asking::nothing;
    bool resp3 = false;
    bool stranger = false;  ///< has yet to say the password
    Muted muted = Muted::no;
    uint8_t flags = 0;      ///< client_flag

    bool readable : 1 = false;           ///< the socket may have bytes (edge-triggered)
    bool hung_up : 1 = false;            ///< the peer has closed its sending side; what it sent before may still be there
    bool peer_closed : 1 = false;        ///< no more input will come: the end has been read
    bool close_after_replies : 1 = false;
    bool write_blocked : 1 = false;      ///< the socket's buffer is full; wait for its event
    bool output_limited : 1 = false;     ///< stopped at the output limit
    bool md_remembers : 1 = false;       ///< md may keep something for it: tell it when the connection closes
    bool awaits_pause : 1 = false;       ///< has sent CLIENT PAUSE, alone or in a transaction: nothing else is executed until it is in force
    bool holds_output : 1 = false;       ///< what is answered is not done yet: the output waits for that
    bool linked : 1 = false;             ///< to md_repl of this group, which may do more than clients
    bool handed_over : 1 = false;        ///< md_repl has it now
    bool in_patient : 1 = false;         ///< in the list of those who wait for the end of a pause, or for other io_conn
    bool in_ring_waiters : 1 = false;    ///< in the list of those who wait for room in the request ring
    bool in_ready : 1 = false;           ///< in the server's list of connections with something to do
    bool in_dirty : 1 = false;           ///< in the list of connections with output to send

    bool open() const { return fd >= 0; }
    const ClientNames& names() const {
        static const ClientNames kNone;
        return names_ != nullptr ? *names_ : kNone;
    }
    void set_names(ClientNames names) {
        if (names.name.empty() && names.library.empty() && names.library_version.empty()) names_.reset();
        else names_ = std::make_unique<ClientNames>(std::move(names));
    }
    HeldReplies& make_held() {
        if (held == nullptr) held = std::make_unique<HeldReplies>();
        return *held;
    }
    void drop_held_if_empty() {
        if (held != nullptr && held->deferred.empty() && held->waiting.empty()) held.reset();
    }
    bool has_waiting() const { return held != nullptr && !held->waiting.empty(); }
    bool has_deferred() const { return held != nullptr && !held->deferred.empty(); }
    size_t held_bytes() const { return held == nullptr ? 0 : held->bytes; }
    bool watches() const { return watched != nullptr && !watched->empty(); }
    uint8_t request_flags() const { return (flags & client_flag::no_touch) != 0 ? request_flag::no_touch : 0; }
    ConnectionId id() const { return {slot, generation}; }
    uint32_t in_flight() const { return sent - answered; }
    bool replies_owed() const { return in_flight() != 0 || outgoing != nullptr || has_deferred() || asking != Asking::nothing; }

  private:
    std::unique_ptr<ClientNames> names_;
};

/// All connections of an io_conn. Pointers stay valid for the table's life; a closed slot is used again.
class ConnectionTable {
  public:
    ConnectionTable(BufferPool& input_pool, BufferPool& output_pool) : input_pool_(input_pool), output_pool_(output_pool) {}

    Connection& take() {
        if (free_.empty()) {
            all_.push_back(std::make_unique<Connection>(input_pool_, output_pool_));
            all_.back()->slot = static_cast<uint32_t>(all_.size() - 1);
            free_.push_back(all_.back()->slot);
        }
        Connection& connection = *all_[free_.back()];
        free_.pop_back();
        ++open_;
        return connection;
    }
    /// Takes a closed connection's slot back; its generation rises, so that late replies miss it.
    void give_back(Connection& connection) {
        ++connection.generation;
        free_.push_back(connection.slot);
        --open_;
    }
    /// The open connection that a message is about, or null if it is gone.
    Connection* find(ConnectionId id) {
        if (id.slot >= all_.size()) return nullptr;
        Connection* connection = all_[id.slot].get();
        return connection->generation == id.generation && connection->open() ? connection : nullptr;
    }
    size_t open() const { return open_; }
    size_t slots() const { return all_.size(); }
    Connection& at(size_t slot) { return *all_[slot]; }

  private:
    BufferPool& input_pool_;
    BufferPool& output_pool_;
    std::vector<std::unique_ptr<Connection>> all_;
    std::vector<uint32_t> free_;
    size_t open_ = 0;
};

}  // namespace millrace::io_conn
