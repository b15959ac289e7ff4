// The marks' segment: found as a predecessor left it, or made anew. Runs in md.
#pragma once

#include <cstdint>
#include <string>

#include "common/segment.h"
#include "md/marks.h"

namespace millrace::md {

class MarksSegment {
  public:
    /// For a store of so many bytes, addresses and not memory. Throws Error.
    MarksSegment(const std::string& path, uint64_t instance, uint64_t generation, uint64_t store_bytes);
    ~MarksSegment();
    MarksSegment(const MarksSegment&) = delete;

    /// Valid as long as this object.
    Marks marks(uint64_t seed) const;

  private:
    Segment segment_;
    int fd_ = -1;
};

}  // namespace millrace::md
