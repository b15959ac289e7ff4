// What md_repl brings from the other server of a strict pair, and the order to go on without it (strict_pair.h). Runs in md; handlers only (see handlers.h).
#include <fmt/format.h>

#include <array>
#include <cstdlib>

#include "common/text.h"
#include "md/commands_replication.h"
#include "md/handlers.h"
#include "md/pair_link.h"

namespace millrace::md {

namespace {

/// The words behind the first two of MS_PAIR: decimal numbers.
class Numbers {
  public:
    explicit Numbers(Arguments words) : words_(words) {}
    uint64_t next() {
        if (at_ == words_.size()) {
            good_ = false;
            return 0;
        }
        const std::string word(words_[at_++]);
        char* end = nullptr;
        const uint64_t number = std::strtoull(word.c_str(), &end, 10);
        good_ = good_ && !word.empty() && *end == '\0';
        return number;
    }
    PairEpoch epoch() {
        const uint64_t counts = next();
        return PairEpoch::from(counts, next());
    }
    bool good() const { return good_ && at_ == words_.size(); }

  private:
    Arguments words_;
    size_t at_ = 0;
    bool good_ = true;
};

/// False: there is no such message.
bool read_message(std::string_view name, Numbers& numbers, PairEvent& event) {
    event.link = numbers.next();
    if (name == "HELLO") {
        event.kind = PairEventKind::hello;
        event.epoch = numbers.epoch();
        event.number = numbers.next();
        event.complete = numbers.next() != 0;
        event.fresh = numbers.next() != 0;
        event.voided.epoch = numbers.epoch();
        event.voided.cut = numbers.next();
    } else if (name == "SYNCED") {
        event.kind = PairEventKind::synced;
        event.epoch = numbers.epoch();
        event.number = numbers.next();
        event.checksum = numbers.next();
    } else if (name == "CONNECTED") {
        event.kind = PairEventKind::connected;
    } else if (name == "PARTIAL") {
        event.kind = PairEventKind::partial;
        event.epoch = numbers.epoch();
        event.number = numbers.next();
        event.cut = numbers.next();
    } else if (name == "LOADED") {
        event.kind = PairEventKind::loaded;
        event.epoch = numbers.epoch();
    } else if (name == "REACHED") {
        event.kind = PairEventKind::reached;
        event.epoch = numbers.epoch();
        event.number = numbers.next();
        event.open = numbers.next() != 0;
    } else if (name == "MARK") {
        event.kind = PairEventKind::mark;
        event.epoch = numbers.epoch();
        event.number = numbers.next();
    } else {
        return false;
    }
    return numbers.good();
}

}  // namespace

/// MS_PAIR message link [numbers ...]: answered with a word, and numbers, or with IGNORED, which ends the connection to the other server.
void handle_ms_pair(Plan& plan, Arguments arguments) {
    PairEvent event;
    Numbers numbers(arguments.subspan(1));
    if (!read_message(arguments[0], numbers, event)) return plan.reply().error(error_text::kSyntax);
    event.own_fresh = plan.pair_is_fresh();
    event.own_checksum = plan.checksum().value_or(0);
    if (event.checksum == 0 || event.own_checksum == 0) event.checksum = event.own_checksum = 0;  // one of both does not keep it yet; it is compared later (R5 of repl_words.h)
    const PairStep made = plan.step_pair(event);
    switch (made.answer) {
        case PairAnswer::none:
            if (event.kind == PairEventKind::reached) return plan.reply().status(fmt::format("REACHED {}", plan.checksum().value_or(0)));
            return plan.reply().ok();
        case PairAnswer::ignored: return plan.reply().status("IGNORED");
        case PairAnswer::partial: return plan.reply().status(fmt::format("PARTIAL {} {}", made.from, made.cut));
        case PairAnswer::full: return plan.reply().status("FULL");
        case PairAnswer::fenced: return plan.reply().status("FENCED");
        case PairAnswer::cold: return plan.reply().status("COLD");
        case PairAnswer::mark: return plan.reply().status("MARK");
    }
}

/// MS_WINDOW link from to effects [effects ...]: as MS_APPLY, from the primary at the other end of this connection.
void handle_ms_window(Plan& plan, Arguments arguments) {
    Numbers link(arguments.subspan(0, 1));
    if (!plan.takes_window(link.next()) || !link.good()) return plan.reply().error("IGNORED the connection is not the one that counts");
    apply_effects(plan, arguments.subspan(1));
}

/// MS_ALONE yes|no: writes are acknowledged without the other server until it is in sync; or not any more.
void handle_ms_alone(Plan& plan, Arguments arguments) {
    const bool yes = equals_ignoring_case(arguments[0], "yes");
    if (!yes && !equals_ignoring_case(arguments[0], "no")) return plan.reply().error(error_text::kSyntax);
    if (!plan.is_strict()) return plan.reply().error("ERR this server is not half of a strict pair (replication-mode strict)");
    PairEvent event;
    event.kind = yes ? PairEventKind::alone : PairEventKind::end_alone;
    const PairStep made = plan.step_pair(event);
    if (!made.refusal.empty()) return plan.reply().error(fmt::format("ERR {}", made.refusal));
    plan.reply().ok();
}

}  // namespace millrace::md
