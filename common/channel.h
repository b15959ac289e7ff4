// The channel of one io_conn: the segment rings-<i> with its request ring (to md) and its reply ring (from md).
//
// Layout of the payload: ChannelControl (one page), request data, reply data; both data areas have `capacity` bytes, a
// power of two. The io_conn makes a channel anew each time it starts, with the generation of its process, and announces
// it in the roster (roster.h); md maps the new one and drops the old with all that it still owed it. So a late word of a
// dead io_conn can never be taken for one of its successor.
#pragma once

#include <cstdint>
#include <string>

#include "common/ring.h"
#include "common/segment.h"

namespace millrace {

struct ChannelControl {
    uint64_t capacity;  ///< bytes of each ring's data
    uint64_t reserved[7];
    std::atomic<uint64_t> replies_oplog;  ///< by md: the oplog's tail when it published the replies (log_words.h, D3)
    uint64_t reserved_too[7];
    RingControl requests;
    RingControl replies;
};
static_assert(sizeof(ChannelControl) <= kPageSize && offsetof(ChannelControl, requests) == kCacheLineDistance);
inline constexpr uint64_t kChannelLayout =
    layout_hash("channel-4", {sizeof(ChannelControl), sizeof(RingControl), sizeof(FrameHeader), kFrameAlignment,
                              offsetof(ChannelControl, requests), offsetof(ChannelControl, replies)});

/// A mapped channel: both rings, as seen from either side.
class Channel {
  public:
    Channel() = default;
    /// Makes and publishes a fresh channel (io_conn). Throws Error.
    static Channel create(const std::string& path, uint64_t instance, uint64_t generation, uint64_t capacity);
    /// Maps an io_conn's channel (md). Throws Error if it is missing, damaged or of another generation.
    static Channel attach(const std::string& path, uint64_t instance, uint64_t generation);

    ChannelControl& control() const { return *segment_.payload<ChannelControl>(); }
    RingView requests() const { return requests_; }
    RingView replies() const { return replies_; }
    bool open() const { return segment_.mapped(); }

  private:
    void map_rings();

    Segment segment_;
    MirrorMap request_data_, reply_data_;
    RingView requests_, replies_;
};

}  // namespace millrace
