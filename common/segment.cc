// See segment.h. Runs in every process; throws Error at start-up only.
#include "common/segment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/file_mapping.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "common/check.h"
#include "common/protected_names.h"
#include "common/version.h"

namespace millrace {

namespace ipc = boost::interprocess;

namespace {

constexpr mode_t kSegmentMode = 0600;
constexpr char kUnfinishedSuffix[] = ".new";

ipc::mapped_region map_file(const std::string& path, Access access, uint64_t offset, uint64_t size,
                            void* address = nullptr) {
    const auto mode = access == Access::read_only ? ipc::read_only : ipc::read_write;
    try {
        ipc::file_mapping file(name_to_open(path), mode);
        if (address == nullptr) return ipc::mapped_region(file, mode, static_cast<ipc::offset_t>(offset), size);
        return ipc::mapped_region(file, mode, static_cast<ipc::offset_t>(offset), size, address, MAP_FIXED);
    } catch (const ipc::interprocess_exception& error) {
        throw Error(fmt::format("cannot map {}: {}; check the folder's rights and the memory limit", path,
                                error.what()));
    }
}

[[noreturn]] void fail_to_make(const std::string& path, uint64_t bytes, int error_number) {
    if (error_number == ENOSPC)
        throw Error(fmt::format("cannot take {} bytes of shared memory for {}: the file system is full; enlarge it "
                                "(mount -o remount,size=..., docker --shm-size), lower ring-size or io-conns, or set "
                                "shm-dir to another tmpfs",
                                bytes, path));
    throw Error(fmt::format("cannot make the segment {}: {}", path, errno_text(error_number)));
}

void fill_header(SegmentHeader& header, const SegmentSpec& spec, uint64_t size, uint64_t grown) {
    header.magic = kSegmentMagic;
    header.layout_hash = spec.layout_hash;
    header.size = size;
    header.generation = spec.generation;
    header.instance = spec.instance;
    std::strncpy(header.build, kVersion, sizeof header.build - 1);
    header.grown.store(grown, std::memory_order_relaxed);
}

std::string build_of(const SegmentHeader& header) {
    return std::string(header.build, strnlen(header.build, sizeof header.build));
}

/// S2: empty when the header fits the file and the spec, else the rest of a sentence.
std::string fault_of(const SegmentHeader& header, const SegmentSpec& spec, uint64_t file_size) {
    if (header.magic != kSegmentMagic) return "it is not a millrace segment";
    if (header.ready.load(std::memory_order_acquire) != kSegmentReady) return "it was never finished";
    if (header.layout_hash != spec.layout_hash)
        return fmt::format("it was made by build {} with another layout than this build {}", build_of(header), kVersion);
    if (header.size != file_size)
        return fmt::format("its header says {} bytes, the file has {}", header.size, file_size);
    const uint64_t grown = header.grown.load(std::memory_order_relaxed);
    if (grown > file_size || grown < kSegmentPayload) return "its growth mark is out of range";
    if (spec.instance != 0 && header.instance != spec.instance)
        return fmt::format("it belongs to instance {:016x}, not to {:016x}", header.instance, spec.instance);
    return {};
}

}  // namespace

Descriptor::~Descriptor() {
    if (fd_ >= 0) close(fd_);
}

int take_file_memory(int fd, uint64_t offset, uint64_t length) {
    int result;
    do result = posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(length));
    while (result == EINTR);
    return result;
}

void give_back_file_memory(int fd, uint64_t offset, uint64_t length) {
    // If it fails the memory stays taken and is used again later.
    [[maybe_unused]] const int result = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                                                  static_cast<off_t>(length));
}

