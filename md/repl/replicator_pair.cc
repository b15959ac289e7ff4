// A strict pair as md_repl's loop sees it: the file, what goes between the other server and md, what md is told of by words. Part of Replicator (replicator.h).
// Runs in md_repl.
//
// The order of a turn keeps R3: md's answers are heard, then the record is looked at, then the file is forced to disk, and only then is anything sent.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/pair_file.h"
#include "common/log.h"
#include "common/random.h"
#include "common/versioned_words.h"
#include "md/repl/replicator.h"

namespace millrace::md_repl {

/// False: nothing may be sent, because the file does not have what it has to say first.
bool Replicator::file_pair() {
    if (!standing_.pair) return true;
    const PairView& pair = *standing_.pair;
    if (words_->pair_filed_run.load(std::memory_order_relaxed) == pair.run && words_->pair_filed.load(std::memory_order_relaxed) >= pair.file_wanted) return true;
    disk::PairFile file;
    file.role = pair.standing.role;
    file.epoch = pair.epoch;
    file.heard = static_cast<uint32_t>(pair.heard);
    file.void_epoch = pair.void_epoch;
    file.void_cut = pair.void_cut;
    // A server that has not been in a pair has nothing to say.
    if (!pair.epoch.is_none() && !disk::write_pair(folder_, file)) {
        if (elapsed(now_ms_, pair_fault_ms_) > kFaultMs || pair_fault_ms_ == 0)
            log::warning("{} cannot be written: {}; answers and the other server of the strict pair wait for it", disk::pair_path(folder_), errno_text(errno));
        pair_fault_ms_ = now_ms_;
        return false;
    }
    words_->pair_filed_run.store(0, std::memory_order_release);
    words_->pair_filed.store(pair.file_wanted, std::memory_order_release);
    words_->pair_filed_run.store(pair.run, std::memory_order_release);
    md_bell_.ring();
    return true;
}

void Replicator::tell_md(const PairHeard& heard) {
    if (std::memcmp(&heard, &heard_, sizeof heard) == 0) return;
    heard_ = heard;
    write_versioned(words_->pair.version, words_->pair.words, &heard_);
    md_bell_.ring();
}

Sender* Replicator::pair_sender() {
    for (const auto& sender : senders_)
        if (sender->link() != 0 && sender->link() == heard_.link) return sender.get();
    return nullptr;
}

/// What the secondary has said goes to md, in order.
void Replicator::ask_md(Sender& sender) {
    if (!standing_.pair || standing_.following || !way_in_.open()) return;
    std::optional<std::string> message = sender.take_pair_message();
    if (!message) return;
    const bool hello = message->starts_with("HELLO");
    if (hello) {
        const auto is_another = [&sender](const auto& other) { return other->link() != 0 && other->peer().instance != sender.peer().instance; };
        if (const auto other = std::ranges::find_if(senders_, is_another); other != senders_.end()) {
            log::warning("strict pair: {} may not follow: {} is this server's secondary", sender.name(), (*other)->name());
            return sender.refuse("this server of a strict pair has a secondary already");
        }
        sender.set_link(random_number<uint64_t>() | 1);
        PairHeard heard{};
        heard.link = sender.link();
        tell_md(heard);  // before md has it: a link that is not there is lost
    } else if (sender.link() != heard_.link) {
        return;
    }
    std::vector<std::string> words{"MS_PAIR"};
    std::istringstream in(*message);
    for (std::string word; in >> word;) {
        // The data of both has differed: whatever it has, it gets a copy.
        if (hello && words.size() == kHelloComplete && full_sync_of_ == sender.peer().instance) word = '0';
        words.push_back(word);
        if (words.size() == 2) words.push_back(std::to_string(sender.link()));
    }
    way_in_.send(std::vector<std::string_view>(words.begin(), words.end()));
    pair_asked_.push_back({sender.link(), hello});
}

/// Before the record is looked at: what follows from an answer is sent after the file.
void Replicator::hear_md_of_pair() {
    if (pair_asked_.empty()) return;
    if (!way_in_.open() || !way_in_.read()) {
        way_in_.close();
        pair_asked_.clear();
        senders_.remove_if([](const auto& sender) { return sender->link() != 0; });
        return;
    }
    while (const auto answer = way_in_.next()) {
        if (pair_asked_.empty()) return way_in_.close();
        pair_answers_.push_back({pair_asked_.front(), answer->error.empty() ? answer->status : answer->error});
        pair_asked_.pop_front();
    }
}

/// False: the link has ended.
bool Replicator::follow_answer(Sender& sender, const PairAnswered& answered) {
    if (answered.asked.hello) {
        if (answered.text == "FENCED" || answered.text == "COLD") {
            sender.refuse(answered.text == "FENCED" ? "this server is in a lower epoch, and is no primary any more: somebody has to say who is (REPLICAOF)"
                                                    : "this server of a strict pair has no complete data: promote the other one (REPLICAOF NO ONE), or start with what is here (MS_ALONE yes)");
            bool moved = false;
            sender.pump(moved);
            return false;
        }
        if (!standing_.pair || standing_.pair->link != sender.link()) return false;
        const bool good = sender.begin_pair(answered.text, standing_);
        if (good) log::notice("strict pair: {} is given {}", sender.name(), answered.text);
        return good;
    }
    if (answered.text == "MARK") {
        full_sync_of_ = 0;
        sender.begin_marks();
        log::notice("strict pair: in sync with {}", sender.name());
        return true;
    }
    if (answered.text == "FULL") {
        log::warning("strict pair: the data of {} differs from this server's; it gets all of it anew", sender.name());
        full_sync_of_ = sender.peer().instance;
    }
    return false;
}

void Replicator::follow_answers() {
    for (const PairAnswered& answered : pair_answers_)
        senders_.remove_if([&](const auto& sender) { return sender->link() == answered.asked.link && !follow_answer(*sender, answered); });
    pair_answers_.clear();
}

/// Whether the log's files have all that md has done up to now.
bool Replicator::log_is_whole() const {
    const uint64_t tail = root(offsetof(st::Root, oplog_tail));
    return log_words_->released.load(std::memory_order_acquire) >= tail;
}

/// A turn of a primary: links that md has let go of end.
void Replicator::serve_pair() {
    if (!standing_.pair || standing_.following) return;
    const bool whole = log_is_whole();
    follow_answers();
    senders_.remove_if([this](const auto& sender) {
        if (sender->link() == 0) return false;
        const bool asked = std::ranges::any_of(pair_asked_, [&](const PairAsked& each) { return each.link == sender->link() && each.hello; });
        const bool goes = sender->link() != heard_.link || (!asked && standing_.pair->link != sender->link());
        if (goes) log::notice("strict pair: the link of {} has ended: md has let go of it", sender->name());
        return goes;
    });
    for (const auto& sender : senders_) {
        sender->look_at_pair(standing_, whole);
        ask_md(*sender);
    }
    if (way_in_.open() && !way_in_.flush()) way_in_.close();
}

/// Behind serve_senders(): what the other server has confirmed.
void Replicator::tell_confirmed() {
    if (!standing_.pair || standing_.following) return;
    PairHeard heard = heard_;
    if (const Sender* const sender = pair_sender(); sender == nullptr) {
        heard = {};
    } else {
        heard.epoch_counts = standing_.pair->epoch.counts();
        heard.epoch_run = standing_.pair->epoch.run;
        heard.confirmed = sender->acknowledged();
    }
    tell_md(heard);
}

}  // namespace millrace::md_repl
