// The event loop of the load generator; see worker.h. A turn of a connection is receive(), on_reply() for
// each reply, refill(), send_out(); a connection that fails in any of them ends in lose().
#include "tools/bench/worker.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/bench/clock.h"

namespace millrace::bench {

namespace {

constexpr unsigned long kTimerSlackNs = 1;  // the open loop wants to be woken at the minute

std::string unexpected_text(const Command& command, ReplyKind kind) {
    return fmt::format("a reply of kind {} to {}", static_cast<int>(kind), command.name);
}

}  // namespace

Worker::Worker(const RunContext& context, uint32_t index)
    : context_(context),
      index_(index),
      timeout_ns_(static_cast<int64_t>(context.options.timeout * kNanosPerSecond)),
      stats_(std::make_unique<RunStats>()),
      received_(std::make_unique<char[]>(kReceiveBytes)) {
    const Options& options = context.options;
    pool_ = std::make_unique<ConnectionPool>(options, context.target, index, options.threads,
                                             std::max(depth_max(), kPreloadDepth),
                                             options.connect_rate / options.threads, *stats_);
}

uint32_t Worker::depth_max() const {
    const Options& options = context_.options;
    return options.is_open_loop() ? options.in_flight_max : options.pipeline;
}

void Worker::connect_all() {
    prctl(PR_SET_TIMERSLACK, kTimerSlackNs);
    int64_t now = now_ns();
    while (pool_->not_up_yet() > 0 && !context_.stop) {
        if (pool_->up() == 0 && stats_->error(ErrorKind::kConnect).count > 0) return;
        pool_->open_due(now);
        wait_and_handle(std::min(now + kTickNs, pool_->next_open_ns()));
        now = now_ns();
        tick(now);
    }
}

void Worker::run_phase(const WorkloadSpec& spec, const PhasePlan& plan, int64_t start_ns, int64_t phase_ns) {
    workload_.emplace(spec, index_, context_.options.threads);
    pacer_ = Pacer(plan, start_ns, phase_ns, pool_->connections().size());
    served_ = 0;
    last_up_ns_ = start_ns;
    for (Connection& connection : pool_->connections()) connection.turns_taken = 0;
    if (!pacer_.is_open()) {
        for (Connection& connection : pool_->connections()) refill(connection);
    }
    int64_t now = now_ns();
    while (!is_finished(now)) {
        int64_t until = std::min(next_tick_ns_, pool_->next_open_ns());
        if (pacer_.is_open()) until = std::min(until, pacer_.next_due_ns());
        wait_and_handle(until);
        now = now_ns();
        pacer_.set_now(now);
        if (pacer_.is_open()) send_due();
        pool_->open_due(now);
        tick(now);
    }
    stats_->unsent += pacer_.is_open() ? pacer_.backlog() : 0;
}

bool Worker::is_finished(int64_t now) const {
    if (context_.stop) return true;
    if (pool_->up() == 0 && pool_->not_up_yet() == 0) return true;
    if (pool_->up() == 0 && now - last_up_ns_ > timeout_ns_) return true;
    return pacer_.is_over() && in_flight() == 0;
}

void Worker::wait_and_handle(int64_t until_ns) {
    const int count = pool_->wait(events_, until_ns - now_ns());
    for (int i = 0; i < count; ++i) {
        handle_event(*static_cast<Connection*>(events_[i].data.ptr), events_[i].events);
    }
}

void Worker::handle_event(Connection& connection, uint32_t events) {
    if (connection.state == ConnectionState::kConnecting) {
        if (!pool_->finish_connect(connection, now_ns())) return;
        live_.connected.store(pool_->up(), std::memory_order_relaxed);
    } else if (connection.state == ConnectionState::kUp) {
        if (events & EPOLLOUT) send_rest(connection);
        if (events & ~EPOLLOUT) receive(connection);
    }
    if (workload_) refill(connection);
}

void Worker::receive(Connection& connection) {
    if (connection.state != ConnectionState::kUp) return;
    const ssize_t size = recv(connection.fd, received_.get(), kReceiveBytes, 0);
    if (size == 0) return lose(connection, ErrorKind::kDisconnect, "the server closed the connection");
    if (size < 0) {
        if (errno != EAGAIN && errno != EINTR) lose(connection, ErrorKind::kDisconnect, std::strerror(errno));
        return;
    }
    const int64_t now = now_ns();
    connection.since_ns = now;
    checked_ = &connection;
    PayloadCheck* const check = context_.options.verify ? this : nullptr;
    const char* at = received_.get();
    const char* const end = at + size;
    for (;;) {
        Reply reply;
        const Parsed parsed = connection.parser.next(at, end, reply, check);
        if (parsed == Parsed::kNeedMore) break;
        if (parsed == Parsed::kBad)
            return lose(connection, ErrorKind::kBadReply, "what the server sent is not its protocol");
        if (!on_reply(connection, reply, now)) return;
    }
    stats_->last_reply_ns = now;
    live_.replies.store(stats_->replies, std::memory_order_relaxed);
}

// False: the connection is gone.
bool Worker::on_reply(Connection& connection, const Reply& reply, int64_t now) {
    if (connection.pending.empty()) {  // such as "-ERR max number of clients reached"
        if (reply.kind == kReplyError) stats_->count_error(ErrorKind::kErrorReply, reply.text);
        lose(connection, reply.kind == kReplyError ? ErrorKind::kDisconnect : ErrorKind::kBadReply,
             "a reply to no request");
        return false;
    }
    const Pending& pending = connection.pending.front();
    const Command& command = kCommands[pending.command];
    stats_->latency[pending.command].record(now - pending.start_ns);
    ++stats_->replies;
    if (reply.kind == kReplyError) {
        stats_->count_error(ErrorKind::kErrorReply, reply.text);
    } else if (!(command.replies & reply.kind)) {
        stats_->count_error(ErrorKind::kBadReply, unexpected_text(command, reply.kind));
    } else if (command.returns_values) {
        stats_->misses += reply.nils;
        if (!reply.payload_matches) {
            stats_->count_error(ErrorKind::kWrongValue, fmt::format("{} from {}{:0{}}", command.name,
                                                                    command.family, pending.key, kKeyDigits));
        }
    }
    connection.pending.pop();
    return true;
}

bool Worker::matches(uint32_t element, int64_t length, int64_t offset, std::string_view chunk) {
    if (checked_->pending.empty()) return true;
    const Pending& pending = checked_->pending.front();
    if (!kCommands[pending.command].returns_values) return true;
    return workload_->values().matches(workload_->key_of_element(pending.key, element), length, offset,
                                       chunk);
}

void Worker::refill(Connection& connection) {
    if (connection.state != ConnectionState::kUp || !connection.unsent.empty()) return;
    const int64_t now = now_ns();
    pacer_.set_now(now);
    out_.clear();
    while (out_.size() < kTurnBytes) {
        const int64_t start = pacer_.take(connection);
        if (start < 0) break;
        if (connection.pending.empty()) connection.since_ns = now;
        if (pacer_.is_open()) stats_->send_delay.record(now - start);
        const Workload::Request request = workload_->write_next(out_);
        connection.pending.push({start, request.key, request.command});
        ++stats_->sent;
    }
    if (out_.size() > 0) send_out(connection);
}

// Open loop: every connection whose turn has come since the last time.
void Worker::send_due() {
    auto& connections = pool_->connections();
    const uint64_t due = pacer_.due();
    const uint64_t count = std::min<uint64_t>(due - served_, connections.size());
    for (uint64_t i = 0; i < count; ++i) refill(connections[(served_ + i) % connections.size()]);
    served_ = due;
}

void Worker::send_out(Connection& connection) {
    const ssize_t size = send(connection.fd, out_.data(), out_.size(), MSG_NOSIGNAL);
    if (size < 0 && errno != EAGAIN && errno != EINTR) {
        return lose(connection, ErrorKind::kDisconnect, std::strerror(errno));
    }
    const auto taken = static_cast<size_t>(std::max<ssize_t>(size, 0));
    if (taken == out_.size()) return;
    connection.unsent.assign(out_.data() + taken, out_.size() - taken);
    connection.unsent_from = 0;
    pool_->set_wants_write(connection, true);
}

void Worker::send_rest(Connection& connection) {
    const char* const rest = connection.unsent.data() + connection.unsent_from;
    const size_t left = connection.unsent.size() - connection.unsent_from;
    const ssize_t size = send(connection.fd, rest, left, MSG_NOSIGNAL);
    if (size < 0) {
        if (errno != EAGAIN && errno != EINTR) lose(connection, ErrorKind::kDisconnect, std::strerror(errno));
        return;
    }
    connection.unsent_from += static_cast<size_t>(size);
    if (connection.unsent_from < connection.unsent.size()) return;
    std::string().swap(connection.unsent);  // thousands of connections must not keep theirs
    pool_->set_wants_write(connection, false);
}

void Worker::lose(Connection& connection, ErrorKind kind, std::string_view text) {
    const uint64_t waiting = connection.pending.size();
    stats_->count_error(kind, text, kind == ErrorKind::kTimeout ? waiting : 1);
    stats_->lost += waiting;
    pool_->close_connection(connection, now_ns());
}

void Worker::tick(int64_t now) {
    if (pool_->up() > 0) last_up_ns_ = now;
    if (now < next_tick_ns_) return;
    next_tick_ns_ = now + kTickNs;
    give_up_late(now);
    live_.errors.store(stats_->error_total(), std::memory_order_relaxed);
    live_.connected.store(pool_->up(), std::memory_order_relaxed);
    if (index_ == 0) context_.on_tick(now);
}

void Worker::give_up_late(int64_t now) {
    for (Connection& connection : pool_->connections()) {
        if (now - connection.since_ns <= timeout_ns_) continue;
        if (connection.state == ConnectionState::kConnecting) pool_->fail_connect(connection, ETIMEDOUT, now);
        if (connection.state == ConnectionState::kUp && !connection.pending.empty()) {
            lose(connection, ErrorKind::kTimeout, fmt::format("no reply for {} s", context_.options.timeout));
        }
    }
}

}  // namespace millrace::bench
