// See log_writer.h. System calls: openat, pread, pwritev, ftruncate, fdatasync, fsync, renameat, unlink; getdents in the constructor.
#include "common/disk/log_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <lz4.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "common/disk/file_io.h"
#include "common/disk/log_reader.h"
#include "common/disk/seeded_bugs.h"

namespace millrace::disk {

namespace {

constexpr mode_t kFileMode = 0600;
constexpr uint64_t kPackedBytesMin = 256;  ///< below, packing saves nothing worth a frame
constexpr char kZeros[8] = {};
constexpr uint64_t kRoomBytes = 256 * 1024;     ///< zeros that are written at once
constexpr uint64_t kRoomBatchMax = 16 * 1024;   ///< for larger batches the zeros would cost more than they save
constexpr char kRoom[kRoomBytes] = {};

std::string_view bytes_of(const FrameHeader& frame) { return {reinterpret_cast<const char*>(&frame), sizeof frame}; }

FrameHeader header_at(std::string_view frames, size_t at) {
    FrameHeader frame;
    std::memcpy(&frame, frames.data() + at, sizeof frame);
    return frame;
}

uint64_t total(std::span<const std::string_view> pieces) {
    uint64_t bytes = 0;
    for (const std::string_view piece : pieces) bytes += piece.size();
    return bytes;
}

iovec part_of(std::string_view bytes) { return {const_cast<char*>(bytes.data()), bytes.size()}; }

}  // namespace

LogWriter::LogWriter(std::string folder, Options options) : folder_(std::move(folder)), options_(options) {
    for (const LogFileInfo& file : log_files(folder_)) sequence_ = std::max(sequence_, file.header.sequence);
}

bool LogWriter::fail(const char* action, int error_number) {
    action_.store(action, std::memory_order_relaxed);
    error_.store(error_number, std::memory_order_relaxed);
    return false;
}

std::string LogWriter::sentence() const {
    return error() == 0 ? std::string() : fmt::format("cannot {} {}: {}", action_.load(std::memory_order_relaxed), subject_, errno_text(error()));
}

/// A file that was made and never written to, or only with marks: whoever begins at its number again may take its name.
bool LogWriter::has_no_record(const std::string& path) {
    LogFileReader reader;
    if (reader.open(path) != LogFileReader::Opened::yes) return false;
    auto outcome = reader.next();
    while (outcome == LogFileReader::Outcome::mark) outcome = reader.next();
    return outcome == LogFileReader::Outcome::end;
}

bool LogWriter::open_new(uint64_t after, bool continues) {
    subject_ = log_path(folder_, after);
    const bool replaces = (broken() && subject_ == path_ && synced_number() == after) || has_no_record(subject_);
    if (!replaces && access(subject_.c_str(), F_OK) == 0) return fail("make", EEXIST);
    LogHeader header{};
    std::memcpy(header.magic, kLogMagic, sizeof header.magic);
    header.version = kLogVersion;
    header.instance = options_.instance;
    header.after = after;
    header.flags = continues ? kLogContinues : 0;
    header.created_ms = wall_ms();
    header.sequence = sequence_ + 1;
    header.crc = crc_of(header);
    cut_room();
    if (!make_file(header)) return false;
    seed_ = header.crc;
    sequence_ = header.sequence;
    if (buffer_after_ != after) buffer_.clear();
    if (buffer_.empty()) added_number_ = after;
    to_cut_ = no_room_ = false;
    file_bytes_ = synced_bytes_ = room_end_ = sizeof header;
    written_number_ = synced_number_ = after;
    broken_ = false;
    return true;
}

/// L1: the file gets its name when the header is durable. On failure the writer has the file that it had.
bool LogWriter::make_file(const LogHeader& header) {
    const std::string partial = partial_path(subject_);
    Descriptor fd(open(partial.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, kFileMode));
    if (!fd.open()) return fail("make", errno);
    const bool renamed = write_at(fd.get(), reinterpret_cast<const char*>(&header), sizeof header, 0) &&
                         (kSeededLogBug == SeededLogBug::log_name_before_header || fdatasync(fd.get()) == 0) && rename(partial.c_str(), subject_.c_str()) == 0;
    if (!renamed || (kSeededLogBug != SeededLogBug::log_name_not_synced && !sync_folder(folder_))) {
        const int error_number = errno;
        unlink(renamed ? subject_.c_str() : partial.c_str());
        return fail("make", error_number);
    }
    fd_ = std::move(fd);
    path_ = subject_;
    return true;
}

bool LogWriter::open_existing(const std::string& path, uint64_t bytes, uint64_t last_number) {
    subject_ = path;
    LogFileReader reader;
    if (reader.open(path) != LogFileReader::Opened::yes || reader.file_bytes() < bytes || bytes < sizeof(LogHeader)) return fail("go on in", EINVAL);
    Descriptor fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd.open()) return fail("open", errno);
    if (reader.file_bytes() > bytes && ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return fail("cut", errno);
    if (fdatasync(fd.get()) != 0) return fail("sync", errno);
    fd_ = std::move(fd);
    path_ = path;
    seed_ = reader.header().crc;
    buffer_.clear();
    added_number_ = last_number;
    to_cut_ = no_room_ = false;
    file_bytes_ = synced_bytes_ = room_end_ = bytes;
    written_number_ = synced_number_ = last_number;
    broken_ = false;
    return true;
}

void LogWriter::add(uint64_t number, std::span<const std::string_view> pieces) {
    CHECK(number > added_number_);
    if (buffer_.empty()) buffer_after_ = added_number_;
    const FrameHeader frame{0, FrameKind::record, total(pieces), number, added_number_};
    const size_t end = buffer_.size() + frame_bytes(frame.bytes);
    buffer_ += bytes_of(frame);
    for (const std::string_view piece : pieces) buffer_ += piece;
    buffer_.resize(end);
    added_number_ = number;
}

/// Puts their checksums into record frames.
void LogWriter::seal(std::string& frames, size_t from) const {
    while (from < frames.size()) {
        FrameHeader frame = header_at(frames, from);
        frame.crc = crc32c(std::string_view(frames).substr(from + sizeof frame, frame.bytes), crc_of(frame, seed_));
        std::memcpy(frames.data() + from, &frame.crc, sizeof frame.crc);
        from += frame_bytes(frame.bytes);
    }
}

/// Appends record frames to the batch as one packed frame, or as they are if they do not become smaller.
void LogWriter::pack(std::string_view records) {
    const size_t from = batch_.size();
    constexpr size_t kBefore = sizeof(FrameHeader) + sizeof(uint64_t);
    FrameHeader frame{0, FrameKind::packed, 0, 0, header_at(records, 0).previous};
    for (size_t at = 0; at < records.size(); at += frame_bytes(header_at(records, at).bytes)) frame.number = header_at(records, at).number;
    if (records.size() >= kPackedBytesMin && records.size() <= kPackedBytesMax) {
        const int room = static_cast<int>(records.size() - kPackedBytesMin / 2);
        batch_.resize(from + kBefore + static_cast<size_t>(room));
        const int packed = LZ4_compress_default(records.data(), batch_.data() + from + kBefore, static_cast<int>(records.size()), room);
        if (packed > 0) {
            const uint64_t length = records.size();
            std::memcpy(batch_.data() + from + sizeof frame, &length, sizeof length);
            frame.bytes = sizeof length + static_cast<uint64_t>(packed);
            frame.crc = crc32c(std::string_view(batch_).substr(from + sizeof frame, frame.bytes), crc_of(frame, seed_));
            std::memcpy(batch_.data() + from, &frame, sizeof frame);
            batch_.resize(from + sizeof frame + frame.bytes);
            batch_.resize(from + frame_bytes(frame.bytes));
            return;
        }
        batch_.resize(from);
    }
    batch_ += records;
    seal(batch_, from);
}

/// The frames of the batch that the buffer becomes, without the mark.
std::string_view LogWriter::batch_of_buffer() {
    if (!options_.lz4) {
        seal(buffer_, 0);
        return buffer_;
    }
    batch_.clear();
    for (size_t from = 0, end = 0; from < buffer_.size(); from = end) {
        do end += frame_bytes(header_at(buffer_, end).bytes);
        while (end < buffer_.size() && end + frame_bytes(header_at(buffer_, end).bytes) - from <= kPackedBytesMax);
        pack(std::string_view(buffer_).substr(from, end - from));
    }
    return batch_;
}

std::string LogWriter::mark_frame(uint64_t number) const {
    const Mark mark{synced_bytes_.load(std::memory_order_acquire), wall_ms()};
    FrameHeader frame{0, FrameKind::mark, sizeof mark, number, number};
    frame.crc = crc32c_of(mark, 0, crc_of(frame, seed_));
    return std::string(bytes_of(frame)).append(reinterpret_cast<const char*>(&mark), sizeof mark);
}

bool LogWriter::write() {
    if (buffer_.empty()) return true;
    if (!ready_to_write()) return false;
    const std::string mark = mark_frame(buffer_after_);
    iovec parts[] = {part_of(mark), part_of(batch_of_buffer())};
    if (!write_batch(parts, 2, added_number_)) return false;
    buffer_.clear();
    return true;
}

bool LogWriter::write_mark() {
    if (!buffer_.empty() || !ready_to_write()) return false;
    const std::string mark = mark_frame(written_number());
    iovec parts[] = {part_of(mark)};
    return write_batch(parts, 1, written_number());
}

bool LogWriter::add_large(uint64_t number, std::span<const std::string_view> pieces) {
    CHECK(number > added_number_);
    if (!write() || !ready_to_write()) return false;
    FrameHeader frame{0, FrameKind::record, total(pieces), number, added_number_};
    frame.crc = crc_of(frame, seed_);
    for (const std::string_view piece : pieces) frame.crc = crc32c(piece, frame.crc);
    const std::string mark = mark_frame(added_number_);
    std::vector<iovec> parts{part_of(mark), part_of(bytes_of(frame))};
    for (const std::string_view piece : pieces) parts.push_back(part_of(piece));
    parts.push_back(part_of({kZeros, frame_bytes(frame.bytes) - sizeof frame - frame.bytes}));
    if (!write_batch(parts.data(), static_cast<int>(parts.size()), number)) return false;
    added_number_ = number;
    return true;
}

/// Whether there is a file that ends with its last whole batch.
bool LogWriter::ready_to_write() {
    CHECK(fd_.open());
    subject_ = path_;
    if (broken()) return fail("write", EIO);
    return !to_cut_ || cut() || fail("cut", errno);
}

/// Ends the file with its last whole batch. False: errno.
bool LogWriter::cut() {
    to_cut_ = ftruncate(fd_.get(), static_cast<off_t>(file_bytes())) != 0;
    if (!to_cut_) room_end_ = file_bytes();
    return !to_cut_;
}

/// The room of a file that is left. What stays of it if that fails harms nobody (L5).
void LogWriter::cut_room() {
    if (fd_.open() && !broken() && room_end_ > file_bytes()) cut();
}

void LogWriter::make_room() {
    if (!fd_.open() || broken() || to_cut_ || no_room_ || batch_bytes_ > kRoomBatchMax) return;
    if (room_end_ > file_bytes() + 2 * kRoomBatchMax) return;
    const uint64_t from = std::max(room_end_, file_bytes());
    if (write_at(fd_.get(), kRoom, kRoomBytes, from)) {
        room_end_ = from + kRoomBytes;
        return;
    }
    no_room_ = true;
    room_end_ = from + kRoomBytes;  // some of it may be there
    cut();
}

/// L4. The parts are used up.
bool LogWriter::write_batch(iovec* parts, int count, uint64_t number) {
    uint64_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += parts[i].iov_len;
    if (!write_at(fd_.get(), parts, count, file_bytes())) {
        const int error_number = errno;
        cut();
        return fail("write", error_number);
    }
    batch_bytes_ = bytes;
    file_bytes_.store(file_bytes() + bytes, std::memory_order_release);  // before the number, so that sync() does not know of records that it does not sync
    written_number_.store(number, std::memory_order_release);
    return true;
}

bool LogWriter::sync() {
    if (broken()) return fail("sync", EIO);
    const uint64_t number = written_number(), bytes = file_bytes();
    if (kSeededLogBug != SeededLogBug::log_not_synced && fdatasync(fd_.get()) != 0) {
        sync_failed(errno);
        return false;
    }
    synced(number, bytes);
    return true;
}

void LogWriter::synced(uint64_t number, uint64_t bytes) {
    synced_bytes_.store(std::max(bytes, synced_bytes_.load()), std::memory_order_release);
    synced_number_.store(std::max(number, synced_number_.load()), std::memory_order_release);
}

void LogWriter::sync_failed(int error_number) {
    fail("sync", error_number);
    broken_.store(true, std::memory_order_release);
}

}  // namespace millrace::disk