Segment Segment::create(const SegmentSpec& spec) {
    const uint64_t size = round_up(spec.size, kPageSize);
    const uint64_t grown = spec.grown == 0 ? size : round_up(spec.grown, kPageSize);
    CHECK(grown >= kSegmentPayload && grown <= size);
    const std::string unfinished = spec.path + kUnfinishedSuffix;
    unlink(unfinished.c_str());
    for (bool taken = false; !taken;) {
        Descriptor fd(open(unfinished.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, kSegmentMode));
        if (fd.get() < 0) fail_to_make(unfinished, grown, errno);
        int error_number = take_file_memory(fd.get(), 0, grown);
        if (error_number == 0 && ftruncate(fd.get(), static_cast<off_t>(size)) != 0) error_number = errno;
        taken = error_number == 0;
        if (!taken) {
            unlink(unfinished.c_str());
            // What a dead predecessor has left in its place is not needed any more, and may be the memory that is missing.
            if (error_number != ENOSPC || unlink(spec.path.c_str()) != 0) fail_to_make(unfinished, grown, error_number);
        }
    }
    Segment segment;
    segment.region_ = map_file(unfinished, Access::read_write, 0, size);
    segment.path_ = spec.path;
    fill_header(segment.header(), spec, size, grown);
    return segment;
}

void Segment::publish() {
    header().ready.store(kSegmentReady, std::memory_order_release);
    const std::string unfinished = path_ + kUnfinishedSuffix;
    if (rename(unfinished.c_str(), path_.c_str()) != 0)
        throw Error(fmt::format("cannot publish the segment {}: {}", path_, errno_text(errno)));
}

Segment Segment::attach(const SegmentSpec& spec, Access access) {
    struct stat info;
    if (stat(name_to_open(spec.path), &info) != 0)
        throw Error(fmt::format("cannot open the segment {}: {}", spec.path, errno_text(errno)));
    const uint64_t file_size = static_cast<uint64_t>(info.st_size);
    if (file_size < kSegmentPayload || file_size % kPageSize != 0)
        throw Error(fmt::format("the segment {} is refused: its length of {} bytes is no segment's", spec.path, file_size));
    Segment segment;
    segment.region_ = map_file(spec.path, access, 0, file_size);
    segment.path_ = spec.path;
    segment.inode_ = info.st_ino;
    if (std::string fault = fault_of(segment.header(), spec, file_size); !fault.empty())
        throw Error(fmt::format("the segment {} is refused: {}; stop the instance and start it again to make it anew",
                                spec.path, fault));
    return segment;
}

bool Segment::is_current() const { return inode_ != 0 && file_at(path_).inode == inode_; }

FileStand Segment::file_at(const std::string& path) {
    struct stat info;
    if (stat(name_to_open(path), &info) != 0) return {};
    return {info.st_ino, info.st_ctim.tv_sec, info.st_ctim.tv_nsec};
}

void Segment::prepare_to_grow() {
    if (!to_grow_.open()) to_grow_ = Descriptor(open(path_.c_str(), O_RDWR | O_CLOEXEC));
}

bool Segment::grow(uint64_t bytes) {
    bytes = round_up(bytes, kPageSize);
    if (bytes > size()) return false;
    if (bytes <= grown()) return true;
    prepare_to_grow();
    if (!to_grow_.open() || take_file_memory(to_grow_.get(), 0, bytes) != 0) return false;
    header().grown.store(bytes, std::memory_order_release);
    return true;
}

uint64_t Segment::grown() const {
    const uint64_t grown = header().grown.load(std::memory_order_acquire);
    return grown < size() ? grown : size();
}

MirrorMap::MirrorMap(const std::string& path, uint64_t offset, uint64_t length) {
    CHECK(offset % kPageSize == 0 && length % kPageSize == 0);
    // Reserve the whole range first, so that both halves can be put next to each other with MAP_FIXED.
    void* range = mmap(nullptr, 2 * length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) throw Error(fmt::format("cannot reserve addresses for {}: {}", path, errno_text(errno)));
    first_ = map_file(path, Access::read_write, offset, length, range);
    second_ = map_file(path, Access::read_write, offset, length, static_cast<std::byte*>(range) + length);
}

}  // namespace millrace
