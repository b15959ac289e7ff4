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
//   R8  A staged producer collects its frames in private memory and copies them to their places before it publishes, or
//       when that memory is full. Positions count from commit on, so a frame has its place (and its room) before its bytes
//       are there; nobody may rely on bytes beyond `tail` being in the ring unless the producer writes in place.
//   R9  Whole lines of a large copy are streamed: stored past the caches. Such stores are ordered with nothing, so each
//       copy ends with a store fence, before the release of `tail` that R1 relies on. [tag: publish]
// Publication does not wake anybody: wakeup.h does, with the fence that it needs.
// A producer that finds the ring full sets `space_wanted` and follows wakeup.h's protocol with it.
#pragma once

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
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

/// R8: bytes that a staged producer collects. A processor can wait for few stores at once; small ones to lines that the
/// other side still holds fill that queue with one or two lines, while a copy of whole lines has dozens under way. Larger
/// is no faster, and it should stay in the nearest cache.
inline constexpr uint32_t kStageBytes = 8192;
static_assert(kStageBytes < kRingCapacityMin);
inline constexpr uint32_t kUnstageByWords = 160;  ///< up to this many bytes are copied word by word
static_assert(kFrameAlignment % sizeof(uint64_t) == 0);
/// R9: from so many bytes on a copy is streamed. The line then need not be taken from the consumer's cache first, which is what
/// bounds a full ring; a reader that waits for a few messages has them sooner from the producer's cache.
inline constexpr uint32_t kStreamBytesMin = 1024;

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

