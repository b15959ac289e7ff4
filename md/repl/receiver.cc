// See receiver.h. Runs in md_repl.
#include "md/repl/receiver.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <sstream>
#include <utility>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "common/disk/file_io.h"
#include "common/disk/history_file.h"
#include "common/effects.h"
#include "common/log.h"

namespace millrace::md_repl {

namespace {

uint64_t seconds_now() { return static_cast<uint64_t>(std::time(nullptr)); }

std::string undashed(std::string text) { return text == "-" ? std::string() : text; }

std::string command(std::initializer_list<std::string_view> words) {
    std::string text = fmt::format("*{}\r\n", words.size());
    for (const std::string_view word : words) text += fmt::format("${}\r\n{}\r\n", word.size(), word);
    return text;
}

/// Whether effects of a record have to be the only ones that md is given at once (handle_ms_apply).
bool stands_alone(std::string_view effects) {
    EffectReader reader(effects);
    for (Effect effect; reader.next(effect);) {
        const EffectKind kind = effect.header.kind;
        if (kind == EffectKind::clear_database || kind == EffectKind::swap_databases || kind == EffectKind::write_range || kind == EffectKind::checksum) return true;
    }
    return false;
}

}  // namespace

void Receiver::enter(LinkState state) {
    if (state == state_) return;
    state_ = state;
    words_.link_since_s.store(seconds_now(), std::memory_order_relaxed);
    if (state == LinkState::following) {
        followed_ = true;
        told_ = false;
    }
    if (state == LinkState::following) words_.link_down_since_s.store(0, std::memory_order_relaxed);
    words_.link_state.store(static_cast<uint32_t>(state), std::memory_order_release);
}

void Receiver::drop_link() {
    socket_.close();
    snapshot_ = Descriptor();
    log_.reset();
    under_way_.clear();
    batch_.clear();
    long_record_.clear();
    incoming_.reset();
    converting_ = false;
    halt_.clear();
    pair_heard_ = {};
    greeting_ = reached_ = marked_ = false;
    if (way_in_.unanswered() > 0) way_in_.close();  // those answers are of this link
    if (state_ == LinkState::following) words_.link_down_since_s.store(seconds_now(), std::memory_order_relaxed);
}

void Receiver::follow(const Settings& settings) {
    const bool same = settings.master == settings_.master && settings.password == settings_.password;
    if (settings.master != settings_.master) {
        followed_ = false;
        told_ = known_;
    }
    known_ = true;
    settings_ = settings;
    if (same) return;
    drop_link();
    next_try_ms_ = 0;
    last_fault_.clear();
    refused_pause_ms_ = kRefusedPauseMs;
    words_.link_refused.store(0, std::memory_order_relaxed);
    if (settings_.master.empty()) log::notice("this server follows nobody");
    else log::notice("this server follows {}", settings_.master);
    if (!settings_.master.empty() && words_.link_down_since_s.load() == 0) words_.link_down_since_s.store(seconds_now(), std::memory_order_relaxed);
    enter(settings_.master.empty() ? LinkState::none : LinkState::connect);
}

/// The same fault again and again is said once.
void Receiver::fail(std::string what, uint64_t pause_ms) {
    if (what != last_fault_) log::warning("the link to the master {} is broken: {}; it is tried again every {} s", settings_.master, what, pause_ms / 1000);
    last_fault_ = std::move(what);
    drop_link();
    next_try_ms_ = monotonic_us() / 1000 + (settings_.offer.empty() ? pause_ms : kOfferPauseMs);
    enter(LinkState::connect);
}

/// V6. What will not be otherwise so soon is tried again more and more seldom.
void Receiver::refuse(std::string what) {
    words_.link_refused.store(1, std::memory_order_relaxed);
    fail(std::move(what), refused_pause_ms_);
    refused_pause_ms_ = std::min(2 * refused_pause_ms_, kRefusedPauseMaxMs);
}

bool Receiver::reads() const {
    switch (state_) {
        case LinkState::connecting: return stage_ != Stage::dialing;
        case LinkState::waiting:
        case LinkState::receiving: return !converting_;
        case LinkState::following:
            if (stage_ == Stage::redis) return halt_.empty() && keeps_up();
            return under_way_.size() < kBatchesMax && way_in_.open();
        default: return false;
    }
}

void Receiver::promote() {
    drop_link();
    promoting_ = Promoting::wanted;
    enter(LinkState::connect);
}

/// Asked again over another connection if the first has ended, until md follows nobody.
bool Receiver::ask_for_promotion() {
    if (settings_.master.empty()) {
        promoting_ = Promoting::no;
        return true;
    }
    if (!way_in_.open()) {
        promoting_ = Promoting::wanted;
        return false;
    }
    if (promoting_ == Promoting::wanted) {
        const std::array<std::string_view, 3> call{"REPLICAOF", "NO", "ONE"};
        way_in_.send(call);
        way_in_.flush();
        promoting_ = Promoting::asked;
        return true;
    }
    if (!way_in_.read()) way_in_.close();
    if (!way_in_.next()) return false;
    promoting_ = Promoting::no;
    return true;
}

bool Receiver::turn(const Own& own, uint64_t now_ms) {
    if (promoting_ != Promoting::no) return ask_for_promotion();
    switch (state_) {
        case LinkState::none: return false;
        case LinkState::connect:
            if (now_ms < next_try_ms_ || !own.loaded) return false;
            dial(now_ms);
            return true;
        case LinkState::loading: return end_loading(own);
        default: break;
    }
    if (elapsed(now_ms, heard_ms_) > settings_.timeout_ms) return fail(fmt::format("nothing was heard of it for {} s", settings_.timeout_ms / 1000)), true;
    // Promoted, and a follower of the same master again, before anybody has looked.
    if (state_ == LinkState::following && !pair_ && own.loaded && own.history != called_ && own.history != called_before_) return fail(std::string(kOwnWay)), true;
    const bool worked = talk(own, now_ms);
    if (state_ == LinkState::following && is_damaged()) {
        say_damage("its memory is damaged: not all of it is what was written");
        return true;
    }
    if (state_ == LinkState::following) acknowledge(now_ms, worked);
    return worked;
}

bool Receiver::is_damaged() const { return words_.verify_damaged.load(std::memory_order_relaxed) != words_.damage_mended.load(std::memory_order_relaxed); }

/// V7. The master hears of it first.
void Receiver::say_damage(std::string_view what) {
    log::warning("THE DATA OF THIS SERVER IS NOT THAT OF ITS MASTER {}: {}; all of it is fetched anew", settings_.master, what);
    acknowledged_ms_ = 0;
    acknowledge(monotonic_us() / 1000, false);
    if (state_ == LinkState::following) fail("this server's data is fetched anew");
    next_try_ms_ = 0;
}

/// Names are looked up here and now; addresses cost nothing.
void Receiver::dial(uint64_t now_ms) {
    const auto [host, port] = master_address(settings_.master);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) return fail(fmt::format("its address is not known: {}", gai_strerror(error)));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
    Descriptor fd(socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int one = 1;
    if (fd.open()) setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!fd.open() || (connect(fd.get(), found->ai_addr, found->ai_addrlen) != 0 && errno != EINPROGRESS)) return fail(errno_text(errno));
    socket_ = StreamSocket(std::move(fd));
    stage_ = Stage::dialing;
    heard_ms_ = now_ms;
    enter(LinkState::connecting);
}

