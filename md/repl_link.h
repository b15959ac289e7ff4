// md's side of md_repl: the words that it makes for it (common/repl_words.h), and what md has to know of them. Runs in md.
#pragma once

#include <string>
#include <string_view>

#include "common/repl_words.h"
#include "common/segment.h"

namespace millrace::md {

class ReplLink {
  public:
    ReplLink() = default;
    /// Makes the words if there are none. Throws Error.
    ReplLink(const std::string& dir, uint64_t instance, uint64_t generation);

    ReplWords& words() { return *words_; }
    /// Whether somebody follows, for whom the log is written (R2).
    bool needs_log() const { return words_ != nullptr && words_->needs_log.load(std::memory_order_relaxed) != 0; }
    /// Why writes are not executed now; empty: they are. `applies`: it is the master's doing.
    std::string_view refusal(bool follows, bool applies) const;
    /// None before the link is made.
    ReplWords* words_if_any() { return words_; }
    /// Takes over what the options say; whenever they have changed.
    void use(int64_t min_replicas, bool waits_for_replicas, int64_t acks, bool read_only);

  private:
    Segment segment_;
    ReplWords* words_ = nullptr;
    uint32_t good_wanted_ = 0;    ///< followers that have to have been heard of lately
    uint32_t online_wanted_ = 0;  ///< that have to get records as they are made
    bool read_only_ = true;
};

}  // namespace millrace::md