/// Copies whole lines (both counts are multiples of kLineBytes, `to` is at a line's begin) past the caches. R9: ends with the fence.
inline void stream_lines(std::byte* to, const std::byte* from, size_t bytes) {
#ifdef __SSE2__
    for (const std::byte* const end = from + bytes; from != end; from += 16, to += 16)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    _mm_sfence();
#else
    std::memcpy(to, from, bytes);
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

/// Where a producer writes its frames: `staged` is faster; `in_place` is for one whose successor must find them (R8).
enum class RingWriting { in_place, staged };

/// The writing end. try_put, or where a length is known only afterwards try_claim, fill, commit; ..., publish.
class RingProducer {
  public:
    RingProducer() = default;
    RingProducer(RingView ring, RingWriting writing)
        : RingProducer(ring, writing, ring.control->tail.load(std::memory_order_relaxed)) {}
    /// Goes on at `tail`, up to which a predecessor that wrote in place had committed frames; it may have published fewer.
    RingProducer(RingView ring, RingWriting writing, uint64_t tail)
        : ring_(ring), window_position_(tail), published_(ring.control->tail.load(std::memory_order_relaxed)) {
        if (writing == RingWriting::staged) stage_ = std::make_unique<std::byte[]>(kStageBytes);
        wants_space_ = ring.control->space_wanted.load(std::memory_order_relaxed) != 0;  // a predecessor's wish
        head_cache_ = tail - ring.capacity;  // full, until the first look says otherwise
    }

    uint32_t max_body() const { return ring_.max_body(); }

    /// Room for a body of `body_length` <= max_body() bytes, or null while the ring is full. The bytes are nobody
    /// else's until commit and publish; a second claim without a commit starts over.
    std::byte* try_claim(uint32_t body_length) {
        std::byte* const at = begin_frame(body_length);
        return at == nullptr ? nullptr : at + sizeof(FrameHeader);
    }
    /// Ends the claimed message with the length really used (at most the claimed one).
    void commit(uint32_t body_length, uint32_t kind, uint32_t id) {
        const FrameHeader header = FrameHeader::of(body_length, kind, id);
        std::memcpy(cursor_, &header, sizeof header);
        cursor_ += frame_bytes(body_length);
    }
    /// Claims, calls write(room) for a body of exactly this length, and commits; false while the ring is full.
    template <class Write>
    bool try_put(uint32_t body_length, uint32_t kind, uint32_t id, const Write& write) {
        std::byte* const at = begin_frame(body_length);
        if (at == nullptr) return false;
        const FrameHeader header = FrameHeader::of(body_length, kind, id);
        std::memcpy(at, &header, sizeof header);
        write(at + sizeof header);
        cursor_ = at + frame_bytes(body_length);
        return true;
    }
    /// The same with a copy of `body`.
    bool try_push(uint32_t kind, uint32_t id, std::span<const std::byte> body) {
        return try_put(static_cast<uint32_t>(body.size()), kind, id, [&](std::byte* room) {
            if (!body.empty()) std::memcpy(room, body.data(), body.size());
        });
    }
    /// Makes everything committed visible to the consumer (R1). False when there was nothing new.
    bool publish() {
        const uint64_t tail = position();
        if (published_ == tail) return false;
        if (stage_ != nullptr) close_window();
        published_ = tail;
        ring_.control->tail.store(tail, std::memory_order_release);
        return true;
    }
    bool unpublished() const { return published_ != position(); }
    /// Where the next frame will begin.
    uint64_t position() const { return window_position_ + static_cast<uint64_t>(cursor_ - window_); }
    /// Takes frames back that were committed since position() was `tail` and are not published.
    void rewind(uint64_t tail) {
        if (tail - window_position_ <= static_cast<uint64_t>(cursor_ - window_)) {
            cursor_ = window_ + (tail - window_position_);
        } else {
            window_ = cursor_ = limit_ = nullptr;
            window_position_ = tail;
        }
    }

    /// Whether `bytes` of frames fit now.
    bool has_room(uint64_t bytes) { return room_for(bytes) >= bytes; }
    /// Bytes not yet consumed, published or not.
    uint64_t depth() const { return position() - ring_.control->head.load(std::memory_order_acquire); }

    /// Asks the consumer for a wake-up when space appears (true) or takes that back. See wakeup.h for the fence.
    void want_space(bool wanted) {
        if (wanted != wants_space_) ring_.control->space_wanted.store(wanted, std::memory_order_relaxed);
        wants_space_ = wanted;
    }
    bool wants_space() const { return wants_space_; }

  private:
    std::byte* place(uint64_t position) const { return ring_.data + (position & (ring_.capacity - 1)); }

    /// Bytes known to be free, after a look at the consumer's index if they are fewer than `wanted`.
    uint64_t room_for(uint64_t wanted) {
        const uint64_t tail = position();
        if (tail + wanted - head_cache_ > ring_.capacity) {
            const uint64_t head = ring_.control->head.load(std::memory_order_acquire);
            // A head beyond the tail or too far behind is the peer's fault (R6): the ring stays full.
            if (tail - head <= ring_.capacity) head_cache_ = head;
        }
        return ring_.capacity - (tail - head_cache_);
    }

    /// Where a frame with such a body goes, or null while the ring is full.
    std::byte* begin_frame(uint32_t body_length) {
        if (frame_bytes(body_length) > static_cast<uint64_t>(limit_ - cursor_) && !open_window(body_length)) return nullptr;
        fetch_ahead(cursor_);
        return cursor_;
    }
    void fetch_ahead(const std::byte* cursor) const {  // R7
        const auto* ahead = reinterpret_cast<const std::byte*>(reinterpret_cast<uintptr_t>(cursor) + write_ahead_);
        fetch_to_write(ahead);
        fetch_to_write(ahead + kLineBytes);
    }
    void unstage(std::byte* to, size_t bytes) const {
        const std::byte* from = stage_.get();
        if (bytes >= kStreamBytesMin) {
            const size_t before = -reinterpret_cast<uintptr_t>(to) % kLineBytes;
            const size_t lines = (bytes - before) / kLineBytes * kLineBytes;
            copy_words(to, from, before);
            stream_lines(to + before, from + before, lines);
            copy_words(to + before + lines, from + before + lines, bytes - before - lines);
        } else if (bytes > kUnstageByWords) {
            std::memcpy(to, from, bytes);
        } else {
            // The last stores to the stage are still on their way: a wide load of them would have to wait for all.
            copy_words(to, from, bytes);
        }
    }
    static void copy_words(std::byte* to, const std::byte* from, size_t bytes) {
        for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
            uint64_t word;
            std::memcpy(&word, from + at, sizeof word);
            std::memcpy(to + at, &word, sizeof word);
        }
    }
    /// Ends the window, and brings what it staged to its place.
    void close_window() {
        if (window_ != nullptr && window_ == stage_.get()) {
            const auto bytes = static_cast<size_t>(cursor_ - window_);
            unstage(place(window_position_), bytes);
            streams_ = bytes >= kStreamBytesMin;
        }
        window_position_ = position();
        window_ = cursor_ = limit_ = nullptr;
    }
    /// Opens a window with room for a body of so many bytes; false while the ring is full. No window is longer than the longest
    /// frame, so a body that is too long always comes here.
    [[gnu::noinline]] bool open_window(uint32_t body_length) {
        CHECK(body_length <= max_body());
        const uint64_t bytes = frame_bytes(body_length);
        const uint64_t room = std::min(room_for(bytes), frame_bytes(max_body()));
        if (room < bytes) return false;
        if (window_ != nullptr) close_window();
        std::byte* const at = place(window_position_);
        if (stage_ != nullptr && bytes <= kStageBytes) {
            window_ = stage_.get();
            limit_ = window_ + std::min<uint64_t>(room, kStageBytes);
        } else {
            window_ = at;
            limit_ = at + (stage_ == nullptr ? room : bytes);  // the mirror goes on behind the data
        }
        cursor_ = window_;
        // Lines that are going to be streamed need not be here: what is asked for then is the stage itself.
        write_ahead_ = window_ != at && streams_ ? 0 : reinterpret_cast<uintptr_t>(at) - reinterpret_cast<uintptr_t>(window_) + kWriteAheadBytes;
        return true;
    }

    RingView ring_;
    std::unique_ptr<std::byte[]> stage_;  ///< null: in place
    // The window is the memory in which frames can be written without a further look: a part of the ring, or the stage.
    std::byte* window_ = nullptr;
    std::byte* cursor_ = nullptr;   ///< where the next frame begins
    std::byte* limit_ = nullptr;    ///< end of the window
    uint64_t window_position_ = 0;  ///< position of the window's begin
    uintptr_t write_ahead_ = 0;     ///< from the cursor to the line to ask for
    bool streams_ = false;          ///< the last copy from the stage was streamed, so the next is likely to be
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
    /// Up to where frames were there at the last look at the producer's index.
    uint64_t known_tail() const { return tail_cache_; }
    /// Gives no frame that begins at `position` or behind it, until another call says so. REQUIRES: it is not before known_tail().
    void hold_from(uint64_t position) { hold_from_ = position; }
    /// Up to where the producer has published frames, whether they are held or not.
    uint64_t published_tail() const { return ring_.control->tail.load(std::memory_order_acquire); }
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
    /// Whether next() would give something, looking at the shared index again.
    bool has_more() const { return head_ != tail_cache_ || std::min(published_tail(), hold_from_) != head_; }
    bool producer_wants_space() const { return ring_.control->space_wanted.load(std::memory_order_relaxed) != 0; }
    /// Bytes published and not yet read.
    uint64_t depth() const { return published_tail() - head_; }

    static constexpr uint64_t kNothingHeld = ~uint64_t{0};

  private:
    bool reload_tail() {
        const uint64_t tail = std::min(published_tail(), hold_from_);
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
    uint64_t hold_from_ = kNothingHeld;
    bool corrupt_ = false;
};

}  // namespace millrace
