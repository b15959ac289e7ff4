// Looks at every image that an operation leaves behind: what if md died here? Recovery must give a store without a fault that
// holds what it held before the operation or after it, the oplog must tell the same story, recovering again must change
// nothing, the next md must be able to finish the work, and readers beside it must never have been told anything else.
// Used by tests/crash.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/crash/direct.h"
#include "tests/crash/scenario.h"
#include "tests/crash/stepper.h"

namespace millrace::crash {

/// What was done and found, over all scenarios.
struct Tally {
    uint64_t scenarios = 0, stores = 0, images = 0, checked = 0, redone = 0, nested = 0, finished = 0, answers = 0, direct_answers = 0, failures = 0;
};

class Judge {
  public:
    /// `states`: before the first operation, and after each.
    Judge(const Scenario& scenario, const Arena& arena, std::vector<Contents> states, Tally& tally);

    /// Looks at the arena as it is. False: enough failures.
    bool look(const Change& change);
    /// All operations are through.
    void end(const std::string& trouble);
    uint64_t failures() const { return failures_; }

  private:
    static constexpr uint64_t kFailuresShown = 3;    ///< of a scenario, which then ends
    static constexpr uint64_t kFinishEvery = 16;     ///< images from which the work is finished by a successor
    static constexpr uint64_t kCopyStep = 256;       ///< bytes from one image of a copy to the next, at most
    static constexpr uint64_t kRunChecked = 128;     ///< images of one long copy that are all checked
    static constexpr uint64_t kRunEvery = 32;        ///< and one of so many after those

    void fail(const Change& change, const std::string& what);
    bool worth_checking(const Change& change, uint64_t committed);
    std::string look_at_words(const Change& change, uint64_t committed);
    std::string look_at_versions(const md::StoreMemory& memory);
    std::string recover(const Change& change);
    std::string look_at_store(md::Store& store, const Change& change);
    std::string recover_again(const md::StoreMemory& memory);
    std::string finish(md::Store& store);
    std::string find_each(const md::Store& store, const Contents& contents) const;
    std::string step_recovery();
    uint64_t bytes_hash(const md::StoreMemory& memory) const;

    const Scenario& scenario_;
    const Arena& arena_;
    std::vector<Contents> states_;
    Tally& tally_;
    std::vector<Readers> readers_;
    std::vector<DirectReaders> direct_readers_;
    uint64_t oplog_tail_;
    ReplayedKeys values_;  ///< then
    unsigned state_ = 0;            ///< of the last image, recovered
    uint64_t committed_ = 0;        ///< in the last image
    uint64_t last_offset_ = 0, run_ = 0, until_next_ = 0;
    uint64_t failures_ = 0;
    unsigned nested_ = 0;
    uint64_t recovered_number_ = 0, recovered_hash_ = 0;  ///< what recovery made of the list with this number
    std::map<std::pair<uint64_t, uint64_t>, uint64_t> buckets_;  ///< address and even version: hash of what it held
};

}  // namespace millrace::crash
