// See snapshot_writer.h. System calls: openat, pwritev, fdatasync, fadvise64, renameat, fsync, unlink.
#include "common/disk/snapshot_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "common/disk/file_io.h"
#include "common/disk/seeded_bugs.h"

namespace millrace::disk {

namespace {

constexpr mode_t kFileMode = 0600;
constexpr uint64_t kSyncBytes = 32 * 1024 * 1024;
constexpr int kZstdLevel = 1;
constexpr char kZeros[8] = {};

}  // namespace

SnapshotWriter::SnapshotWriter(std::string folder, uint64_t instance, uint64_t start, bool zstd)
    : folder_(std::move(folder)), path_(snapshot_path(folder_, start)), instance_(instance), start_(start), zstd_(zstd ? ZSTD_createCCtx() : nullptr, ZSTD_freeCCtx) {}

SnapshotWriter::~SnapshotWriter() { discard(); }

bool SnapshotWriter::fail(const char* action, int error_number) {
    action_ = action;
    error_ = error_number;
    return false;
}

std::string SnapshotWriter::sentence() const { return error_ == 0 ? std::string() : fmt::format("cannot {} {}: {}", action_, partial_path(path_), errno_text(error_)); }

bool SnapshotWriter::begin() {
    fd_ = Descriptor(open(partial_path(path_).c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, kFileMode));
    if (!fd_.open()) return fail("make", errno);
    begun_ = true;
    raw_.reserve(kBlockBytesMax);
    if (zstd_ != nullptr) stored_.resize(ZSTD_compressBound(kBlockBytesMax));
    SnapshotHeader header{};
    std::memcpy(header.magic, kSnapshotMagic, sizeof header.magic);
    header.version = kSnapshotVersion;
    header.instance = instance_;
    header.start = start_;
    header.stream = stream_;
    header.stream_database = stream_database_;
    header.created_ms = wall_ms();
    header.flags = zstd_ != nullptr ? kSnapshotZstd : 0;
    seed_ = header.crc = crc_of(header);
    return write(&header, sizeof header);
}

bool SnapshotWriter::add(uint8_t database, std::string_view key, std::string_view value, int64_t expire_at_ms, uint64_t stamp) {
    return begin_item(database, key, value.size(), expire_at_ms, stamp) && add_bytes(value);
}

bool SnapshotWriter::begin_item(uint8_t database, std::string_view key, uint64_t value_length, int64_t expire_at_ms, uint64_t stamp) {
    if (error_ != 0) return false;
    CHECK(begun_ && value_left_ == 0 && key.size() <= kItemPartMax && value_length <= kItemPartMax && database < kEffectDatabases);
    const ItemHeader header{database, {}, static_cast<uint32_t>(key.size()), value_length, stamp, expire_at_ms};
    value_left_ = value_length;
    ++items_;
    return put({reinterpret_cast<const char*>(&header), sizeof header}) && put(key);
}

bool SnapshotWriter::add_bytes(std::string_view bytes) {
    if (error_ != 0) return false;
    CHECK(bytes.size() <= value_left_);
    value_left_ -= bytes.size();
    return put(bytes);
}

bool SnapshotWriter::put(std::string_view bytes) {
    while (!bytes.empty()) {
        const size_t count = std::min<size_t>(bytes.size(), kBlockBytesMax - raw_.size());
        raw_ += bytes.substr(0, count);
        bytes.remove_prefix(count);
        if (raw_.size() == kBlockBytesMax && !write_block()) return false;
    }
    return true;
}

/// Packs the raw bytes into stored_. False: they would not become smaller.
bool SnapshotWriter::pack(BlockHeader& block) {
    if (zstd_ == nullptr) return false;
    const size_t bytes = ZSTD_compressCCtx(zstd_.get(), stored_.data(), stored_.size(), raw_.data(), raw_.size(), kZstdLevel);
    if (ZSTD_isError(bytes) != 0 || bytes >= raw_.size()) return false;
    block.kind = BlockKind::zstd;
    block.stored_bytes = bytes;
    return true;
}

bool SnapshotWriter::write_block() {
    BlockHeader block{0, BlockKind::raw, raw_.size(), raw_.size()};
    const char* const bytes = pack(block) ? stored_.data() : raw_.data();
    block.crc = crc32c({bytes, block.stored_bytes}, crc_of(block, seed_));
    const uint64_t zeros = block_bytes(block.stored_bytes) - sizeof block - block.stored_bytes;
    iovec parts[] = {{&block, sizeof block}, {const_cast<char*>(bytes), block.stored_bytes}, {const_cast<char*>(kZeros), zeros}};
    if (!write_at(fd_.get(), parts, 3, at_)) return fail("write", errno);
    at_ += block_bytes(block.stored_bytes);
    raw_.clear();
    return sync_now_and_then();
}

bool SnapshotWriter::write(const void* bytes, uint64_t count) {
    if (!write_at(fd_.get(), static_cast<const char*>(bytes), count, at_)) return fail("write", errno);
    at_ += count;
    return true;
}

/// So that the end has little left to do, and neither the kernel's dirty pages nor its cache fill up with what nobody reads.
bool SnapshotWriter::sync_now_and_then() {
    if (at_ - synced_ < kSyncBytes) return true;
    if (fdatasync(fd_.get()) != 0) return fail("sync", errno);
    posix_fadvise(fd_.get(), static_cast<off_t>(synced_), static_cast<off_t>(at_ - synced_), POSIX_FADV_DONTNEED);
    synced_ = at_;
    return true;
}

bool SnapshotWriter::finish(uint64_t end) {
    if (error_ != 0) return false;
    CHECK(value_left_ == 0 && begun_);
    if (!raw_.empty() && !write_block()) return false;
    struct {
        BlockHeader block;
        SnapshotEnd end;
    } last{{0, BlockKind::end, sizeof(SnapshotEnd), 0}, {items_, end, wall_ms()}};
    static_assert(sizeof last == kEndBlockBytes);
    last.block.crc = crc32c_of(last.end, 0, crc_of(last.block, seed_));
    if (!write(&last, sizeof last)) return false;
    if (kSeededLogBug != SeededLogBug::log_snapshot_not_synced && fsync(fd_.get()) != 0) return fail("sync", errno);
    if (rename(partial_path(path_).c_str(), path_.c_str()) != 0) return fail("rename", errno);
    begun_ = false;
    if (!sync_folder(folder_)) return fail("rename", errno);
    posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
    fd_ = Descriptor();
    return true;
}

void SnapshotWriter::discard() {
    if (!begun_) return;
    begun_ = false;
    unlink(partial_path(path_).c_str());
    fd_ = Descriptor();
}

}  // namespace millrace::disk