void Receiver::say_hello() {
    if (settings_.password.empty()) return ask_to_follow();
    stage_ = Stage::password;
    socket_.out() += command({"AUTH", settings_.password});
}

void Receiver::ask_to_follow() {
    stage_ = Stage::registering;
    const std::string protocol = std::to_string(kProtocol), port = std::to_string(settings_.port), instance = fmt::format("{:016x}", instance_), priority = std::to_string(settings_.priority);
    if (const size_t space = settings_.offer.find(' '); space != std::string::npos)
        socket_.out() += command({"MS_REGISTER_SLAVE", protocol, port, instance, priority, std::string_view(settings_.offer).substr(0, space), std::string_view(settings_.offer).substr(space + 1)});
    else
        socket_.out() += command({"MS_REGISTER_SLAVE", protocol, port, instance, priority});
}

/// An answer to a command, before frames begin. False: the link is at its end.
bool Receiver::hear_line() {
    const std::string_view in = socket_.in();
    const size_t end = in.find("\r\n");
    if (end == std::string_view::npos) return true;
    const std::string line(in.substr(0, end));
    if (stage_ == Stage::registering && line.find("unknown command") != std::string::npos) {
        socket_.drop(end + 2);
        stage_ = Stage::redis;
        return true;
    }
    if (stage_ == Stage::registering || line != "+OK") {
        fail(fmt::format("it answers: {}", line.substr(0, 200)));
        return false;
    }
    socket_.drop(end + 2);
    ask_to_follow();
    return true;
}

