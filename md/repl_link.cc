// See repl_link.h. Runs in md.
#include "md/repl_link.h"

#include <unistd.h>

#include "common/paths.h"

namespace millrace::md {

ReplLink::ReplLink(const std::string& dir, uint64_t instance, uint64_t generation) {
    const SegmentSpec spec{paths::repl_words(dir), kReplWordsLayout, instance, generation, kSegmentPayload + sizeof(ReplWords)};
    if (access(spec.path.c_str(), F_OK) == 0) {
        segment_ = Segment::attach(spec, Access::read_write);
    } else {
        segment_ = Segment::create(spec);
        segment_.payload<ReplWords>()->keep_from.store(kKeepNothing);
        segment_.publish();
    }
    words_ = segment_.payload<ReplWords>();
}

void ReplLink::use(int64_t min_replicas, bool waits_for_replicas, int64_t acks, bool read_only) {
    good_wanted_ = static_cast<uint32_t>(min_replicas);
    online_wanted_ = waits_for_replicas ? static_cast<uint32_t>(acks) : 0;
    read_only_ = read_only;
}

std::string_view ReplLink::refusal(bool follows, bool applies) const {
    if (follows) return read_only_ && !applies ? std::string_view("READONLY You can't write against a read only replica.") : std::string_view();
    if ((good_wanted_ | online_wanted_) == 0 || words_ == nullptr) return {};
    const bool enough = words_->good_replicas.load(std::memory_order_relaxed) >= good_wanted_ && words_->online_replicas.load(std::memory_order_relaxed) >= online_wanted_;
    return enough ? std::string_view() : "NOREPLICAS Not enough good replicas to write.";
}

}  // namespace millrace::md
