// The ring: a byte ring of messages between exactly one producer and one consumer process. Used by io_conn and md.
//
// A message is a frame `length and kind | id | body`, padded to kFrameAlignment. The data area is mapped twice back to
// back (MirrorMap), so a frame is always contiguous and never split. Positions are 64-bit byte counts that only
// rise; a position modulo the capacity is the place.
//
// Memory order (the only place where it is argued):
//   R1  The producer writes frames beyond `tail` with plain stores, then stores `tail` with release, once a batch
//       (publish). The consumer loads `tail` with acquire before it reads a frame: it sees whole frames only. [tag: publish]
//   R2  The consumer reads frames, then stores `head` with release, once a batch. The producer loads `head` with
//       acquire before it writes over the place: no frame is overwritten while it is read. [tag: reuse]
//   R3  Each side keeps the other's index in a private copy and reloads it only when the copy says "full" or "empty";
//       an old copy is always on the safe side, because indices only rise.
//   R4  tail - head is at most the capacity; both are multiples of kFrameAlignment.
//   R5  A frame's body is at most max_body() = capacity / 8 - header, so eight frames of any length always fit.
//   R6  What a consumer reads is input: `tail` and each length are copied once, checked against R4 and R5, and never
//       read again; a ring that breaks them is reported as corrupt and costs its channel, never the process.
//   R7  Both sides ask for cache lines ahead of use: what moves between two processors is lines, tens of nanoseconds each,
//       and only several under way at once hide that. It changes no order and touches no word.
// Publication does not wake anybody: wakeup.h does, with the fence that it needs.
// A producer that finds the ring full sets `space_wanted` and follows wakeup.h's protocol with it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "common/check.h"
#include "common/layout.h"

namespace millrace {

/// The shared words of one ring. The producer writes `tail` and `space_wanted`, the consumer the others.
struct RingControl {
    alignas(kCacheLineDistance) std::atomic<uint64_t> tail;
    std::atomic<uint32_t> space_wanted;  ///< 1: wake the producer when `head` moves
    uint32_t reserved;
    alignas(kCacheLineDistance) std::atomic<uint64_t> head;
    std::atomic<uint64_t> taken_over_at;  ///< `head` when the consumer that there is now took the ring over
};
static_assert(sizeof(RingControl) == 2 * kCacheLineDistance);
static_assert(offsetof(RingControl, head) == kCacheLineDistance);

/// Eight bytes, because what a message costs between two processors is the cache lines that it takes.
struct FrameHeader {
    uint32_t word;  ///< length of the body in bytes, and above it the kind
    uint32_t id;    ///< see message.h

    static constexpr uint32_t kLengthBits = 27;
    static constexpr uint32_t kKindLimit = 1u << (32 - kLengthBits);  ///< kinds are below this

    static FrameHeader of(uint32_t length, uint32_t kind, uint32_t id) { return {kind << kLengthBits | length, id}; }
    uint32_t length() const { return word & ((1u << kLengthBits) - 1); }
    uint32_t kind() const { return word >> kLengthBits; }
};
static_assert(sizeof(FrameHeader) == 8);

inline constexpr uint32_t kFrameAlignment = 8;
inline constexpr uint64_t kRingCapacityMin = 64 * 1024;              ///< bytes
inline constexpr uint64_t kRingCapacityMax = 1024ull * 1024 * 1024;  ///< bytes
inline constexpr uint64_t kMaxFrameShare = 8;                        ///< a frame is at most capacity / this
static_assert(kRingCapacityMax / kMaxFrameShare <= 1ull << FrameHeader::kLengthBits);

/// R7: how far ahead of the producer and of the consumer lines are asked for, and the size of a line, bytes. Two lines a
/// message, because a message of 64 bytes takes more than one.
inline constexpr uint64_t kWriteAheadBytes = 2048;
inline constexpr uint64_t kReadAheadBytes = 1536;
inline constexpr uint64_t kLineBytes = 64;
static_assert(kWriteAheadBytes + 2 * kLineBytes < kRingCapacityMin);  // the mirror makes every such address valid
static_assert(kReadAheadBytes + 2 * kLineBytes < kRingCapacityMin / kMaxFrameShare);  // also behind the longest frame

/// Asks for a line in order to write to it. GCC's __builtin_prefetch(p, 1) asks for a copy to read unless told of the
/// processor; the instruction is a no-operation where it is unknown.
inline void fetch_to_write(const std::byte* line) {
#ifdef __x86_64__
    asm volatile("prefetchw %0" ::"m"(*line));
#else
    __builtin_prefetch(line, 1);
#endif
}

constexpr uint64_t frame_bytes(uint32_t body_length) {
    return round_up(sizeof(FrameHeader) + body_length, kFrameAlignment);
}

/// A ring is a control block plus `capacity` bytes of data mapped twice. `capacity` is a power of two.
struct RingView {
    RingControl* control = nullptr;
    std::byte* data = nullptr;
    uint64_t capacity = 0;

