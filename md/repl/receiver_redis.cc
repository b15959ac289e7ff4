// Following a redis-server. Part of Receiver (receiver.h). Runs in md_repl.
//
// What is said, one thing after the other's answer, because Redis takes PSYNC only when it owes nothing:
//   AUTH, MS_REGISTER_SLAVE   -> an error, "unknown command": it is a redis-server
//   PING                      -> PONG
//   REPLCONF listening-port N -> whatever: for its INFO
//   REPLCONF capa eof capa psync2 -> whatever
//   PSYNC history offset      -> +CONTINUE [history]: its stream follows from that offset on
//                             -> +FULLRESYNC history offset: its RDB follows (redis_snapshot.h), then its stream from that offset on
//   then, once a second       REPLCONF ACK offset, or a line's end while the RDB is converted and loaded
// The history is Redis' replication id, the stream number its offset: what md has committed says where to go on, whoever has died.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>

#include "common/clock.h"
#include "common/log.h"
#include "common/text.h"
#include "md/repl/receiver.h"

namespace millrace::md_repl {

namespace {

constexpr size_t kQuotedMax = 200;
/// With fewer a transaction may clear databases: well below what md does in one (Plan::kKeysClearedMax), because what is under way may make more.
constexpr uint64_t kFewKeys = 50'000;

std::string command(std::initializer_list<std::string_view> words) {
    std::string text = fmt::format("*{}\r\n", words.size());
    for (const std::string_view word : words) text += fmt::format("${}\r\n{}\r\n", word.size(), word);
    return text;
}

bool is_history(std::string_view text) { return text.size() == kHistoryBytes && text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }

/// What is wrong, by an answer that is an error.
std::string answer_text(std::string_view otherwise, std::string_view line) {
    const bool later = line.starts_with("-NOMASTERLINK") || line.starts_with("-LOADING");
    return fmt::format("{}: {}", later ? "it is not ready yet" : otherwise, printable(line, kQuotedMax));
}

}  // namespace

void Receiver::ask_redis(Asked what, const Own& own) {
    asked_ = what;
    std::string& out = socket_.out();
    switch (what) {
        case Asked::ping: out += command({"PING"}); break;
        case Asked::port: out += command({"REPLCONF", "listening-port", std::to_string(settings_.port)}); break;
        case Asked::capabilities: out += command({"REPLCONF", "capa", "eof", "capa", "psync2"}); break;
        case Asked::psync:
            asked_for_ = {own.stream, own.database};
            called_ = called_before_ = own.history;
            if (is_history(own.history) && !wants_everything()) out += command({"PSYNC", own.history, std::to_string(own.stream + 1)});
            else out += command({"PSYNC", "?", "-1"});
            break;
        case Asked::nothing:
        case Asked::nothing_yet: break;
    }
}

/// True when something was done; the link may have ended by then.
bool Receiver::talk_to_redis(const Own& own, uint64_t now_ms) {
    bool worked = false;
    while (asked_ < Asked::nothing && !socket_.in().empty() && state_ != LinkState::connect) {
        if (!hear_redis(own)) break;
        worked = true;
    }
    if (state_ == LinkState::connect) return true;
    if (asked_ == Asked::nothing_yet && way_in_.open()) ask_redis(Asked::psync, own);  // what comes then has to go somewhere
    if (incoming_ != nullptr) return (converting_ ? convert_redis_snapshot(own, now_ms) : take_redis_snapshot()) || worked;
    if (state_ != LinkState::following) return worked;
    commands_.set_clears_together(own.keys < kFewKeys);
    return take_commands(now_ms) || worked;
}

/// False: nothing that is whole has come.
bool Receiver::hear_redis(const Own& own) {
    while (socket_.in().starts_with('\n')) socket_.drop(1);  // it lives
    const std::string_view in = socket_.in();
    const size_t end = in.find("\r\n");
    if (end == std::string_view::npos) {
        if (in.size() > kLineMax) fail("what it answers is no line");
        return false;
    }
    const std::string line(in.substr(0, end));
    socket_.drop(end + 2);
    switch (asked_) {
        case Asked::ping:
            if (line.starts_with("-NOAUTH")) fail("it wants a password: set masterauth");
            else if (line.starts_with("-")) fail(answer_text("it answers", line));
            else ask_redis(Asked::port, own);
            return true;
        case Asked::port: ask_redis(Asked::capabilities, own); return true;
        case Asked::capabilities: asked_ = Asked::nothing_yet; return true;
        default: return hear_psync(line, own);
    }
}

bool Receiver::hear_psync(const std::string& line, const Own& own) {
    std::istringstream words(line);
    std::string kind, history;
    int64_t offset = -1;
    words >> kind >> history >> offset;
    asked_ = Asked::nothing;
    if (kind == "+CONTINUE" && (history.empty() || is_history(history))) {
        if (!way_in_.open()) return fail("the io_conn that leads to md has ended"), true;
        if (own.history != called_) return fail(std::string(kOwnWay)), true;
        // What was under way over the link before may have been done since: md looks that it was not (NOTNEXT).
        position_ = applied_ = asked_for_.offset;
        if (!history.empty() && history != own.history) rename_history(history, own.history, position_);
        log::notice("partial sync with the redis-server {} from offset {} on", settings_.master, position_);
        begin_commands(asked_for_);
        enter(LinkState::following);
        return true;
    }
    if (kind == "+FULLRESYNC" && is_history(history) && offset >= 0) {
        new_history_ = history;
        new_second_.clear();
        incoming_ = std::make_unique<RedisSnapshot>(folder_, instance_);
        words_.sync_bytes.store(0, std::memory_order_relaxed);
        words_.sync_bytes_done.store(0, std::memory_order_relaxed);
        if (!incoming_->begin(history, static_cast<uint64_t>(offset))) return fail(incoming_->sentence()), true;
        enter(LinkState::waiting);
        return true;
    }
    fail(answer_text("it does not let this server follow", line));
    return true;
}

bool Receiver::take_redis_snapshot() {
    bool worked = false;
    while (!socket_.in().empty() && !converting_) {
        size_t taken = 0;
        const bool had_begun = incoming_->has_begun();
        const RedisSnapshot::Outcome outcome = incoming_->take(socket_.in(), taken);
        if (outcome == RedisSnapshot::Outcome::failed) return fail(incoming_->sentence(), kRefusedPauseMs), true;
        socket_.drop(taken);
        if (!had_begun && incoming_->has_begun()) {
            log::notice("full sync with the redis-server {}: its data comes{}", settings_.master, incoming_->bytes() == 0 ? "" : fmt::format(", {:.1f} MB", static_cast<double>(incoming_->bytes()) / 1e6));
            enter(LinkState::receiving);
        }
        words_.sync_bytes.store(incoming_->bytes(), std::memory_order_relaxed);
        words_.sync_bytes_done.store(incoming_->bytes_come(), std::memory_order_relaxed);
        converting_ = outcome == RedisSnapshot::Outcome::done;
        worked |= taken > 0;
        if (taken == 0) break;
    }
    if (converting_) log::notice("full sync with the redis-server {}: {:.1f} MB have come, and are read", settings_.master, static_cast<double>(incoming_->bytes_come()) / 1e6);
    return worked;
}

bool Receiver::convert_redis_snapshot(const Own& own, uint64_t now_ms) {
    const RedisSnapshot::Outcome outcome = incoming_->convert(monotonic_us() + kSliceUs);
    heard_ms_ = monotonic_us() / 1000;
    acknowledge_to_redis(now_ms);
    if (state_ == LinkState::connect) return true;
    if (outcome == RedisSnapshot::Outcome::failed) {
        if (incoming_->refused()) refuse(incoming_->sentence());
        else fail(incoming_->sentence(), kRefusedPauseMs);
        return true;
    }
    if (outcome == RedisSnapshot::Outcome::more) return true;
    // V4: offsets of another history say nothing, but a master that was restarted without its data has none.
    if (followed_ && !told_ && settings_.refuses_older && incoming_->keys() == 0 && own.keys > 0) {
        refuse(fmt::format("it has come back empty, and this server has {} keys from it; promote this server (REPLICAOF NO ONE), or set replica-refuse-older-master to no", own.keys));
        return true;
    }
    log::notice("full sync with the redis-server {}: {} keys, and are loaded", settings_.master, incoming_->keys());
    incoming_.reset();
    converting_ = false;
    reloading_from_ = 0;
    enter(LinkState::loading);
    return true;
}

void Receiver::begin_commands(RedisBatch::Place place) {
    stream_.drop();
    commands_.begin(place);
    halt_.clear();
    wants_to_hear_ = 0;
    acknowledged_ = acknowledged_ms_ = 0;
}

/// Whether md gets on with what it was given.
bool Receiver::keeps_up() const { return way_in_.open() && under_way_.size() < kPiecesMax && way_in_.unsent() < kUnsentMax; }

bool Receiver::take_commands(uint64_t now_ms) {
    size_t taken = 0;
    while (halt_.empty() && taken < kTurnBytes && keeps_up()) {
        const RedisStream::Outcome outcome = stream_.next(socket_.in());
        if (outcome == RedisStream::Outcome::incomplete) break;
        if (outcome == RedisStream::Outcome::bad) return fail(fmt::format("at offset {} of its stream what it sends is no command", commands_.place().offset)), true;
        const RedisBatch::Taken result = commands_.take(stream_.words(), stream_.length());
        if (result == RedisBatch::Taken::full) {
            send_commands(now_ms);
            continue;
        }
        if (result == RedisBatch::Taken::refused) {
            halt_ = commands_.sentence();
            break;
        }
        if (result == RedisBatch::Taken::asks) wants_to_hear_ = commands_.place().offset;
        taken += stream_.length();
        socket_.drop(stream_.length());
        stream_.drop();
    }
    if (keeps_up()) {
        // Offsets of what changes nothing are given to md now and then: a promoted server is to say how far it was.
        const bool is_idle = commands_.behind() && under_way_.empty() && elapsed(now_ms, given_ms_) >= kAcknowledgeMs;
        if (is_idle) send_commands(now_ms);
        while (commands_.ready() && keeps_up()) send_commands(now_ms);
    }
    words_.master_number.store(commands_.place().offset, std::memory_order_relaxed);
    if (!halt_.empty() && under_way_.empty() && !commands_.ready()) return refuse(std::string(halt_)), true;
    return taken > 0;
}

void Receiver::send_commands(uint64_t now_ms) {
    const RedisBatch::Request request = commands_.request();
    const std::array<std::string_view, 5> call{"MS_EXECUTE", request.from, request.from_database, request.to, request.to_database};
    way_in_.send(call, request.encoded, request.words);
    RedisBatch::Given given = commands_.given();
    under_way_.push_back({given.to, given.begins.size(), std::move(given.begins), Call::batch});
    given_ms_ = now_ms;
}

/// What md says in place of OK: "FAILED index what", or that it is somewhere else, or cannot just now.
void Receiver::fail_command(const std::string& error) {
    constexpr std::string_view kFailed = "FAILED ";
    size_t index = 0;
    const char* const begin = error.data() + kFailed.size();
    if (!error.starts_with(kFailed) || under_way_.empty()) return fail("md does not take what comes: " + error);
    const auto [end, fault] = std::from_chars(begin, error.data() + error.size(), index);
    if (fault != std::errc() || index >= under_way_.front().offsets.size()) return fail("md does not take what comes: " + error);
    refuse(fmt::format("at offset {} of its stream a command fails here that it has done:{}", under_way_.front().offsets[index], std::string_view(end, error.data() + error.size())));
}

/// V5.
void Receiver::acknowledge_to_redis(uint64_t now_ms) {
    const uint64_t reached = under_way_.empty() && commands_.idle() ? commands_.place().offset : applied_;
    const bool is_asked = state_ == LinkState::following && wants_to_hear_ != 0 && reached >= wants_to_hear_;
    if (!is_asked && elapsed(now_ms, acknowledged_ms_) < kAcknowledgeMs) return;
    acknowledged_ms_ = now_ms;
    if (is_asked) wants_to_hear_ = 0;
    if (state_ == LinkState::following) {
        if (acknowledged_ != 0 && halt_.empty()) {  // it has worked for a second
            last_fault_.clear();
            refused_pause_ms_ = kRefusedPauseMs;
            words_.link_refused.store(0, std::memory_order_relaxed);
        }
        acknowledged_ = std::max<uint64_t>(reached, 1);
        socket_.out() += command({"REPLCONF", "ACK", std::to_string(reached)});
    } else {
        socket_.out() += "\n";
    }
    if (!socket_.flush()) fail("it has closed the connection");
}

}  // namespace millrace::md_repl
