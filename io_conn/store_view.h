// The store as an io_conn sees it: mapped for reading only. It reads the replies that md leaves there. Runs in io_conn.
//
// A reply record is read between the message that names it and the `release` that this io_conn answers with; until then md
// changes nothing of it, and keeps the large values that it refers to (common/store_layout.h, ReplyRecord).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "common/racing_copy.h"
#include "common/segment.h"
#include "common/store_layout.h"

namespace millrace::io_conn {

class StoreView {
  public:
    StoreView() = default;
    /// Throws Error.
    StoreView(const std::string& path, uint64_t instance);

    /// Whether the file at the path is still the one that is mapped: a store that could not be used is made anew.
    bool is_current() const { return segment_.is_current(); }

    /// The segment's first byte. What md may be changing is read by DirectReader only.
    const std::byte* base() const { return segment_.payload<const std::byte>() - kSegmentPayload; }
    template <class T>
    const T& at(uint64_t reference) const {
        return *segment_.payload<const T>(reference - kSegmentPayload);
    }
    /// A word that md may change at any time.
    uint64_t load(uint64_t at) const { return racing_load(base() + at); }
    std::span<const std::byte> bytes(uint64_t reference, uint64_t length) const { return {&at<std::byte>(reference), length}; }

  private:
    Segment segment_;
};

/// How far a reply record has been read.
class RecordReader {
  public:
    RecordReader() = default;
    RecordReader(const StoreView& store, uint64_t record);

    /// The next piece of the reply's bytes, at most a page; empty at the end.
    std::span<const std::byte> next(const StoreView& store);

  private:
    uint64_t chunk_ = 0;
    bool fields_read_ = false;
    uint64_t item_read_ = 0;
};

}  // namespace millrace::io_conn