bool Receiver::talk(const Own& own, uint64_t now_ms) {
    if (stage_ == Stage::dialing) {
        int error = 0;
        socklen_t length = sizeof error;
        sockaddr_storage peer;
        socklen_t peer_length = sizeof peer;
        getsockopt(socket_.descriptor(), SOL_SOCKET, SO_ERROR, &error, &length);
        if (error != 0) return fail(errno_text(error)), true;
        if (getpeername(socket_.descriptor(), reinterpret_cast<sockaddr*>(&peer), &peer_length) != 0) return false;
        say_hello();
    }
    if (pair_) go_on_with_pair();
    const bool heard = (state_ == LinkState::following || (pair_ && state_ == LinkState::waiting && !under_way_.empty())) && hear_md();
    if (state_ == LinkState::connect) return true;
    if (reads()) {
        const size_t before = socket_.in().size();
        if (!socket_.read(std::max(kInMax, stage_ == Stage::redis ? stream_.needed() : 0))) return fail("it has closed the connection"), true;
        if (socket_.in().size() != before) heard_ms_ = now_ms;
    }
    words_.heard_ms.store(heard_ms_, std::memory_order_relaxed);
    const bool worked = (stage_ == Stage::redis ? talk_to_redis(own, now_ms) : take_frames(own)) || heard;
    if (state_ == LinkState::connect) return true;
    if (state_ == LinkState::following && !batch_.empty() && under_way_.size() < kBatchesMax) send_batch();
    if (socket_.open() && !socket_.flush()) return fail("it has closed the connection"), true;
    if (way_in_.open() && !way_in_.flush()) return fail("the io_conn that leads to md has ended"), true;
    return worked;
}

/// True when something has come; the link may have ended by then.
bool Receiver::take_frames(const Own& own) {
    bool worked = false;
    while (reads() && !socket_.in().empty()) {
        const auto is_line = stage_ == Stage::registering ? begins_a_line(socket_.in()) : stage_ == Stage::password;
        if (!is_line) break;
        if (*is_line) {
            const size_t before = socket_.in().size();
            if (!hear_line()) return true;
            if (stage_ == Stage::redis) return ask_redis(Asked::ping, own), true;
            if (socket_.in().size() == before) break;
            continue;
        }
        Frame frame;
        size_t taken = 0;
        const FrameOutcome outcome = read_frame(socket_.in(), nonce_, frame, taken);
        if (outcome == FrameOutcome::bad) return fail("what it sends does not check"), true;
        if (outcome == FrameOutcome::incomplete) break;
        if (!take_frame(frame, own)) return true;
        socket_.drop(taken);
        worked = true;
    }
    return worked;
}

/// False: the link has ended.
bool Receiver::take_frame(const Frame& frame, const Own& own) {
    switch (frame.head.kind) {
        case FrameKind::registered:
            if (stage_ != Stage::registering || frame.body.size() < sizeof nonce_) break;
            std::memcpy(&nonce_, frame.body.data(), sizeof nonce_);
            stage_ = Stage::framed;
            if (pair_) {
                enter(LinkState::waiting);
                greet_pair();
                return true;
            }
            append_frame(socket_.out(), nonce_, FrameKind::sync,
                         wants_everything() ? fmt::format("{:0>{}} 0", "", kHistoryBytes) : fmt::format("{} {}", own.history, own.stream));
            position_ = own.stream;
            enter(LinkState::waiting);
            return true;
        case FrameKind::partial:
            if (state_ == LinkState::waiting) return pair_ ? begin_pair_partial(frame) : begin_partial(frame, own);
            break;
        case FrameKind::reached:
        case FrameKind::mark: return take_pair_frame(frame);
        case FrameKind::full:
            if (state_ == LinkState::waiting) return begin_full(frame, own);
            break;
        case FrameKind::snapshot:
            if (state_ == LinkState::receiving && snapshot_.open()) return take_snapshot(frame);
            break;
        case FrameKind::records:
        case FrameKind::part:
            if (state_ == LinkState::following || (state_ == LinkState::receiving && !snapshot_.open())) return take_records(frame);
            break;
        case FrameKind::ping: words_.master_number.store(frame.head.number, std::memory_order_relaxed); return true;
        case FrameKind::refused:
            words_.link_refused.store(1, std::memory_order_relaxed);
            fail("it refuses: " + std::string(frame.body.substr(0, 200)));
            return false;
        default: break;
    }
    fail("it says what it should not");
    return false;
}

