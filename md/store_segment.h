// The store's segment: found as a predecessor left it, or made anew; memory for it from the system and back. Runs in md.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "common/segment.h"
#include "md/back_ahead.h"
#include "md/store_memory.h"

namespace millrace::md {

class StoreSegment {
  public:
    static constexpr uint64_t kOplogBytes = 512 * 1024, kOplogBytesWithLog = 8 * 1024 * 1024;
    static constexpr uint64_t kOplogBytesMin = 64 * 1024;

    /// Maps the store at `path`. One that is missing is made; one that is refused (another build, another instance, damaged, or
    /// one on which md after md has failed) is put aside as PATH.refused with a warning, and an empty one takes its place. From here
    /// on our own fatal signals are marked in it (poison.h). `watched`: the mapping of a standby, which is used as it is, with the pages
    /// that it has mapped, if the store is still the same. Throws Error.
    /// `oplog_bytes`: of one that is made.
    StoreSegment(const std::string& path, uint64_t instance, uint64_t generation, uint64_t oplog_bytes, bool predecessor_hung, Segment watched = {});
    /// Maps an existing store without changing anything (a standby). Throws Error.
    static std::unique_ptr<StoreSegment> watch(const std::string& path, uint64_t instance);
    /// The mapping alone; this object is of no use after it.
    Segment release() { return std::move(segment_); }
    ~StoreSegment();
    StoreSegment(const StoreSegment&) = delete;

    /// Valid as long as this object.
    StoreMemory memory() const;
    /// Leaves so many bytes of the file system to others: to io_conn that come back, whose memory a predecessor has just freed.
    /// At most kSpareShareMax of all that it has.
    void set_spare(uint64_t bytes) { backing_->spare = bytes; }
    /// Until end_backing_ahead(), a helper takes memory from `offset` on before it is asked for.
    void back_ahead(std::unique_ptr<BackAhead> helper, uint64_t offset);
    void end_backing_ahead();
    /// Of addresses.
    uint64_t bytes() const { return segment_.size(); }
    /// Whether it was there already.
    bool found() const { return found_; }
    /// Which of the stores that this instance has had.
    uint64_t generation() const { return segment_.header().generation; }

  private:
    StoreSegment() = default;
    static constexpr uint64_t kReserveBytesMin = 16ull << 30;  ///< fewer addresses are an error
    void attach_or_make(const SegmentSpec& spec, bool predecessor_hung, Segment watched);
    static Segment make(SegmentSpec spec);
    static constexpr uint64_t kSpareShareMax = 8;
    static bool leaves_spare(int fd, uint64_t length, uint64_t spare);
    static bool take_and_map(int fd, std::byte* base, uint64_t offset, uint64_t length, uint64_t spare);
    static bool take(int fd, uint64_t offset, uint64_t length, uint64_t spare);

    Segment segment_;
    /// What clients have set by CONFIG SET is not lost with the data.
    struct LiveOptions {
        void take_from(const st::Root& root) {
            words = root.live;
            texts = root.live_texts;
            version = root.live_version;
            hash_seed = root.hash_seed;
        }
        void give_to(st::Root& root) const {
            root.hash_seed = hash_seed;  // hashes of what the configuration says are made with it
            root.live = words;
            root.live_texts = texts;
            root.live_version = version != 0 ? 2 : 0;
            root.number = 1;  // no version is above it
        }
        decltype(st::Root::live) words;
        decltype(st::Root::live_texts) texts;
        uint64_t version, hash_seed;
    };
    struct Backing {
        std::atomic<uint64_t> spare = 0;  ///< bytes
        std::unique_ptr<BackAhead> ahead;
    };
    std::unique_ptr<LiveOptions> options_;  ///< of a store that was thrown away
    std::shared_ptr<Backing> backing_ = std::make_shared<Backing>();
    int fd_ = -1;
    bool found_ = false;
};

}  // namespace millrace::md
