// The rule about poison requests: a request on which md itself has failed three times is answered with an error and set
// aside, so that it cannot end one md after the other. And the same for a store: one on which five md in a row have failed
// while they executed no request is damaged, and is put aside (store_segment.h). Runs in md.
//
// The words are in the store's root, outside of any list: `executing` names the request under way, `faulted` is set by the
// handler of our own fatal signals (a fault, an abort), and a kill by the watchdog is known from the control segment. The next
// md counts an attempt if one of the two was so. A kill from outside sets neither and never counts.
#pragma once

#include <cstdint>
#include <span>

#include "common/message.h"
#include "common/roster.h"
#include "common/store_layout.h"

namespace millrace::md {

class Poison {
  public:
    /// Attempts at a request after which it is set aside.
    static constexpr uint64_t kAttemptsMax = 3;
    /// Failures between requests, without an md that served well, after which the store is.
    static constexpr uint64_t kFaultsBetweenMax = 5;

    explicit Poison(store::Root& root) : root_(&root) {}

    /// At take-over, before anything of the store is followed: counts the predecessor's end as an attempt, or as a failure between
    /// requests, if it was one.
    void take_over(bool killed_by_watchdog);
    /// From here on our own fatal signals mark the attempt. Process-wide; the store must stay mapped.
    void install_handlers();

    /// Names a request for as long as it is executed; nobody else's is named so.
    static uint64_t name_of(unsigned channel, uint64_t generation, uint64_t position) {
        return (generation * 0x9e3779b97f4a7c15ull ^ position * 64 ^ channel) | 1;
    }
    /// The same for a request that came in fragments, which comes again in other places of the ring when md dies: by who asks and
    /// by what it begins with.
    static uint64_t name_of(unsigned channel, uint64_t generation, ConnectionId connection, std::span<const std::byte> request);
    void begin(uint64_t name) { __atomic_store_n(&root_->executing, name, __ATOMIC_RELAXED); }
    void end() { __atomic_store_n(&root_->executing, 0, __ATOMIC_RELAXED); }
    bool store_is_poison() const { return root_->faults_between >= kFaultsBetweenMax; }
    /// This md has served long enough to say that the store is good.
    void served_well() {
        if (root_->faults_between != 0) root_->faults_between = 0;
    }
    /// Whether the request is to be set aside.
    bool is_poison(uint64_t name) const { return root_->attempts >= kAttemptsMax && root_->attempted == name; }

  private:
    store::Root* root_;
};

}  // namespace millrace::md
