// The way to the supervisor, for what an io_conn may not do itself: one request to its control socket, one answer (JSON lines; the other end
// is tools/supervisor/supervise.py). Runs in io_conn.
// Invariants:
//   L1  Nothing waits here: an answer comes as an event of the loop, and is handed on from there.
//   L2  Each request that ask() has taken ends exactly once, with the supervisor's answer or with a reason why there is none, after
//       kPatienceS at most.
//   L3  At most kRequestsMax requests are under way, each with one descriptor, and an answer has at most kAnswerBytesMax.
//   L4  Who asked is known by its id: a connection that has gone gets no answer, and what it asked for is done all the same.
#pragma once

#include <event2/event.h>

#include <functional>
#include <list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "common/message.h"
#include "io_conn/doors.h"

namespace millrace::io_conn {

/// `text` as a JSON string; each byte from 0x80 on is the character of its number.
std::string json_quoted(std::string_view text);

/// What the supervisor says to a request.
struct SupervisorAnswer {
    bool ok = false;
    std::string error;  ///< one sentence, without an end; empty if it is ok
};
/// Reads an answer's line; one that is not understood is an error.
SupervisorAnswer read_supervisor_answer(std::string_view line);

class SupervisorLink {
  public:
    static constexpr unsigned kRequestsMax = 16;
    static constexpr size_t kAnswerBytesMax = 64 * 1024;
    static constexpr int kPatienceS = 15;

    using Receiver = std::function<void(ConnectionId, const SupervisorAnswer&)>;

    /// `receiver` is called from the loop's events.
    SupervisorLink(event_base* base, const Doors& doors, Receiver receiver) : base_(base), doors_(doors), receiver_(std::move(receiver)) {}
    ~SupervisorLink();
    SupervisorLink(const SupervisorLink&) = delete;

    /// Sends a request, a JSON object without a line end. Empty, or why it was not sent: then there is no answer.
    std::string ask(ConnectionId who, const std::string& request);

    /// Gives these descriptors to a supervisor that waits for them. It waits if its door is there.
    void hand_over(std::span<const int> descriptors) const;

  private:
    struct Request {
        SupervisorLink* link;
        ConnectionId who;
        int fd;
        event* arrival;
        std::string answer;
    };

    static void on_event(int, short what, void* request);
    void receive(Request& request, bool in_time);
    void end(Request& request, const SupervisorAnswer& answer);

    event_base* base_;
    const Doors& doors_;
    Receiver receiver_;
    std::list<Request> requests_;
};

}  // namespace millrace::io_conn
