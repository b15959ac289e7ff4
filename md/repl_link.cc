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

}  // namespace millrace::md