    uint32_t max_body() const { return static_cast<uint32_t>(capacity / kMaxFrameShare - sizeof(FrameHeader)); }
};

/// One message as the consumer sees it; `body` stays valid until the consumer publishes.
struct Frame {
    uint32_t kind = 0;
    uint32_t id = 0;
    std::span<const std::byte> body;
};

/// The writing end. try_claim, fill, commit, ..., publish.
class RingProducer {
  public:
    RingProducer() = default;
    explicit RingProducer(RingView ring) : RingProducer(ring, ring.control->tail.load(std::memory_order_relaxed)) {}
    /// Goes on at `tail`, up to which a predecessor had committed frames; it may have published fewer.
    RingProducer(RingView ring, uint64_t tail)
        : ring_(ring), tail_(tail), published_(ring.control->tail.load(std::memory_order_relaxed)) {
        wants_space_ = ring.control->space_wanted.load(std::memory_order_relaxed) != 0;  // a predecessor's wish
        head_cache_ = tail_ - ring.capacity;  // full, until the first look says otherwise
    }

    uint32_t max_body() const { return ring_.max_body(); }

    /// Room for a body of `body_length` <= max_body() bytes, or null while the ring is full. The bytes are nobody
    /// else's until commit and publish; a second claim without a commit starts over at the same place.
    std::byte* try_claim(uint32_t body_length) {
        CHECK(body_length <= max_body());
        if (!has_room(frame_bytes(body_length))) return nullptr;
        // R7: stores to lines that are still in the consumer's cache queue up in order behind each other.
        fetch_to_write(place(tail_) + kWriteAheadBytes);
        fetch_to_write(place(tail_) + kWriteAheadBytes + kLineBytes);
        return place(tail_) + sizeof(FrameHeader);
    }
    /// Ends the claimed message with the length really used (at most the claimed one).
    void commit(uint32_t body_length, uint32_t kind, uint32_t id) {
        const FrameHeader header = FrameHeader::of(body_length, kind, id);
        std::memcpy(place(tail_), &header, sizeof header);
        tail_ += frame_bytes(body_length);
    }
    /// Claim, copy and commit in one; false while the ring is full.
    bool try_push(uint32_t kind, uint32_t id, std::span<const std::byte> body) {
        std::byte* room = try_claim(static_cast<uint32_t>(body.size()));
        if (room == nullptr) return false;
        if (!body.empty()) std::memcpy(room, body.data(), body.size());
        commit(static_cast<uint32_t>(body.size()), kind, id);
        return true;
    }
    /// Makes everything committed visible to the consumer (R1). False when there was nothing new.
    bool publish() {
        if (published_ == tail_) return false;
        published_ = tail_;
        ring_.control->tail.store(tail_, std::memory_order_release);
        return true;
    }
    bool unpublished() const { return published_ != tail_; }
    /// Where the next frame will begin.
    uint64_t position() const { return tail_; }
    /// Takes frames back that were committed since position() was `tail` and are not published.
    void rewind(uint64_t tail) { tail_ = tail; }

    /// Whether `bytes` of frames fit now.
    bool has_room(uint64_t bytes) {
        if (tail_ + bytes - head_cache_ <= ring_.capacity) return true;
        const uint64_t head = ring_.control->head.load(std::memory_order_acquire);
        // A head beyond the tail or too far behind is the peer's fault (R6): the ring stays full.
        if (tail_ - head > ring_.capacity) return false;
        head_cache_ = head;
        return tail_ + bytes - head_cache_ <= ring_.capacity;
    }
    /// Bytes not yet consumed, published or not.
    uint64_t depth() const { return tail_ - ring_.control->head.load(std::memory_order_acquire); }

    /// Asks the consumer for a wake-up when space appears (true) or takes that back. See wakeup.h for the fence.
    void want_space(bool wanted) {
        if (wanted != wants_space_) ring_.control->space_wanted.store(wanted, std::memory_order_relaxed);
        wants_space_ = wanted;
    }
    bool wants_space() const { return wants_space_; }

  private:
    std::byte* place(uint64_t position) const { return ring_.data + (position & (ring_.capacity - 1)); }