bool Receiver::begin_partial(const Frame& frame, const Own& own) {
    std::istringstream words{std::string(frame.body)};
    std::string history, second, end;
    words >> history >> second >> end;
    if (frame.head.number != own.stream || history.size() != kHistoryBytes) return fail("it does not go on where this server is"), false;
    position_ = applied_ = batch_from_ = batch_to_ = own.stream;
    acknowledged_ = 0;
    called_ = called_before_ = own.history;
    if (history != own.history) {
        if (!way_in_.open()) return fail("there is no way to md"), false;
        rename_history(history, undashed(second), std::strtoull(end.c_str(), nullptr, 10));
    }
    log::notice("partial sync with {} from number {} on", settings_.master, position_);
    last_fault_.clear();
    words_.link_refused.store(0, std::memory_order_relaxed);
    enter(LinkState::following);
    return true;
}

/// md is told what the data is called from now on, and then the file.
void Receiver::rename_history(const std::string& history, const std::string& second, uint64_t second_end) {
    name_ = {history, second, second_end, true};
    called_ = history;
    const std::string end = std::to_string(second_end);
    const std::string at = std::to_string(position_);
    const std::array<std::string_view, 5> call{"MS_HISTORY", history, second.empty() ? std::string_view("-") : std::string_view(second), end, at};
    way_in_.send(call);
    under_way_.push_back({position_, 0, {}, Call::history});
}

/// V4. What would be lost by a full sync, as a sentence; empty: nothing that anybody knows of.
std::string Receiver::loss(uint64_t stream, const Own& own) const {
    const bool older = new_second_ == own.history && new_second_end_ < own.stream;
    const bool another = followed_ && new_history_ != own.history && new_second_ != own.history && stream < own.stream;
    if (!settings_.refuses_older || told_ || !(older || another)) return {};
    return fmt::format("it has lost what this server has from it: it goes up to number {}, this server to {}; promote this server (REPLICAOF NO ONE), or set replica-refuse-older-master to no",
                       older ? new_second_end_ : stream, own.stream);
}

