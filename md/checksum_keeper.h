// When md keeps checksums of its data, says them to its followers, and takes them anew (R5, R6 of common/repl_words.h). Runs in md.
#pragma once

#include "common/repl_words.h"
#include "md/log_link.h"
#include "md/plan.h"
#include "md/repl_link.h"
#include "md/store.h"

namespace millrace::md {

class ChecksumKeeper {
  public:
    /// Once a turn, which began at `now_us`. True when there is more to do at once.
    bool tend(Store& store, ReplLink& repl, LogLink& log, uint64_t now_us);
    /// The master has said its checksum at `number`, and the operation that heard of it is committed.
    void note(ReplLink& repl, uint64_t number, const Plan::MasterChecksum& said);

  private:
    /// A turn spends so much time on taking checksums; requests wait for it.
    static constexpr uint64_t kSliceUs = 100;

    bool walk(Store& store, ReplWords& words);
    void say(Store& store, ReplWords& words);

    uint64_t check_seen_ = 0;   ///< value of check_wanted
    uint64_t walk_for_ = 0;     ///< verify_wanted when the walk began
    uint64_t next_look_us_ = 0, next_check_us_ = 0;
};

}  // namespace millrace::md