    RingView ring_;
    uint64_t tail_ = 0;
    uint64_t published_ = 0;
    uint64_t head_cache_ = 0;
    bool wants_space_ = false;
};

enum class RingRead { frame, empty, corrupt };

/// The reading end. next, ..., publish.
class RingConsumer {
  public:
    RingConsumer() = default;
    explicit RingConsumer(RingView ring) : RingConsumer(ring, ring.control->head.load(std::memory_order_relaxed)) {}
    /// Goes on at `head`, up to which a predecessor had taken frames; it may have handed back fewer.
    RingConsumer(RingView ring, uint64_t head)
        : ring_(ring), head_(head), published_(ring.control->head.load(std::memory_order_relaxed)), tail_cache_(head) {}
    /// Where the next frame begins.
    uint64_t position() const { return head_; }
    /// Tells the producer from where on this consumer takes frames; before it takes the first.
    void announce_take_over() { ring_.control->taken_over_at.store(head_, std::memory_order_release); }

    /// The next message, if there is one. After `corrupt` the ring must not be used again (R6).
    RingRead next(Frame& frame) {
        if (head_ == tail_cache_ && !reload_tail()) return RingRead::empty;
        if (corrupt_) return RingRead::corrupt;
        FrameHeader header;
        std::memcpy(&header, ring_.data + (head_ & (ring_.capacity - 1)), sizeof header);
        const uint32_t length = header.length();
        if (length > ring_.max_body() || frame_bytes(length) > tail_cache_ - head_) {
            corrupt_ = true;
            return RingRead::corrupt;
        }
        frame.kind = header.kind();
        frame.id = header.id;
        frame.body = {ring_.data + (head_ & (ring_.capacity - 1)) + sizeof header, length};
        // Where the next header lies is known only now, so the processor cannot run ahead by itself: fetch what follows.
        // The mirror behind the data makes the address valid at every place.
        __builtin_prefetch(frame.body.data() + kReadAheadBytes);
        __builtin_prefetch(frame.body.data() + kReadAheadBytes + kLineBytes);
        head_ += frame_bytes(length);
        return RingRead::frame;
    }
    /// Steps back over the frame that next() gave last, so that it is given again; not after publish().
    void put_back(const Frame& frame) { head_ -= frame_bytes(static_cast<uint32_t>(frame.body.size())); }

    /// Looks at published frames that next() has not given yet, without taking them: `at` starts as position() and moves on.
    /// False at the end, or where a frame breaks the rules; next() says which.
    bool peek(uint64_t& at, Frame& frame) const {
        if (corrupt_ || tail_cache_ - at < sizeof(FrameHeader)) return false;
        FrameHeader header;
        std::memcpy(&header, ring_.data + (at & (ring_.capacity - 1)), sizeof header);
        const uint32_t length = header.length();
        if (length > ring_.max_body() || frame_bytes(length) > tail_cache_ - at) return false;
        frame = {header.kind(), header.id, {ring_.data + (at & (ring_.capacity - 1)) + sizeof header, length}};
        at += frame_bytes(length);
        return true;
    }
    /// Hands the space of all messages read so far back to the producer (R2). False when there was nothing new.
    bool publish() {
        if (published_ == head_) return false;
        published_ = head_;
        ring_.control->head.store(head_, std::memory_order_release);
        return true;
    }
    /// Whether the producer has published something not yet read, looking at the shared index again.
    bool has_more() const {
        return head_ != tail_cache_ || ring_.control->tail.load(std::memory_order_acquire) != head_;
    }
    bool producer_wants_space() const { return ring_.control->space_wanted.load(std::memory_order_relaxed) != 0; }
    /// Bytes published and not yet read.
    uint64_t depth() const { return ring_.control->tail.load(std::memory_order_acquire) - head_; }

  private:
    bool reload_tail() {
        const uint64_t tail = ring_.control->tail.load(std::memory_order_acquire);
        if (tail == head_) return false;
        if (tail - head_ > ring_.capacity || tail % kFrameAlignment != 0 || tail - head_ < sizeof(FrameHeader)) {
            corrupt_ = true;  // R4, R6
            return true;
        }
        // The lines are modified in the producer's cache: ask for several at once instead of one after the other.
        const std::byte* next = ring_.data + (head_ & (ring_.capacity - 1));
        for (uint64_t at = 0; at < kReadAheadBytes && at < tail - head_; at += kLineBytes) __builtin_prefetch(next + at);
        tail_cache_ = tail;
        return true;
    }

    RingView ring_;
    uint64_t head_ = 0;
    uint64_t published_ = 0;
    uint64_t tail_cache_ = 0;
    bool corrupt_ = false;
};

}  // namespace millrace