bool Receiver::begin_full(const Frame& frame, const Own& own) {
    std::istringstream words{std::string(frame.body)};
    uint64_t stream = 0;
    words >> snapshot_bytes_ >> start_ >> end_ >> new_history_ >> new_second_ >> new_second_end_ >> stream;
    if (!words || new_history_.size() != kHistoryBytes) return fail("it does not say what it is about to send"), false;
    new_second_ = undashed(new_second_);
    if (pair_) {
        uint64_t counts = 0, run = 0;
        if (!(words >> counts >> run >> pair_open_)) return fail("it is not half of a strict pair"), false;
        pair_epoch_ = store::PairEpoch::from(counts, run);
    } else if (const std::string lost = loss(stream, own); !lost.empty()) {
        words_.link_refused.store(1, std::memory_order_relaxed);
        return fail(lost), false;
    }
    const std::string to = disk::sync_folder_path(folder_);
    disk::remove_sync(folder_);
    if (mkdir(to.c_str(), 0700) != 0 && errno != EEXIST) return fail(fmt::format("{} cannot be made: {}", to, errno_text(errno))), false;
    snapshot_path_ = disk::snapshot_path(to, start_);
    snapshot_ = Descriptor(::open(disk::partial_path(snapshot_path_).c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
    if (!snapshot_.open()) return fail(fmt::format("{} cannot be made: {}", snapshot_path_, errno_text(errno))), false;
    snapshot_at_ = 0;
    last_ = start_;
    words_.sync_bytes.store(snapshot_bytes_, std::memory_order_relaxed);
    words_.sync_bytes_done.store(0, std::memory_order_relaxed);
    log::notice("full sync with {}: a snapshot of {:.1f} MB comes", settings_.master, static_cast<double>(snapshot_bytes_) / 1e6);
    enter(LinkState::receiving);
    return true;
}

bool Receiver::take_snapshot(const Frame& frame) {
    if (frame.head.number != snapshot_at_ || frame.body.size() > snapshot_bytes_ - snapshot_at_) return fail("a part of the snapshot is not the next one"), false;
    bool good = disk::write_at(snapshot_.get(), frame.body.data(), frame.body.size(), snapshot_at_);
    snapshot_at_ += frame.body.size();
    words_.sync_bytes_done.store(snapshot_at_, std::memory_order_relaxed);
    if (good && snapshot_at_ < snapshot_bytes_) return true;
    good = good && fsync(snapshot_.get()) == 0 && rename(disk::partial_path(snapshot_path_).c_str(), snapshot_path_.c_str()) == 0;
    if (!good) return fail(fmt::format("{} cannot be written: {}", snapshot_path_, errno_text(errno))), false;
    snapshot_ = Descriptor();
    log_ = std::make_unique<disk::LogWriter>(disk::sync_folder_path(folder_), disk::LogWriter::Options{instance_, ~uint64_t{0}, false});
    if (!log_->open_new(start_, true)) return fail(log_->sentence()), false;
    return end_ > start_ || finish_receiving();
}

bool Receiver::take_records(const Frame& frame) {
    if (frame.head.kind == FrameKind::part || !long_record_.empty()) {
        if (long_record_.size() + frame.body.size() > kRecordBytesMax) return fail("a record is longer than any can be"), false;
        long_record_ += frame.body;
        if (frame.head.kind == FrameKind::part) return true;
    }
    if (state_ == LinkState::following && frame.head.before != batch_to_) return fail(fmt::format("records behind {} came, and not behind {}", frame.head.before, batch_to_)), false;
    std::string_view left = long_record_.empty() ? frame.body : std::string_view(long_record_);
    while (!left.empty()) {
        RecordHead head;
        if (left.size() < sizeof head) return fail("a record is cut short"), false;
        std::memcpy(&head, left.data(), sizeof head);
        left.remove_prefix(sizeof head);
        if (head.bytes > left.size()) return fail("a record is cut short"), false;
        if (!take_record(head, left.substr(0, head.bytes))) return false;
        left.remove_prefix(head.bytes);
    }
    std::string().swap(long_record_);
    return state_ != LinkState::receiving || last_ < end_ || finish_receiving();
}

bool Receiver::take_record(const RecordHead& head, std::string_view effects) {
    return state_ == LinkState::receiving ? receive_record(head, effects) : apply_record(head, effects);
}

/// To the log behind the snapshot. Its stream number goes with it.
bool Receiver::receive_record(const RecordHead& head, std::string_view effects) {
    if (head.number <= last_) return fail("the numbers of its records do not rise"), false;
    std::string origin;
    EffectReader reader(effects);
    if (Effect first; !reader.next(first) || first.header.kind != EffectKind::origin)
        append_effect(origin, {EffectKind::origin, 0, 0, 0, 0, static_cast<int64_t>(head.stream)}, {}, {});
    const std::array<std::string_view, 2> pieces{origin, effects};
    bool good = true;
    if (effects.size() > kFrameBodyMax / 4) good = log_->add_large(head.number, pieces);
    else log_->add(head.number, pieces);
    if (good && log_->buffered_bytes() > kFrameBodyMax) good = log_->write();
    if (!good) return fail(log_->sentence()), false;
    last_ = head.number;
    return true;
}

/// V3.
bool Receiver::finish_receiving() {
    const std::string to = disk::sync_folder_path(folder_);
    if (!log_->write() || !log_->sync()) return fail(log_->sentence()), false;
    log_.reset();
    if (!disk::write_history(to, {new_history_, new_second_, new_second_end_, true}) || !disk::sync_folder(to) || !disk::complete_sync(folder_))
        return fail(fmt::format("{} cannot be written: {}", to, errno_text(errno))), false;
    reloading_from_ = 0;
    way_in_renewed_ = false;
    log::notice("full sync with {}: all has come, and is loaded", settings_.master);
    enter(LinkState::loading);
    return true;
}

/// The io_conn that led to the md before ends as well: another one has to.
bool Receiver::has_fresh_way_in() {
    if (!std::exchange(way_in_renewed_, true)) way_in_.close();
    return way_in_.open();
}

/// md is asked once for each connection to it, until it has another store.
bool Receiver::end_loading(const Own& own) {
    if (reloading_from_ == 0) {
        if (!own.loaded || !way_in_.open()) return false;
        reloading_from_ = own.generation;
        const std::array<std::string_view, 1> call{"MS_RELOAD"};
        way_in_.send(call);
        way_in_.flush();
        return true;
    }
    if (way_in_.open()) {
        if (!way_in_.read()) way_in_.close();
        if (!way_in_.open() && own.generation == reloading_from_) reloading_from_ = 0;  // who was asked has died, with the question perhaps
        while (const auto answer = way_in_.next())
            if (!answer->error.empty() && own.generation == reloading_from_) return fail("md does not load it: " + answer->error), true;
    }
    if (socket_.open()) acknowledge(monotonic_us() / 1000, false);
    if (!socket_.flush()) return fail("it has closed the connection"), true;
    if (!own.loaded || own.generation == reloading_from_) return false;
    if (!has_fresh_way_in()) return false;
    disk::remove_sync(folder_);
    is_different_ = false;
    words_.damage_mended.store(words_.verify_damaged.load(std::memory_order_relaxed), std::memory_order_relaxed);
    if (own.history != new_history_) return fail("what md has loaded is not what came"), true;
    position_ = applied_ = batch_from_ = batch_to_ = own.stream;
    called_ = called_before_ = own.history;
    if (stage_ == Stage::redis) begin_commands({own.stream, own.database});
    heard_ms_ = monotonic_us() / 1000;
    last_fault_.clear();
    words_.link_refused.store(0, std::memory_order_relaxed);
    enter(LinkState::following);
    return pair_ ? end_pair_loading() : true;
}

bool Receiver::apply_record(const RecordHead& head, std::string_view effects) {
    if (head.stream <= batch_to_) return true;  // md has it
    const bool alone = stands_alone(effects);
    if (!batch_.empty() && (alone || batch_.size() + effects.size() > kBatchBytes)) send_batch();
    batch_ += effects;
    batch_to_ = head.stream;
    ++batch_records_;
    if (alone) send_batch();
    return true;
}

void Receiver::send_batch() {
    const std::string from = std::to_string(batch_from_), to = std::to_string(batch_to_);
    const std::string link = std::to_string(pair_link());
    const std::array<std::string_view, 5> window{"MS_WINDOW", link, from, to, batch_};
    const std::array<std::string_view, 4> call{"MS_APPLY", from, to, batch_};
    if (pair_) way_in_.send(window);
    else way_in_.send(call);
    under_way_.push_back({batch_to_, batch_records_, {}, Call::batch});
    batch_from_ = batch_to_;
    batch_.clear();
    batch_records_ = 0;
}

/// True when md has answered something.
bool Receiver::hear_md() {
    if (!way_in_.open()) {
        if (!under_way_.empty()) fail("the io_conn that leads to md has ended");
        return false;
    }
    if (!way_in_.read()) return fail("the io_conn that leads to md has ended"), true;
    bool heard = false;
    while (const auto answer = way_in_.next()) {
        heard = true;
        if (!answer->error.empty() && stage_ == Stage::redis) return fail_command(answer->error), true;
        if (answer->error.starts_with("DIFFERENT ")) {
            is_different_ = true;
            return say_damage(answer->error.substr(answer->error.find(' ') + 1)), true;
        }
        if (!answer->error.empty()) return fail("md does not take what comes: " + answer->error), true;
        if (under_way_.empty()) return fail("md answers what nobody has asked"), true;
        const Batch batch = std::move(under_way_.front());
        under_way_.pop_front();
        records_applied_ += batch.records;
        if (batch.what == Call::batch || batch.what == Call::history) applied_ = batch.to;
        else if (!hear_pair_answer(batch.what, answer->status)) return fail("md does not go on with this connection: " + answer->status), true;
        if (batch.what == Call::history) called_before_ = called_;
        if (batch.what == Call::history && !disk::write_history(folder_, name_))
            log::warning("the file history cannot be written in {}: {}; after a start from disk all data comes anew", folder_, errno_text(errno));
    }
    return heard;
}

void Receiver::acknowledge(uint64_t now_ms, bool at_once) {
    if (stage_ == Stage::redis) return acknowledge_to_redis(now_ms);
    const Checked checked{words_.checked.load(std::memory_order_relaxed), words_.verify_done.load(std::memory_order_acquire), words_.verify_damaged.load(std::memory_order_relaxed)};
    const bool news = (at_once && applied_ > acknowledged_) || checked.verified != verified_ || checked.checked != checked_;
    if (!news && elapsed(now_ms, acknowledged_ms_) < kAcknowledgeMs) return;
    verified_ = checked.verified;
    checked_ = checked.checked;
    acknowledged_ = applied_;
    acknowledged_ms_ = now_ms;
    append_frame(socket_.out(), nonce_, FrameKind::acknowledged, {reinterpret_cast<const char*>(&checked), sizeof checked}, state_ == LinkState::loading ? 0 : applied_);
    if (!socket_.flush()) fail("it has closed the connection");
}

}  // namespace millrace::md_repl
