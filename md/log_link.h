// md's side of md_log: whether the oplog is wanted, how far it has been read, whether writes are refused; and waking md_log.
// Layout and invariants: common/log_words.h, common/oplog_ring.h. Runs in md.
#pragma once

#include <string>

#include "common/disk_refusals.h"
#include "common/log_words.h"
#include "common/segment.h"
#include "common/wakeup.h"
#include "md/store.h"

namespace millrace::md {

class LogLink {
  public:
    LogLink() = default;
    /// Makes the words if there are none. `store_generation`: of the store's segment. Throws Error.
    /// `strict`: nothing is durable until md_log says so.
    LogLink(const std::string& dir, uint64_t instance, uint64_t generation, uint64_t store_generation, bool strict);

    /// Once a turn: switches the oplog on or off, and takes back what md_log has read. True when there is more to take back.
    /// `replicated`: others follow, who need the log, and soon.
    bool follow(Store& store, bool replicated);
    /// Whether the oplog has room for what any command may do; takes back what has been read since, if not.
    bool has_room(Store& store);
    /// Whether commands are to be executed now: there is room, or what would need it is refused anyway.
    bool takes(Store& store) { return has_room(store) || !refusal().empty(); }
    /// What writes are refused with; empty: they are not.
    std::string_view refusal() const { return words_ != nullptr && refuses_writes(*words_) ? refusal_text() : std::string_view(); }
    /// After the replies of a turn have been published: md_log hears of what there is to read, if it has to at once.
    void publish(const Store& store, bool replicated);
    /// Around parking: whether md is to be woken when md_log has read something.
    void want_room(bool wanted);
    bool wants_room() const { return wants_room_; }
    LogWords& words() { return *words_; }

  private:
    /// md_log looks by itself often enough; it is woken when so much of the ring is full.
    static constexpr uint64_t kWakeShare = 8;

    std::string_view refusal_text() const;
    uint64_t released() const;

    Segment segment_;
    LogWords* words_ = nullptr;
    Bell bell_;
    uint64_t store_generation_ = 0;
    uint64_t rung_at_ = 0;  ///< tail
    bool wants_room_ = false;
    mutable std::string text_;
};

}  // namespace millrace::md
