// Segments: files on the shared-memory file system, mapped by several processes. Used by every process.
//
// Layout: a SegmentHeader in the first page, the payload from kSegmentPayload on. Life of a segment:
//   1. create() makes PATH.new, reserves its whole address range by length, takes the first bytes with fallocate
//      and fills the header but for `ready`;
//   2. the caller fills the payload;
//   3. publish() stores `ready` last and renames PATH.new to PATH, so that a name never shows a half-made segment
//      and an attached older one stays mapped and unharmed.
// Invariants:
//   S1  Nobody touches memory beyond `grown`: reading a hole of a tmpfs file allocates it, and on a full file
//       system that is SIGBUS. grow() moves the mark after fallocate has succeeded; only the creator grows.
//   S2  A header is input: attach() copies and checks every field against the file before anything is used, and
//       refuses with one sentence that names both builds.
//   S3  `ready` is stored with release after everything else and read with acquire before anything else.
// Mapping is Boost.Interprocess (file_mapping + mapped_region) and nothing else of it: no managed segments, no
// mutexes, no offset_ptr.
#pragma once

#include <atomic>
#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "common/layout.h"

namespace millrace {

/// First bytes of every segment.
struct SegmentHeader {
    uint64_t magic;
    uint64_t layout_hash;
    uint64_t size;        ///< bytes of the file and of the mapping, header included
    uint64_t generation;  ///< of the process that made it
    uint64_t instance;    ///< id of the instance folder it belongs to
    char build[40];       ///< version of the program that made it, NUL-terminated
    std::atomic<uint64_t> grown;  ///< bytes from the start that are backed by memory (S1)
    std::atomic<uint32_t> ready;  ///< kSegmentReady once everything else is in place (S3)
    uint32_t reserved;
};
static_assert(sizeof(SegmentHeader) == 96 && std::atomic<uint64_t>::is_always_lock_free);
static_assert(offsetof(SegmentHeader, build) == 40 && offsetof(SegmentHeader, grown) == 80);

inline constexpr uint64_t kSegmentMagic = 0x6563617272696c6dull;  // "mlirrace" read backwards in memory
inline constexpr uint32_t kSegmentReady = 0x59444552u;
inline constexpr size_t kSegmentPayload = kPageSize;

/// What a segment is: which kind, whose, how large.
struct SegmentSpec {
    std::string path;
    uint64_t layout_hash = 0;
    uint64_t instance = 0;
    uint64_t generation = 0;
    uint64_t size = 0;   ///< create only: bytes to reserve, header included; rounded up to pages
    uint64_t grown = 0;  ///< create only: bytes to take at once; 0 = all
};

enum class Access { read_only, read_write };

/// Which file is under a name, and when it was moved there last: that also tells one that was moved away and back.
struct FileStand {
    uint64_t inode = 0;  ///< 0: there is none
    int64_t changed_s = 0, changed_ns = 0;

    bool operator==(const FileStand&) const = default;
};

/// Closes a descriptor at its end. Movable.
class Descriptor {
  public:
    Descriptor() = default;
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor();
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    int get() const { return fd_; }
    bool open() const { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

/// A mapped segment; unmapped on destruction, the file stays. Movable.
class Segment {
  public:
    Segment() = default;

    /// Makes PATH.new (see the head of the file). Throws Error: no space (names the cure), no folder, no right.
    static Segment create(const SegmentSpec& spec);
    /// Maps an existing segment. Throws Error with one sentence if it is missing, not ready, of another build,
    /// another instance, truncated or damaged. `spec.instance` 0 accepts any instance.
    static Segment attach(const SegmentSpec& spec, Access access);

    /// Steps 3: after this others can attach.
    void publish();
    /// Opens what grow() needs, which then opens nothing: for processes that may not. REQUIRES: published or attached for writing.
    void prepare_to_grow();
    /// Whether a file is there that attach() would look at.
    static bool is_there(const std::string& path) { return file_at(path).inode != 0; }
    /// Which file is there, and since when.
    static FileStand file_at(const std::string& path);
    /// Backs memory up to `bytes` from the start (S1). False when the file system is full or `bytes` > size.
    bool grow(uint64_t bytes);
    /// Bytes now backed; never more than the mapping, whatever the header says.
    uint64_t grown() const;

    bool mapped() const { return region_.get_address() != nullptr; }
    SegmentHeader& header() const { return *static_cast<SegmentHeader*>(region_.get_address()); }
    /// The payload, seen as T at `offset` bytes from its start.
    template <class T>
    T* payload(size_t offset = 0) const {
        return reinterpret_cast<T*>(static_cast<std::byte*>(region_.get_address()) + kSegmentPayload + offset);
    }
    uint64_t size() const { return region_.get_size(); }
    const std::string& path() const { return path_; }
    /// Whether the file at the path is still the one that was attached, and nobody has made another in its place.
    bool is_current() const;

  private:
    boost::interprocess::mapped_region region_;
    std::string path_;
    uint64_t inode_ = 0;
    Descriptor to_grow_;
};

/// Takes memory from the system for a range of a file on a tmpfs. 0, or errno.
int take_file_memory(int fd, uint64_t offset, uint64_t length);
/// Gives the memory of a range back: it is a hole then.
void give_back_file_memory(int fd, uint64_t offset, uint64_t length);

/// Maps bytes [offset, offset + length) of the file at `path` twice, back to back, so that a range that wraps is
/// contiguous in memory. `offset` and `length` are whole pages.
class MirrorMap {
  public:
    MirrorMap() = default;
    MirrorMap(const std::string& path, uint64_t offset, uint64_t length);
    std::byte* data() const { return static_cast<std::byte*>(first_.get_address()); }

  private:
    boost::interprocess::mapped_region first_, second_;
};

}  // namespace millrace
