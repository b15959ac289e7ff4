// A secondary's side of a strict pair's link. Part of Receiver (receiver.h); the rules are those of tests/model/README.md. Runs in md_repl.
//
//   registered ──► md hears of the link (MS_PAIR CONNECTED) ──► its record is looked at ──► HELLO ──► partial, records ─┐
//                                                                                       └─► full, records, loading ──┴─► reached ──► SYNCED ──► mark ...
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/log.h"
#include "common/random.h"
#include "md/repl/receiver.h"

namespace millrace::md_repl {

/// `numbers`: words behind the link.
void Receiver::ask_md_of_pair(Call what, std::string_view message, std::string_view numbers) {
    std::vector<std::string> words{"MS_PAIR", std::string(message), std::to_string(pair_link())};
    std::istringstream in{std::string(numbers)};
    for (std::string word; in >> word;) words.push_back(word);
    way_in_.send(std::vector<std::string_view>(words.begin(), words.end()));
    under_way_.push_back({batch_to_, 0, {}, what});
}

/// What has come over an older connection is not taken from here on; only then can be said what this server has.
void Receiver::greet_pair() {
    if (!way_in_.open()) return fail("there is no way to md");
    pair_heard_ = {};
    pair_heard_.link = random_number<uint64_t>() | 1;
    greeting_ = true;
}

/// After the record was looked at, and is on disk.
void Receiver::go_on_with_pair() {
    if (stage_ != Stage::framed) return;
    if (greeting_ && pair_->link == pair_link()) {
        greeting_ = false;
        append_frame(socket_.out(), nonce_, FrameKind::hello,
                     fmt::format("{} {} {:d} {:d} {} {}", text_of(pair_->epoch), pair_->number, pair_->is_complete() && !wants_everything(), pair_->is_fresh(), text_of(pair_->void_epoch), pair_->void_cut));
    } else if (greeting_ && under_way_.empty()) {
        ask_md_of_pair(Call::connected, "CONNECTED", {});
    }
    if (reached_ && pair_->link == pair_link() && pair_->epoch == pair_epoch_ && pair_->number == reached_number_) {
        reached_ = false;
        append_frame(socket_.out(), nonce_, FrameKind::synced, fmt::format("{} {}", text_of(pair_epoch_), reached_checksum_), pair_->number);
    }
}

bool Receiver::begin_pair_partial(const Frame& frame) {
    std::istringstream words{std::string(frame.body)};
    std::string strict;
    uint64_t counts = 0, run = 0, cut = 0;
    if (!(words >> strict >> counts >> run >> cut) || strict != "strict") return fail("it is not half of a strict pair"), false;
    if (!way_in_.open()) return fail("there is no way to md"), false;
    pair_epoch_ = store::PairEpoch::from(counts, run);
    pair_open_ = false;
    position_ = applied_ = batch_from_ = batch_to_ = frame.head.number;
    acknowledged_ = 0;
    ask_md_of_pair(Call::partial, "PARTIAL", fmt::format("{} {} {}", text_of(pair_epoch_), frame.head.number, cut));
    log::notice("strict pair: partial sync with {} from number {} on", settings_.master, position_);
    last_fault_.clear();
    words_.link_refused.store(0, std::memory_order_relaxed);
    enter(LinkState::following);
    return true;
}

bool Receiver::end_pair_loading() {
    if (!way_in_.open()) return fail("there is no way to md"), true;
    ask_md_of_pair(Call::loaded, "LOADED", text_of(pair_epoch_));
    return true;
}

/// False: the link has ended.
bool Receiver::take_pair_frame(const Frame& frame) {
    if (!pair_ || state_ != LinkState::following || !way_in_.open()) return fail("it says what it should not"), false;
    if (!batch_.empty()) send_batch();
    if (frame.head.kind == FrameKind::reached) {
        reached_number_ = frame.head.number;
        ask_md_of_pair(Call::reached, "REACHED", fmt::format("{} {} {:d}", text_of(pair_epoch_), reached_number_, pair_open_));
        batch_from_ = batch_to_ = std::max(batch_to_, reached_number_);
    } else if (!marked_) {
        marked_ = true;
        ask_md_of_pair(Call::mark, "MARK", fmt::format("{} {}", text_of(pair_epoch_), frame.head.number));
    } else {
        pair_heard_.epoch_counts = pair_epoch_.counts();
        pair_heard_.epoch_run = pair_epoch_.run;
        pair_heard_.marked = std::max(pair_heard_.marked, frame.head.number);
    }
    return true;
}

bool Receiver::hear_pair_answer(Call what, std::string_view status) {
    if (status == "IGNORED" && what == Call::partial && pair_ && pair_->link == pair_link() && pair_->is_complete())
        log::warning("strict pair: this server has acknowledged writes that {} lacks, which both were told to do; promote this server (REPLICAOF NO ONE) to keep them, or start it without its data to give them up",
                     settings_.master);
    if (status == "IGNORED") return false;
    constexpr std::string_view kReached = "REACHED ";
    if (what != Call::reached) return true;
    if (!status.starts_with(kReached)) return false;
    reached_checksum_ = 0;
    std::from_chars(status.data() + kReached.size(), status.data() + status.size(), reached_checksum_);
    reached_ = true;
    return true;
}

}  // namespace millrace::md_repl
