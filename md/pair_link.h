// md's side of a strict pair: what md_repl has heard from the other server becomes steps of the state machine (strict_pair.h), each a commit, and so do the clock and
// the start. Runs in md.
//
// What needs an answer comes as commands over md_repl's connection (commands_pair.cc); what comes with every write, CONFIRM and MARK, stands in words
// (common/repl_words.h) that are looked at once a turn. md_repl in turn looks at the record in the root (common/pair_layout.h), and sends nothing before the file has it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/repl_words.h"
#include "common/wakeup.h"
#include "md/store.h"

namespace millrace::md {

class PairLink {
  public:
    /// Words of md_repl; a bell for it.
    void open(const std::string& dir, ReplWords& words);
    /// Before md serves: begins, goes on with, or ends being half of a pair, as `replication-mode` says. Throws Error.
    void begin(Store& store, const std::string& folder);
    /// Once a turn: what was heard, R4's time, what the file has, what was confirmed. True when there is more to do at once.
    bool turn(Store& store, uint64_t now_us);
    /// Takes over what the options say.
    void use(int64_t timeout_ms) { timeout_us_ = static_cast<uint64_t>(timeout_ms) * 1000; }
    /// Whether io_conn have to hear that more is shown than at the last call.
    bool shows_more(const Store& store);
    /// Whether there is a time to be waited for.
    bool waits(const Store& store) const { return store.window().is_on() && store.shown() != st::kAllShown; }
    /// Why writes are not executed now; empty: they are, or this is no strict pair.
    std::string_view refusal(const Store& store) const;

    static constexpr std::string_view kIncomplete = "NOREPLICAS This server of a strict pair has no complete data yet; the other one has, or has to be told.";

  private:
    static constexpr unsigned kReleaseEntries = 64;  ///< of the window, in one turn

    void hear(Store& store);
    void watch(Store& store, uint64_t now_us);
    void make(Store& store, const PairEvent& event);

    ReplWords* words_ = nullptr;
    std::optional<Bell> bell_;
    uint64_t timeout_us_ = 0;
    uint64_t heard_version_ = 0, heard_link_ = 0;
    uint64_t watched_ = 0, watched_since_us_ = 0;  ///< number of the oldest open commit, and since when it is that
    uint64_t shown_ = st::kAllShown, filing_ = 0, refused_to_ = 0;  ///< as io_conn have heard of them
    uint64_t rung_at_ = 0;  ///< what md_repl looks at, mixed
};

/// A step that somebody should know of, in the log.
void tell(const PairRecord& before, const PairStep& made);

}  // namespace millrace::md
