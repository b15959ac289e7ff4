// See snapshot_reader.h. System calls: openat, fstat, pread, fadvise64.
#include "common/disk/snapshot_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/check.h"
#include "common/disk/file_io.h"

namespace millrace::disk {

namespace {

const uint64_t kStoredMax = ZSTD_compressBound(kBlockBytesMax);
constexpr uint64_t kReserveMax = 1024 * 1024;      ///< of an item's bytes, before they have come (S5)
constexpr uint64_t kKeptMax = 16 * kReserveMax;    ///< that an item leaves behind for the next one

bool possible(const ItemHeader& header) {
    return header.database < kEffectDatabases && header.key_length <= kItemPartMax && header.value_length <= kItemPartMax && header.expire_at_ms >= -1;
}

}  // namespace

SnapshotReader::SnapshotReader(std::string path) : path_(std::move(path)), zstd_(ZSTD_createDCtx(), ZSTD_freeDCtx) {}

bool SnapshotReader::fail(uint64_t offset, std::string what) {
    damaged_ = true;
    sentence_ = fmt::format("{}: at offset {}: {}", path_, offset, what);
    return false;
}

bool SnapshotReader::fail_to_read(uint64_t offset) { return fail(offset, fmt::format("it cannot be read: {}", errno_text(errno))); }

bool SnapshotReader::open() {
    fd_ = Descriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    const int64_t length = fd_.open() ? length_of(fd_.get()) : -1;
    const int64_t got = length < 0 ? -1 : read_at(fd_.get(), reinterpret_cast<char*>(&header_), sizeof header_, 0);
    if (got < 0) return fail_to_read(0);
    posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    file_bytes_ = static_cast<uint64_t>(length);
    if (got != sizeof header_) return fail(0, fmt::format("its {} bytes are no snapshot", length));
    return check_header() && read_end();
}

bool SnapshotReader::check_header() {
    if (std::memcmp(header_.magic, kSnapshotMagic, sizeof header_.magic) != 0) return fail(0, "it does not begin as a snapshot does");
    newer_ = header_.version > kSnapshotVersion;
    if (newer_) return fail(0, fmt::format("made by a newer millrace: its version is {}, this program knows {}", header_.version, kSnapshotVersion));
    if (header_.crc != crc_of(header_)) return fail(0, "the checksum of its header is wrong");
    at_ = sizeof header_;
    return true;
}

bool SnapshotReader::read_end() {
    struct {
        BlockHeader block;
        SnapshotEnd end;
    } last;
    static_assert(sizeof last == kEndBlockBytes);
    if (file_bytes_ < sizeof header_ + kEndBlockBytes || file_bytes_ % 8 != 0) return fail(file_bytes_, "it has no end: it was cut short, or never finished");
    const int64_t got = read_at(fd_.get(), reinterpret_cast<char*>(&last), sizeof last, end_offset());
    if (got < 0) return fail_to_read(end_offset());
    const bool whole = got == sizeof last && last.block.kind == BlockKind::end && last.block.stored_bytes == sizeof last.end &&
                       last.block.crc == crc32c_of(last.end, 0, crc_of(last.block, header_.crc));
    if (!whole) return fail(end_offset(), "it has no end: it was cut short, or its end is damaged");
    end_ = last.end;
    return true;
}

uint64_t SnapshotReader::read_block(char* to) {
    BlockHeader block;
    block_at_ = at_;
    const uint64_t left = end_offset() - at_;
    if (left == 0 || damaged_) return 0;
    if (left < sizeof block) return fail(at_, "there is no room for a block"), 0;
    if (read_at(fd_.get(), reinterpret_cast<char*>(&block), sizeof block, at_) != sizeof block) return fail_to_read(at_), 0;
    const bool possible = (block.kind == BlockKind::raw || block.kind == BlockKind::zstd) && block.raw_bytes > 0 && block.raw_bytes <= kBlockBytesMax &&
                          block.stored_bytes <= kStoredMax && block_bytes(block.stored_bytes) <= left;
    if (!possible) return fail(at_, "there is no block"), 0;
    if (block.kind == BlockKind::raw && block.raw_bytes != block.stored_bytes) return fail(block_at_, "the lengths of the block differ"), 0;
    if (block.kind == BlockKind::zstd) stored_.resize(std::max<size_t>(stored_.size(), block.stored_bytes));
    char* const stored = block.kind == BlockKind::raw ? to : stored_.data();
    if (read_at(fd_.get(), stored, block.stored_bytes, at_ + sizeof block) != static_cast<int64_t>(block.stored_bytes)) return fail_to_read(at_), 0;
    if (block.crc != crc32c({stored, block.stored_bytes}, crc_of(block, header_.crc))) return fail(at_, "the checksum is wrong"), 0;
    if (block.kind == BlockKind::zstd && !unpack(block, to)) return 0;
    at_ += block_bytes(block.stored_bytes);
    return block.raw_bytes;
}

bool SnapshotReader::unpack(const BlockHeader& block, char* to) {
    const size_t got = ZSTD_decompressDCtx(zstd_.get(), to, block.raw_bytes, stored_.data(), block.stored_bytes);
    return (ZSTD_isError(got) == 0 && got == block.raw_bytes) || fail(block_at_, "the block cannot be unpacked");
}

/// The next data block into rest_. False without damaged_: there is none.
bool SnapshotReader::next_block() {
    if (source_ == nullptr) {
        raw_.resize(kBlockBytesMax);
        rest_ = {raw_.data(), read_block(raw_.data())};
        return !rest_.empty();
    }
    block_at_ = at_;
    const BlockSource::Outcome outcome = source_->next(rest_, at_);
    if (outcome == BlockSource::Outcome::damage) {
        damaged_ = true;
        sentence_ = source_->sentence();
    }
    return outcome == BlockSource::Outcome::block;
}

bool SnapshotReader::next_is_beside() const {
    ItemHeader header;
    if (rest_.size() < sizeof header) return false;
    std::memcpy(&header, rest_.data(), sizeof header);
    return possible(header) && rest_.size() - sizeof header >= header.key_length && rest_.size() - sizeof header - header.key_length >= header.value_length;
}

/// The next `count` bytes of items: where they lie in the block, or in `assembled` if they are in several. False: damage.
bool SnapshotReader::take(uint64_t count, std::string& assembled, std::string_view& bytes) {
    if (count <= rest_.size()) {
        bytes = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return true;
    }
    if (assembled.capacity() > kKeptMax) std::string().swap(assembled);
    assembled.clear();
    assembled.reserve(std::min(count, kReserveMax));
    for (;;) {
        const std::string_view part = rest_.substr(0, count - assembled.size());
        assembled += part;
        rest_.remove_prefix(part.size());
        if (assembled.size() == count) break;
        if (!next_block()) return damaged_ ? false : fail(at_, "the data ends inside of an item");
    }
    bytes = assembled;
    return true;
}

SnapshotReader::Outcome SnapshotReader::next(Item& item) {
    if (damaged_) return Outcome::damage;
    if (rest_.empty() && !next_block()) {
        if (!damaged_ && items_read_ != end_.items) fail(at_, fmt::format("there are {} items, and its end says {}", items_read_, end_.items));
        return damaged_ ? Outcome::damage : Outcome::end;
    }
    ItemHeader header;
    std::string_view bytes;
    if (!take(sizeof header, assembled_[0], bytes)) return Outcome::damage;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (!possible(header)) {
        fail(block_at_, "an item has impossible numbers");
        return Outcome::damage;
    }
    if (!take(header.key_length, assembled_[1], item.key)) return Outcome::damage;
    // The value may need further blocks, whose bytes come to where the key lies now.
    if (header.value_length > rest_.size()) item.key = assembled_[1] = std::string(item.key);
    if (!take(header.value_length, assembled_[2], item.value)) return Outcome::damage;
    item.database = header.database;
    item.expire_at_ms = header.expire_at_ms;
    item.stamp = header.stamp;
    ++items_read_;
    return Outcome::item;
}

}  // namespace millrace::disk
