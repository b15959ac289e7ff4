// md's side of md_repl: the words that it makes for it (common/repl_words.h), and what md has to know of them. Runs in md.
#pragma once

#include <string>

#include "common/repl_words.h"
#include "common/segment.h"

namespace millrace::md {

class ReplLink {
  public:
    ReplLink() = default;
    /// Makes the words if there are none. Throws Error.
    ReplLink(const std::string& dir, uint64_t instance, uint64_t generation);

    /// Whether somebody follows, for whom the log is written (R2).
    bool needs_log() const { return words_ != nullptr && words_->needs_log.load(std::memory_order_relaxed) != 0; }
    /// Followers that were heard of lately.
    uint32_t good_replicas() const { return words_ == nullptr ? 0 : words_->good_replicas.load(std::memory_order_relaxed); }

  private:
    Segment segment_;
    ReplWords* words_ = nullptr;
};

}  // namespace millrace::md
