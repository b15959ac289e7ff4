// See marks_segment.h. Runs in md.
#include "md/marks_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/log.h"

namespace millrace::md {

namespace {

/// Whether the file has no memory but that of its header.
bool has_no_marks(int fd) {
    constexpr blkcnt_t kStatBlockBytes = 512;
    struct stat file;
    return fstat(fd, &file) == 0 && file.st_blocks * kStatBlockBytes <= static_cast<blkcnt_t>(kSegmentPayload);
}

}  // namespace

MarksSegment::MarksSegment(const std::string& path, uint64_t instance, uint64_t generation, uint64_t store_bytes) {
    const SegmentSpec spec{path, kMarksLayout, instance, generation, MarkTable::segment_bytes(store_bytes), kSegmentPayload};
    if (access(path.c_str(), F_OK) == 0) {
        try {
            segment_ = Segment::attach(spec, Access::read_write);
        } catch (const Error& error) {
            log::warning("the marks for eviction cannot be used: {}; they begin anew", error.what());
        }
    }
    if (!segment_.mapped() || segment_.size() < spec.size) {
        segment_ = Segment::create(spec);
        segment_.publish();
    }
    fd_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd_ < 0) throw Error("cannot open " + path + ": " + errno_text(errno));
    madvise(&segment_.header(), segment_.size(), MADV_DONTDUMP);
}

MarksSegment::~MarksSegment() {
    if (fd_ >= 0) close(fd_);
}

Marks MarksSegment::marks(uint64_t seed) const {
    const int fd = fd_;
    return {reinterpret_cast<std::byte*>(&segment_.header()),
            [fd](uint64_t offset, uint64_t length) { return take_file_memory(fd, offset, length) == 0; },
            [fd](uint64_t offset, uint64_t length) { give_back_file_memory(fd, offset, length); }, [fd] { return has_no_marks(fd); }, seed};
}

}  // namespace millrace::md
