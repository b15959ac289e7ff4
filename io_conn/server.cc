// The turn of the loop and its housekeeping; see server.h. Runs in io_conn.
#include "io_conn/server.h"

#include <malloc.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk_refusals.h"
#include "common/log.h"
#include "common/paths.h"

namespace millrace::io_conn {

namespace {

event_base* make_base() {
    event_config* config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
    event_base* base = event_base_new_with_config(config);
    event_config_free(config);
    if (base == nullptr) throw Error("libevent offers no edge-triggered events on this system");
    return base;
}

}  // namespace

Server::Server(Daemon& daemon)
    : daemon_(daemon),
      counters_(paths::counters(daemon.dir(), "io_conn", daemon.arguments().index), "io_conn", daemon.arguments().index,
                daemon.arguments().instance, daemon.arguments().generation),
      link_(daemon),
      connections_(input_pool_, output_pool_),
      live_(daemon.options()),
      deferred_scratch_(output_pool_),
      rows_(paths::clients(daemon.dir(), daemon.arguments().index), daemon.arguments().instance,
            daemon.arguments().generation, static_cast<uint64_t>(option_row(OptionId::maxclients).highest) + 1),
      orders_(daemon, link_.roster(), rows_.orders(), [this](unsigned index) { acceptor_->wake_peer(index); }),
      diagnostics_(paths::diagnostics(daemon.dir(), "io_conn", daemon.arguments().index), daemon.arguments().instance, daemon.arguments().generation, link_.roster()),
      base_(make_base()),
      doors_(paths::run_folder(daemon.dir())),
      decoder_(static_cast<uint64_t>(live_.number(OptionId::proto_max_bulk_len))),
      scratch_(std::make_unique<char[]>(kReadBytesPerTurn)),
      direct_(link_.direct_reader()) {
    raise_descriptor_limit();
    wait_for_disk_as_configured();
    look_at_options();
    fifo_event_ = event_new(base_, link_.fifo().descriptor(), EV_READ | EV_PERSIST, on_fifo, this);
    event_add(fifo_event_, nullptr);
    second_event_ = event_new(base_, -1, EV_PERSIST, on_second, this);
    const timeval second{1, 0};
    event_add(second_event_, &second);
    patience_event_ = event_new(base_, -1, 0, on_patience, this);
    door_event_ = event_new(base_, -1, EV_PERSIST, on_door, this);
    acceptor_ = std::make_unique<Acceptor>(*this, base_, daemon.arguments().listen_fds);
    supervisor_ = std::make_unique<SupervisorLink>(base_, doors_, [this](ConnectionId who, const SupervisorAnswer& answer) { on_supervisor_answer(who, answer); });
    daemon.wake_on_signal(link_.fifo().descriptor());
    counters_.set(IoCounter::start_time, static_cast<uint64_t>(std::time(nullptr)));
    counters_.set(IoCounter::restarts, daemon.arguments().restarts);
    publish_rates();
}

Server::~Server() {
    acceptor_.reset();
    supervisor_.reset();
    for (size_t slot = 0; slot < connections_.slots(); ++slot)
        if (connections_.at(slot).open()) close_connection(connections_.at(slot));
    event_free(fifo_event_);
    event_free(second_event_);
    event_free(patience_event_);
    event_free(door_event_);
    event_base_free(base_);
}

void Server::run() {
    daemon_.report_ready();
    log::notice("serving");
    while (!stop_is_over()) turn();
    link_.announce(IoConnState::absent);
}

void Server::turn() {
    counters_.add(IoCounter::turns);
    daemon_.beat();
    bool parked = idle();
    if (parked) {
        link_.begin_park();
        // A request to end is answered once without sleep; after that the loop sleeps like any other while it waits.
        const bool told_to_end = (daemon_.stopping() && stop_asked_us_ == 0) || (daemon_.retiring() && acceptor_->open());
        parked = !link_.has_work() && !orders_.any_new() && !told_to_end;
        if (parked) counters_.add(IoCounter::parks);
        event_base_loop(base_, parked ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
        link_.end_park();
    } else {
        event_base_loop(base_, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    look_at_options();
    follow_resets();
    now_us_ = monotonic_us();
    wall_s_ = static_cast<uint64_t>(std::time(nullptr));
    RosterLine& line = link_.line();
    line.turns.store(line.turns.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (link_.md_changed()) on_md_change();
    if (orders_.any_new()) orders_.carry_out([this](std::span<const uint64_t> clients) { close_clients(clients, nullptr); });
    look_at_pause();
    look_at_group();
    look_at_door();
    if (!patient_.empty()) retry_patient();
    serve_ready();
    publish();
    take_replies();
    if (look_for_lost_) send_lost_again();
    send_dirty();
    if (!condemned_.empty()) close_condemned();
}

bool Server::idle() {
    const bool nothing_to_tell = (to_forget_.empty() && to_release_.empty()) || link_.wants_space();
    return ready_.empty() && dirty_.empty() && nothing_to_tell && !link_.has_work() && !orders_.any_new();
}

void Server::publish() {
    while (!to_forget_.empty() && link_.send_forget(to_forget_.back())) to_forget_.pop_back();
    while (!to_release_.empty() && link_.send_release(to_release_.back())) to_release_.pop_back();
    const bool waiting = !ring_waiters_.empty() || !to_forget_.empty() || !to_release_.empty();
    if (waiting && !ring_was_full_) counters_.add(IoCounter::request_ring_full);
    ring_was_full_ = waiting;
    link_.want_space(waiting);
    if (link_.publish()) counters_.add(IoCounter::wakeups_sent);
    if (batch_ == 0) return;
    counters_.record(IoCounter::batch, batch_);
    counters_.add(IoCounter::requests_sent, batch_);
    if (published_at_us_ == 0) published_at_us_ = now_us_;
    batch_ = 0;
}

void Server::make_ready(Connection& connection) {
    if (connection.in_ready) return;
    connection.in_ready = true;
    ready_.push_back(&connection);
}

void Server::make_dirty(Connection& connection) {
    if (connection.in_dirty) return;
    connection.in_dirty = true;
    dirty_.push_back(&connection);
}

void Server::on_fifo(int, short, void* server) {
    auto& self = *static_cast<Server*>(server);
    self.link_.fifo().drain();
    self.acceptor_->on_wake();
}

void Server::on_second(int, short, void* server) {
    auto& self = *static_cast<Server*>(server);
    self.publish_gauges();
    self.publish_memory();
    self.meter_.adjust();
    self.publish_rates();
    self.close_idle_connections();
    self.give_memory_back();
}

void Server::on_patience(int, short, void* server) { static_cast<Server*>(server)->patience_over_ = true; }

/// The connection is looked at again in a while.
Server::Executed Server::wait_patiently(Connection& connection) {
    if (!connection.in_patient) {
        connection.in_patient = true;
        patient_.push_back(&connection);
    }
    look_again_soon();
    return Executed::not_now;
}

void Server::look_again_soon() {
    if (event_pending(patience_event_, EV_TIMEOUT, nullptr)) return;
    const timeval time{0, kPatienceMs * 1000};
    event_add(patience_event_, &time);
}

void Server::retry_patient() {
    if (!patience_over_ && kills_under_way_ == 0) return;
    patience_over_ = false;
    for (Connection* connection : patient_) {
        connection->in_patient = false;
        make_ready(*connection);
    }
    patient_.clear();
}

/// Carries CONFIG RESETSTAT out, if there was one since the last turn.
void Server::follow_resets() {
    if (!diagnostics_.follow_resets(link_.store().load(store::kStatisticsResetsAt))) return;
    for (const IoCounter counter : {IoCounter::commands, IoCounter::connections_accepted, IoCounter::connections_rejected, IoCounter::input_bytes, IoCounter::output_bytes,
                                    IoCounter::error_replies, IoCounter::reads, IoCounter::writes, IoCounter::keyspace_hits, IoCounter::keyspace_misses})
        counters_.set(counter, 0);
}

/// How fast three counters have grown since the last look, which is a second ago or a little more.
void Server::publish_rates() {
    constexpr std::array kRates{std::pair(IoCounter::commands, IoCounter::commands_per_second), std::pair(IoCounter::input_bytes, IoCounter::input_bytes_per_second),
                                std::pair(IoCounter::output_bytes, IoCounter::output_bytes_per_second)};
    const uint64_t now_us = monotonic_us(), elapsed_us = std::max<uint64_t>(now_us - std::exchange(rates_at_us_, now_us), 1);
    for (size_t i = 0; i < kRates.size(); ++i) {
        const uint64_t count = counters_.get(kRates[i].first);
        const uint64_t before = std::exchange(rate_counts_[i], count);
        counters_.set(kRates[i].second, (count >= before ? count - before : count) * 1'000'000 / elapsed_us);  // less than before: forgotten in between
    }
}

void Server::publish_gauges() {
    uint64_t blocked = 0;
    for (size_t slot = 0; slot < connections_.slots(); ++slot) {
        const Connection& connection = connections_.at(slot);
        blocked += connection.open() && !connection.input.empty() && connection.partial == nullptr;
    }
    counters_.set(IoCounter::blocked_connections, blocked);
    counters_.set(IoCounter::buffer_bytes, input_pool_.held_bytes() + output_pool_.held_bytes() + outgoing_bytes_);
}

void Server::publish_memory() {
    const ResidentMemory::Bytes bytes = memory_.read();
    counters_.set(IoCounter::resident_bytes, bytes.all);
    counters_.set(IoCounter::resident_shared_bytes, bytes.shared);
}

/// What a burst of clients took for its buffers goes back to the system once it is over: malloc itself keeps every page below the
/// highest one in use.
void Server::give_memory_back() {
    const uint64_t freed = input_pool_.freed_bytes() + output_pool_.freed_bytes();
    const bool is_over = freed - std::exchange(freed_a_second_ago_, freed) < kCalmBytes;
    if (!is_over || freed - given_back_ < kGiveBackFromBytes) return;
    given_back_ = freed;
    malloc_trim(0);
}

/// What holds for the commands of this turn.
void Server::look_at_group() {
    const LogWords& words = link_.log_words();
    loading_ = words.loading.load(std::memory_order_relaxed) != 0;
    refuses_writes_ = refuses_writes(words);
    look_at_master();
    restricted_ = paused_ || loading_ || refuses_writes_ || stale_;
}

void Server::on_md_change() {
    const bool is_first = link_.accept_md_change() == 0;
    if (is_first) return log::notice("md serves, now that it has loaded the data");
    counters_.add(IoCounter::md_changes);
    log::notice("another md has taken over");
    look_for_lost_ = true;
}

/// A large request of which a dead md had taken the first fragment, and which it did not execute, goes once more from its
/// beginning. The mark is read before the look for replies: those to all that was taken before the mark are there then, so a
/// request without a reply was not executed.
void Server::send_lost_again() {
    const uint64_t taken_over_at = link_.taken_over_at();
    if (link_.has_untaken_replies() || !pair_replies_.empty()) return;  // once they are taken
    look_for_lost_ = false;
    for (size_t slot = 0; slot < connections_.slots(); ++slot) {
        Connection& connection = connections_.at(slot);
        if (!connection.open() || connection.outgoing == nullptr) continue;
        OutgoingRequest& outgoing = *connection.outgoing;
        if (outgoing.sent == 0 || outgoing.first_at >= taken_over_at) continue;
        if (outgoing.sent == outgoing.bytes.size()) --connection.sent;
        outgoing.sent = 0;
        make_ready(connection);
    }
}

bool Server::stop_is_over() {
    if (daemon_.retiring() && acceptor_->open()) {
        acceptor_->close();
        link_.announce(IoConnState::draining);
        daemon_.report_draining();
        log::notice("retiring; {} connections are still served", connections_.open());
        close_linked();
    }
    if (daemon_.answer_roll_call() && acceptor_->open()) supervisor_->hand_over(daemon_.arguments().listen_fds);
    if (daemon_.retiring() && connections_.open() == 0) return true;
    if (!daemon_.stopping()) return false;
    if (stop_asked_us_ == 0) {
        stop_asked_us_ = now_us_ = monotonic_us();
        acceptor_->close();
    }
    // Answers that md owes still go out, for a bounded time.
    if (now_us_ - stop_asked_us_ > kStopPatienceMs * 1000ull) return true;
    for (size_t slot = 0; slot < connections_.slots(); ++slot) {
        Connection& connection = connections_.at(slot);
        if (connection.asking == Asking::the_end) continue;
        if (connection.open() && (connection.replies_owed() || !connection.output.empty())) return false;
    }
    return true;
}

}  // namespace millrace::io_conn
