// See replicator.h. Runs in md_repl.
#include "md/repl/replicator.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <sstream>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "common/disk/snapshot_reader.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/versioned_words.h"

namespace millrace::md_repl {

Replicator::Replicator(Daemon& daemon)
    : daemon_(daemon),
      folder_(disk::data_folder(daemon.dir())),
      control_segment_(Segment::attach({paths::control(daemon.dir()), kControlLayout, daemon.arguments().instance}, Access::read_only)),
      words_segment_(Segment::attach({paths::repl_words(daemon.dir()), kReplWordsLayout, daemon.arguments().instance}, Access::read_write)),
      log_words_segment_(Segment::attach({paths::log_words(daemon.dir()), kLogWordsLayout, daemon.arguments().instance}, Access::read_write)),
      roster_segment_(Segment::attach({paths::roster(daemon.dir()), kRosterLayout, daemon.arguments().instance}, Access::read_only)),
      control_(control_segment_.payload<Control>()),
      roster_(roster_segment_.payload<Roster>()),
      words_(words_segment_.payload<ReplWords>()),
      log_words_(log_words_segment_.payload<LogWords>()),
      counters_(paths::counters(daemon.dir(), "md_repl", 0), "md_repl", 0, daemon.arguments().instance, daemon.arguments().generation),
      live_(daemon.options()),
      fifo_(paths::md_repl_fifo(daemon.dir())),
      parker_(words_->park),
      md_bell_(control_->md_park, Fifo(paths::md_fifo(daemon.dir()))),
      log_bell_(log_words_->park, Fifo(paths::md_log_fifo(daemon.dir()))),
      receiver_(folder_, daemon.arguments().instance, *words_, way_in_),
      failover_(*words_, way_in_, receiver_) {
    fifo_.prepare_to_wait(paths::md_repl_fifo(daemon.dir()));
    counters_.set(ReplCounter::start_time, static_cast<uint64_t>(std::time(nullptr)));
    counters_.set(ReplCounter::restarts, daemon.arguments().restarts);
    daemon.wake_on_signal(fifo_.descriptor());
    if (words_->needs_log.load() != 0) needed_log_ms_ = monotonic_us() / 1000;  // one that has died meanwhile had followers
    words_->pid.store(static_cast<uint32_t>(getpid()));
    words_->link_state.store(static_cast<uint32_t>(LinkState::none));
    words_->keep_from.store(kKeepNothing);
    write_versioned(words_->pair.version, words_->pair.words, &heard_);  // links of a predecessor are no more
    const Replica none{};
    for (ReplicaRow& row : words_->replicas) write_versioned(row.version, row.words, &none);
    standing_.folder = folder_;
}

Replicator::~Replicator() = default;

/// A stale socket is in the way of nobody: this is the only md_repl of the instance.
void Replicator::open_door() {
    const std::string path = paths::md_repl_door(daemon_.dir());
    const Descriptor folder(open(paths::run_folder(daemon_.dir()).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    unlink(path.c_str());
    // The path of a Unix socket is short, and DIR's may not be.
    const std::string name = fmt::format("/proc/self/fd/{}/md_repl.sock", folder.get());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    CHECK(name.size() < sizeof address.sun_path);
    name.copy(address.sun_path, sizeof address.sun_path - 1);
    door_ = Descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    constexpr int kBacklog = 16;
    if (!folder.open() || !door_.open() || bind(door_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || chmod(path.c_str(), 0600) != 0 ||
        listen(door_.get(), kBacklog) != 0)
        throw Error(fmt::format("cannot listen at {}: {}", path, errno_text(errno)));
}

void Replicator::map_store() { store_ = std::make_unique<StoreReader>(paths::store(daemon_.dir()), daemon_.arguments().instance); }

void Replicator::wait_for_md() {
    while (control_->md_epoch.load(std::memory_order_acquire) == 0 && !daemon_.stopping()) {
        daemon_.answer_roll_call();
        fifo_.wait(kParkMs);
    }
}

void Replicator::run() {
    open_door();
    daemon_.report_ready();
    wait_for_md();
    if (daemon_.stopping()) return;
    map_store();
    log::notice("serving");
    while (!daemon_.stopping()) turn();
}

std::string Replicator::history(size_t field) const {
    return history_text([&](size_t i) { return root(field + 8 * i); });
}

/// P2.
void Replicator::look_at_md() {
    if (!store_->is_current()) {
        try {
            map_store();
        } catch (const Error&) {
            loaded_ = false;  // md is about to make another one
            return;
        }
        live_ = LiveValues(daemon_.options());
        standing_.history.clear();  // the files are others, too
    }
    // A store that md has just made has no name until all is in it.
    std::string now = history(offsetof(st::Root, history));
    loaded_ = root(offsetof(st::Root, loading)) == 0 && log_words_->loading.load(std::memory_order_acquire) == 0 && !now.empty();
    if (live_.look([this](uint64_t at) { return store_->load(at); })) log::set_level(option_text(option_row(OptionId::loglevel), live_.number(OptionId::loglevel)));
    if (!loaded_) return;
    standing_.following = !live_.text(OptionId::replicaof).empty();
    standing_.second = history(offsetof(st::Root, second_history));
    standing_.second_end = root(offsetof(st::Root, second_history_end));
    standing_.stream = root(offsetof(st::Root, stream_number));
    if (root(offsetof(st::Root, pair) + offsetof(st::PairWords, standing)) == 0) {
        standing_.pair.reset();
        loaded_ = live_.number(OptionId::replication_mode) != kStrictMode;  // md is about to begin
    } else if (const auto view = read_pair(*store_)) {
        standing_.pair = view;
    } else {
        loaded_ = false;  // until the next turn
    }
    if (!loaded_) return;
    if (now == standing_.history) return;
    if (!senders_.empty()) log::notice("this server's data goes its own way from here on, or is another: its followers have to come again");
    senders_.clear();
    standing_.history = std::move(now);
}

// --- the door ---------------------------------------------------------------------------------------------------------

void Replicator::open_the_door() {
    while (visitors_.size() < kVisitorsMax) {
        Descriptor fd(accept4(door_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!fd.open()) break;
        visitors_.push_back({std::move(fd), Descriptor(), {}, now_ms_});
    }
    for (auto visitor = visitors_.begin(); visitor != visitors_.end();) {
        const bool stays = hear(*visitor) && elapsed(now_ms_, visitor->came_ms) < kDoorPatienceMs;
        visitor = stays ? std::next(visitor) : visitors_.erase(visitor);
    }
}

/// False: there is nothing more to hear of it.
bool Replicator::hear(Visitor& visitor) {
    char bytes[kLineMax];
    iovec part{bytes, sizeof bytes};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    const ssize_t count = recvmsg(visitor.socket.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        int fd;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        visitor.passed = Descriptor(fd);
    }
    visitor.line.append(bytes, static_cast<size_t>(count));
    if (visitor.line.find('\n') == std::string::npos) return count > 0 && visitor.line.size() < kLineMax;
    admit(visitor);
    return false;
}

void Replicator::admit(Visitor& visitor) {
    if (visitor.line == "link\n" && !way_in_.open()) way_in_.use(std::move(visitor.socket));
    else if (visitor.line.starts_with("failover ")) failover_.ask(visitor.line.substr(9), now_ms_);
    else if (visitor.line.starts_with("replica ") && visitor.passed.open()) register_follower(visitor.line.substr(8), std::move(visitor.passed));
}

/// A master offers its part (failover.h, step 4). Why it is not taken; empty: it is, or was before.
std::string Replicator::take_offer(uint64_t stream, const std::string& history) {
    if (!standing_.following) return {};
    if (history != standing_.history || (stream != 0 && stream != standing_.stream))
        return fmt::format("it hands over its part at number {}, and this server follows another history, or is at number {}", stream, standing_.stream);
    if (!receiver_.is_promoting()) {
        log::notice("the master hands its part over at number {}: this server is promoted", standing_.stream);
        receiver_.promote();
    }
    return "this server is about to be promoted; try again";
}

/// "address protocol port instance priority [stream-number history]"
void Replicator::register_follower(const std::string& line, Descriptor fd) {
    std::istringstream words(line);
    Sender::Peer peer;
    uint32_t protocol = 0;
    std::string instance;
    int64_t priority = 0;
    words >> peer.address >> protocol >> peer.port >> instance >> priority;
    peer.instance = std::strtoull(instance.c_str(), nullptr, 16);
    uint64_t offered = 0;
    std::string offered_history;
    const bool complete = !words.fail();
    const bool offers = complete && (words >> offered >> offered_history);
    auto sender = std::make_unique<Sender>(next_id_++, std::move(fd), peer);
    std::string why;
    if (!complete) why = "the registration is not understood";
    else if (protocol != kProtocol) why = fmt::format("it speaks version {} of this protocol, this server version {}", protocol, kProtocol);
    else if (peer.instance == daemon_.arguments().instance) why = "a server cannot follow itself";
    else if (senders_.size() == kReplicasMax) why = fmt::format("there are {} followers already", kReplicasMax);
    else if (!loaded_) why = "this server is loading its data";
    else if (offers) why = take_offer(offered, offered_history);
    // One that comes again has lost its link, whether this server knows that yet or not.
    senders_.remove_if([&](const auto& other) { return other->peer().instance == peer.instance; });
    sender->welcome(list_of_followers());
    bool moved = false;
    if (!why.empty()) {
        log::warning("{} may not follow: {}", sender->name(), why);
        sender->refuse(why);
        sender->pump(moved);
        return;
    }
    log::notice("{} has registered as a follower", sender->name());
    senders_.push_back(std::move(sender));
}

std::string Replicator::list_of_followers() const {
    std::string list;
    for (const auto& sender : senders_) list += fmt::format("{} {} {}\n", sender->peer().address, sender->peer().port, static_cast<unsigned>(sender->state()));
    return list;
}

// --- followers --------------------------------------------------------------------------------------------------------

/// The newest snapshot, if the log has all that comes behind its start.
bool Replicator::choose_snapshot(SnapshotToSend& snapshot) const {
    for (const std::string& path : disk::snapshot_files(folder_)) {
        disk::SnapshotReader reader(path);
        if (!reader.open()) continue;
        snapshot = {path, reader.start(), reader.stream_number(), reader.end(), reader.file_bytes()};
        return disk::log_reaches_back(folder_, reader.start());
    }
    return false;
}

/// One that waits for a snapshot gets the newest if a log without a hole goes with it; else another one is made. Whoever comes meanwhile waits for the same.
void Replicator::provide_snapshot(Sender& sender) {
    const uint64_t seen = words_->save_seen.load(std::memory_order_acquire), failed = words_->save_failed.load(std::memory_order_acquire);
    if (sender.snapshot_ticket != 0 && seen < sender.snapshot_ticket && failed < sender.snapshot_ticket) return;
    SnapshotToSend snapshot;
    if (choose_snapshot(snapshot)) {
        if (!sender.begin_full(snapshot, standing_)) return;
        words_->full_syncs.fetch_add(1, std::memory_order_relaxed);
        counters_.add(ReplCounter::full_syncs);
        log::notice("full sync of {}: {} of {:.1f} MB is sent", sender.name(), snapshot.path, static_cast<double>(snapshot.bytes) / 1e6);
        return;
    }
    if (sender.snapshot_ticket != 0 && failed >= sender.snapshot_ticket && now_ms_ % 1000 >= kParkMs) return;  // tried again once a second
    sender.snapshot_ticket = std::max({words_->save_wanted.load(), seen, failed}) + 1;
    words_->save_wanted.store(sender.snapshot_ticket, std::memory_order_release);
    log_bell_.ring_always();
}

/// R2 of repl_words.h.
void Replicator::want_log() {
    if (!senders_.empty() || standing_.following || live_.number(OptionId::replication_mode) != 0) needed_log_ms_ = now_ms_;
    const uint32_t needed = needed_log_ms_ != 0 && elapsed(now_ms_, needed_log_ms_) <= kLogKeptMs;
    if (words_->needs_log.exchange(needed) == needed || needed == 0) return;
    md_bell_.ring_always();
    log_bell_.ring_always();
}

uint64_t Replicator::link_patience_ms() const {
    const uint64_t patience_ms = static_cast<uint64_t>(live_.number(OptionId::repl_timeout)) * 1000;
    if (!standing_.pair) return patience_ms;
    return std::min(patience_ms, std::max(kPairPatienceMsMin, 3 * static_cast<uint64_t>(live_.number(OptionId::replication_timeout))));
}

/// R4 of repl_words.h.
void Replicator::count_acknowledged() {
    std::vector<uint64_t> numbers;
    for (const auto& sender : senders_)
        if (sender->state() == ReplicaState::online) numbers.push_back(sender->acknowledged());
    words_->online_replicas.store(static_cast<uint32_t>(numbers.size()), std::memory_order_relaxed);
    const auto wanted = static_cast<size_t>(live_.number(OptionId::replication_acks));
    if (numbers.size() < wanted) return;
    std::ranges::nth_element(numbers, numbers.begin() + static_cast<ptrdiff_t>(wanted) - 1, std::greater<>());
    const uint64_t reached = numbers[wanted - 1];
    if (reached <= words_->replicated_number.load(std::memory_order_relaxed)) return;
    words_->replicated_number.store(reached, std::memory_order_release);
    log_bell_.ring();
}

/// R5. A follower that keeps no checksum yet lets the first ones pass, and gets others.
void Replicator::want_checks() {
    if (standing_.following || now_ms_ < next_check_ms_) return;
    next_check_ms_ = now_ms_ + kCheckAgainMs;
    if (std::ranges::none_of(senders_, [](const auto& sender) { return sender->state() == ReplicaState::online && !sender->has_checked(); })) return;
    words_->check_wanted.fetch_add(1, std::memory_order_release);
    md_bell_.ring_always();
}

/// Whether all that md does from now on gets into the log's files (common/oplog_ring.h, O2). Only then can be said what a follower lacks.
bool Replicator::log_is_there() const {
    if (root(offsetof(st::Root, oplog_on)) == 0) return false;
    const uint64_t gap = root(offsetof(st::Root, oplog_gap));
    if (gap == 0) return true;
    const auto files = disk::numbered_logs(folder_);
    return !files.empty() && files.back().number >= gap;
}

bool Replicator::feed(Sender& sender) {
    if (sender.state() == ReplicaState::registered && !log_is_there()) return true;
    const ReplicaState before = sender.state();
    const uint64_t timeout_ms = link_patience_ms();
    if (!sender.hear(standing_, now_ms_)) return false;
    if (before == ReplicaState::registered && sender.state() == ReplicaState::online) {
        words_->partial_syncs.fetch_add(1, std::memory_order_relaxed);
        counters_.add(ReplCounter::partial_syncs);
        log::notice("partial sync of {} from number {} on", sender.name(), sender.acknowledged());
    }
    if (before == ReplicaState::registered && sender.state() == ReplicaState::saving) words_->partial_refused.fetch_add(1, std::memory_order_relaxed);
    if (sender.wants_snapshot()) provide_snapshot(sender);
    if (elapsed(now_ms_, sender.heard_ms()) > timeout_ms) {
        log::warning("{} was not heard of for {} s", sender.name(), timeout_ms / 1000);
        return false;
    }
    return true;
}

/// True when something was sent or heard.
bool Replicator::serve_senders() {
    bool moved = false;
    const bool pings = now_ms_ >= next_ping_ms_;
    const uint64_t ping_ms = static_cast<uint64_t>(live_.number(OptionId::repl_ping_period)) * 1000;
    if (pings) next_ping_ms_ = now_ms_ + (standing_.pair ? std::min(ping_ms, kPairPatienceMsMin / 3) : ping_ms);
    for (auto at = senders_.begin(); at != senders_.end();) {
        Sender& sender = **at;
        const uint64_t bytes = sender.bytes_sent(), records = sender.records_sent();
        bool good = feed(sender);
        if (good && pings) sender.ping(standing_.stream);
        good = good && sender.pump(moved);
        counters_.add(ReplCounter::bytes_sent, sender.bytes_sent() - bytes);
        counters_.add(ReplCounter::records_sent, sender.records_sent() - records);
        if (!good) log::notice("the link of {} has ended: {}", sender.name(), sender.reason());
        at = good ? std::next(at) : senders_.erase(at);
    }
    return moved;
}

// --- following --------------------------------------------------------------------------------------------------------

/// An io_conn makes the connection when it sees that one is wanted; one that has died meanwhile does not, so it is asked for again.
void Replicator::want_way_in() {
    if (way_in_.open() || !(receiver_.wants_way_in() || failover_.wants_way_in() || standing_.pair) || elapsed(now_ms_, door_asked_ms_) < kDoorPatienceMs) return;
    door_asked_ms_ = now_ms_;
    words_->door_wanted.fetch_add(1, std::memory_order_release);
    for (unsigned index = 0; index < kMaxIoConns; ++index) {
        if (roster_->lines[index].state.load(std::memory_order_relaxed) == static_cast<uint32_t>(IoConnState::absent)) continue;
        try {
            Fifo(paths::io_conn_fifo(daemon_.dir(), index)).wake();
        } catch (const Error&) {
            continue;  // it has gone
        }
    }
}

bool Replicator::follow() {
    Receiver::Settings settings;
    settings.master = live_.text(OptionId::replicaof);
    settings.password = live_.text(OptionId::masterauth);
    settings.port = static_cast<uint16_t>(daemon_.options().number(OptionId::port));
    settings.refuses_older = live_.number(OptionId::replica_refuse_older) != 0;
    settings.always_fully = live_.number(OptionId::replica_full_sync) != 0;
    settings.priority = live_.number(OptionId::replica_priority);
    settings.timeout_ms = link_patience_ms();
    failover_.turn(standing_, senders_, settings.timeout_ms, now_ms_);
    want_way_in();
    if (failover_.uses_way_in()) return false;
    settings.offer = failover_.offer();
    if (loaded_) receiver_.follow(settings);
    receiver_.set_pair(standing_.pair);
    if (way_in_.open() && way_in_.unanswered() == 0 && !way_in_.read()) way_in_.close();
    const uint64_t before = receiver_.records_applied();
    const uint64_t keys = receiver_.follows_redis() ? store_->keys() : 0;
    const auto database = static_cast<unsigned>(root(offsetof(st::Root, stream_database)));
    const bool worked = receiver_.turn({standing_.history, standing_.stream, database, keys, store_->generation(), loaded_}, now_ms_);
    counters_.add(ReplCounter::records_applied, receiver_.records_applied() - before);
    if (standing_.pair && standing_.following) tell_md(receiver_.heard());
    return worked;
}

// --- the loop ---------------------------------------------------------------------------------------------------------

void Replicator::publish() {
    const uint64_t lag_ms = static_cast<uint64_t>(live_.number(OptionId::min_replicas_lag)) * 1000;
    uint64_t keep = kKeepNothing, good = 0;
    std::vector<Replica> rows;
    for (const auto& sender : senders_) {
        rows.push_back(sender->row());
        keep = std::min(keep, sender->keep_from(now_ms_));
        good += sender->state() == ReplicaState::online && elapsed(now_ms_, sender->heard_ms()) <= lag_ms;
    }
    rows.resize(kReplicasMax);
    for (unsigned i = 0; i < kReplicasMax; ++i) write_versioned(words_->replicas[i].version, words_->replicas[i].words, &rows[i]);
    words_->keep_from.store(keep, std::memory_order_release);
    words_->good_replicas.store(static_cast<uint32_t>(good), std::memory_order_relaxed);
    counters_.set(ReplCounter::replicas, senders_.size());
    if (now_ms_ < next_publish_ms_) return;
    counters_.set(ReplCounter::resident_bytes, memory_.read().all);
    next_publish_ms_ = now_ms_ + kPublishMs;
}

void Replicator::turn() {
    daemon_.answer_roll_call();
    now_ms_ = monotonic_us() / 1000;
    hear_md_of_pair();
    look_at_md();
    open_the_door();
    want_log();
    const bool may_send = file_pair();
    if (loaded_ && may_send) serve_pair();
    bool worked = loaded_ && may_send && serve_senders();
    if (loaded_ && may_send) tell_confirmed();
    count_acknowledged();
    if (may_send) want_checks();
    worked |= may_send && follow();
    uint64_t acknowledged = 0;
    for (const auto& sender : senders_) acknowledged += sender->acknowledged();
    if (now_ms_ >= next_publish_ms_ || (acknowledged != acknowledged_ && now_ms_ != published_ms_)) {
        acknowledged_ = acknowledged;
        published_ms_ = now_ms_;
        publish();
    }
    if (!worked) park();
}

void Replicator::park() {
    std::vector<pollfd> polled{{fifo_.descriptor(), POLLIN, 0}, {door_.get(), POLLIN, 0}};
    const auto watch = [&polled](int fd, bool reads, bool writes) {
        if (fd >= 0) polled.push_back({fd, static_cast<short>((reads ? POLLIN : 0) | (writes ? POLLOUT : 0)), 0});
    };
    for (const Visitor& visitor : visitors_) watch(visitor.socket.get(), true, false);
    for (const auto& sender : senders_) watch(sender->descriptor(), true, sender->has_unsent());
    watch(receiver_.descriptor(), receiver_.reads(), receiver_.writes());
    watch(way_in_.descriptor(), true, way_in_.unsent() > 0);
    parker_.begin_park();
    bool moved = false;
    for (const auto& sender : senders_) sender->pump(moved);  // whether there is more of the log by now; what is wrong with it the next turn will see
    if (!moved && !daemon_.stopping()) poll(polled.data(), polled.size(), kParkMs);
    parker_.end_park();
    fifo_.drain();
}

}  // namespace millrace::md_repl
