// See failover.h. Runs in md_repl.
#include "md/repl/failover.h"

#include <fmt/format.h>

#include <sstream>
#include <vector>

#include "common/clock.h"
#include "common/log.h"

namespace millrace::md_repl {

void Failover::enter(FailoverState state) {
    state_ = state;
    words_.failover_state.store(static_cast<uint32_t>(state), std::memory_order_release);
}

void Failover::send(std::initializer_list<std::string_view> words) {
    const std::vector<std::string_view> call(words);
    way_in_.send(call);
    ++answers_wanted_;
}

void Failover::ask(const std::string& line, uint64_t now_ms) {
    std::istringstream words(line);
    std::string host;
    words >> host;
    if (host == "abort") {
        if (state_ == FailoverState::waiting) end("it was aborted");
        else if (state_ == FailoverState::handing) until_ms_ = now_ms;
        return;
    }
    uint64_t port = 0, force = 0, timeout_ms = 0;
    if (state_ != FailoverState::none || !(words >> port >> force >> timeout_ms)) return;
    host_ = host == "-" ? std::string() : host;
    port_ = static_cast<uint16_t>(port);
    force_ = force != 0;
    until_ms_ = timeout_ms == 0 ? 0 : now_ms + timeout_ms;
    paused_ = false;
    next_pause_ms_ = 0;
    answers_wanted_ = 0;
    log::notice("failover to {}: writes wait until it has everything", host_.empty() ? "a follower" : fmt::format("{} port {}", host_, port_));
    enter(FailoverState::waiting);
}

void Failover::end(const std::string& why) {
    log::notice("the failover has ended: {}", why);
    if (way_in_.open() && state_ == FailoverState::waiting) {
        send({"CLIENT", "UNPAUSE"});
        way_in_.flush();
    }
    enter(FailoverState::none);
}

/// False: the way in has ended, or md refuses. What was asked is asked again, or given up.
bool Failover::hear() {
    if (!way_in_.open()) {
        answers_wanted_ = 0;
        return false;
    }
    if (!way_in_.read()) {
        way_in_.close();
        answers_wanted_ = 0;
        return false;
    }
    while (answers_wanted_ > 0) {
        const auto answer = way_in_.next();
        if (!answer) break;
        --answers_wanted_;
        if (!answer->error.empty()) {
            log::warning("failover: md answers: {}", answer->error);
            continue;
        }
        paused_ = true;
    }
    return true;
}

/// The named follower, or any; one that has everything, unless forced.
const Sender* Failover::choose(const Standing& standing, const Senders& senders, bool forced) const {
    for (const auto& sender : senders) {
        if (!host_.empty() && (sender->peer().address != host_ || sender->peer().port != port_)) continue;
        if (sender->state() == ReplicaState::online && (forced || sender->acknowledged() == standing.stream)) return sender.get();
    }
    return nullptr;
}

void Failover::hand_over(const Sender& sender, const Standing& standing, bool forced, uint64_t until_ms) {
    target_ = sender.name();
    offer_ = fmt::format("{} {}", forced ? 0 : standing.stream, standing.history);
    until_ms_ = until_ms;
    log::notice("failover: this server follows {} from here on, which has everything up to number {}", target_, forced ? sender.acknowledged() : standing.stream);
    send({"REPLICAOF", sender.peer().address, std::to_string(sender.peer().port)});
    send({"CLIENT", "UNPAUSE"});
    way_in_.flush();
    enter(FailoverState::handing);
}

void Failover::wait(const Standing& standing, const Senders& senders, uint64_t patience_ms, uint64_t now_ms) {
    if (standing.following) return end("this server follows another one meanwhile");
    const bool over = until_ms_ != 0 && now_ms >= until_ms_;
    if (over && !force_) return end("no follower had everything in time");
    const bool was_paused = paused_;
    if (!hear()) return;
    if (now_ms >= next_pause_ms_) {
        next_pause_ms_ = now_ms + kRenewMs;
        send({"CLIENT", "PAUSE", std::to_string(kPauseMs), "WRITE"});
        way_in_.flush();
    }
    if (!was_paused) return;  // `standing` may be of before
    if (const Sender* const sender = choose(standing, senders, over && force_); sender != nullptr) return hand_over(*sender, standing, over && force_, now_ms + patience_ms);
    if (over) end("the follower is not there");
}

void Failover::turn(const Standing& standing, const Senders& senders, uint64_t patience_ms, uint64_t now_ms) {
    if (state_ == FailoverState::waiting) return wait(standing, senders, patience_ms, now_ms);
    if (state_ == FailoverState::none) {
        if (answers_wanted_ > 0) hear();
        // An io_conn that has said so, and died before it could say it here.
        if (words_.failover_state.load(std::memory_order_relaxed) == 0) claimed_ms_ = now_ms;
        else if (elapsed(now_ms, claimed_ms_) > kClaimMs) enter(FailoverState::none);
        return;
    }
    if (answers_wanted_ > 0) {
        hear();
        return;
    }
    if (receiver_.state() == LinkState::following) {
        offer_.clear();
        return end(fmt::format("{} is the master, and this server follows it", target_));
    }
    if (now_ms < until_ms_) return;
    log::warning("failover: {} does not take over; this server is the master again, and whether {} was promoted is not known", target_, target_);
    offer_.clear();
    receiver_.promote();
    end("the follower did not take over");
}

}  // namespace millrace::md_repl
