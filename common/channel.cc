// See channel.h. Runs in io_conn and md.
#include "common/channel.h"

#include <fmt/format.h>

#include <bit>

#include "common/check.h"

namespace millrace {

namespace {

constexpr uint64_t kDataOffset = kSegmentPayload + kPageSize;

uint64_t channel_size(uint64_t capacity) { return kDataOffset + 2 * capacity; }

}  // namespace

void Channel::map_rings() {
    auto* control = segment_.payload<ChannelControl>();
    const uint64_t capacity = (segment_.size() - kDataOffset) / 2;  // from the file's length, not from the peer's word
    request_data_ = MirrorMap(segment_.path(), kDataOffset, capacity);
    reply_data_ = MirrorMap(segment_.path(), kDataOffset + capacity, capacity);
    requests_ = {&control->requests, request_data_.data(), capacity};
    replies_ = {&control->replies, reply_data_.data(), capacity};
}

Channel Channel::create(const std::string& path, uint64_t instance, uint64_t generation, uint64_t capacity) {
    CHECK(std::has_single_bit(capacity) && capacity >= kRingCapacityMin && capacity <= kRingCapacityMax);
    Channel channel;
    channel.segment_ = Segment::create({path, kChannelLayout, instance, generation, channel_size(capacity)});
    channel.segment_.payload<ChannelControl>()->capacity = capacity;
    channel.segment_.publish();
    channel.map_rings();
    return channel;
}

Channel Channel::attach(const std::string& path, uint64_t instance, uint64_t generation) {
    Channel channel;
    channel.segment_ = Segment::attach({path, kChannelLayout, instance}, Access::read_write);
    if (channel.segment_.header().generation != generation)
        throw Error(fmt::format("the channel {} has generation {}, not {} as announced", path,
                                channel.segment_.header().generation, generation));
    const uint64_t size = channel.segment_.size();
    const uint64_t capacity = size > kDataOffset ? (size - kDataOffset) / 2 : 0;
    if (!std::has_single_bit(capacity) || capacity < kRingCapacityMin || size != channel_size(capacity) ||
        channel.segment_.grown() != size)
        throw Error(fmt::format("the channel {} is refused: {} bytes are no channel's length", path, size));
    channel.map_rings();
    return channel;
}

}  // namespace millrace
