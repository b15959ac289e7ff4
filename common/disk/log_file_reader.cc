// See log_file_reader.h. System calls: openat, fstat, pread.
#include "common/disk/log_file_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <lz4.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/check.h"
#include "common/disk/file_io.h"

namespace millrace::disk {

namespace {

constexpr uint64_t kWindowBytes = 1024 * 1024;
constexpr uint64_t kFrameBodyMax = 1ull << 62;  ///< so that sums do not overflow

template <class Structure>
Structure structure_at(std::string_view bytes) {
    Structure structure;
    std::memcpy(&structure, bytes.data(), sizeof structure);
    return structure;
}

}  // namespace

LogFileReader::Opened LogFileReader::open(const std::string& path) {
    *this = LogFileReader();
    path_ = path;
    fd_ = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const int64_t length = fd_.open() ? length_of(fd_.get()) : -1;
    const int64_t got = length < 0 ? -1 : read_at(fd_.get(), reinterpret_cast<char*>(&header_), sizeof header_, 0);
    if (got < 0) {
        fault_ = fmt::format("it cannot be read: {}", errno_text(errno));
        return Opened::damage;
    }
    file_bytes_ = static_cast<uint64_t>(length);
    if (got != sizeof header_) header_ = {};
    at_ = offset_ = sizeof header_;
    return check_header();
}

LogFileReader::Opened LogFileReader::check_header() {
    if (file_bytes_ < sizeof header_) fault_ = fmt::format("its {} bytes are no header", file_bytes_);
    else if (std::memcmp(header_.magic, kLogMagic, sizeof header_.magic) != 0) fault_ = "it does not begin as a log file does";
    else if (header_.version > kLogVersion) {
        fault_ = fmt::format("made by a newer millrace: its version is {}, this program knows {}", header_.version, kLogVersion);
        return Opened::refused;
    } else if (header_.crc != crc_of(header_)) fault_ = "the checksum of its header is wrong";
    else return Opened::yes;
    header_ = {};
    return Opened::damage;
}

void LogFileReader::seek(uint64_t offset) {
    at_ = offset_ = offset;
    window_bytes_ = 0;
    unpacked_.clear();
    inner_at_ = 0;
}

LogFileReader::Outcome LogFileReader::next() {
    if (inner_at_ < unpacked_.size()) {
        give_inner();
        return Outcome::record;
    }
    return read_frame();
}

LogFileReader::Outcome LogFileReader::read_frame() {
    offset_ = at_;
    if (!has(sizeof(FrameHeader))) {
        const Rest rest = at_ == file_bytes_ ? Rest::zeros : look_at_rest();
        if (rest == Rest::unreadable) return not_loaded();
        return rest == Rest::zeros ? Outcome::end : fail(Outcome::bad, "the file ends inside of a frame's header");
    }
    if (!load(at_, sizeof(FrameHeader))) return not_loaded();
    auto frame = structure_at<FrameHeader>(loaded(at_, sizeof(FrameHeader)));
    if (static_cast<uint32_t>(frame.kind) == 0) {
        const Rest rest = look_at_rest();
        if (rest == Rest::zeros) return Outcome::end;
        if (rest == Rest::unreadable || !load(at_, sizeof(FrameHeader))) return not_loaded();
        frame = structure_at<FrameHeader>(loaded(at_, sizeof(FrameHeader)));  // which may have come to be there since the window was filled
    }
    if (frame.bytes > kFrameBodyMax || !has(frame_bytes(frame.bytes))) return fail(Outcome::bad, "the file ends inside of a frame, or its length is wrong");
    if (!load(at_, frame_bytes(frame.bytes))) return not_loaded();
    const std::string_view body = loaded(at_ + sizeof frame, frame.bytes);
    if (frame.crc != crc32c(body, crc_of(frame, header_.crc))) return fail(Outcome::bad, "the checksum is wrong");
    return take(frame, body);
}

/// What load() could not give (errno): the file has been cut since its length was looked at, as its writer does with room, or its disk fails.
LogFileReader::Outcome LogFileReader::not_loaded() {
    const int error_number = errno;
    const int64_t length = error_number == 0 ? length_of(fd_.get()) : -1;
    if (length < 0 || static_cast<uint64_t>(length) == file_bytes_) return fail(Outcome::failed, errno_text(error_number == 0 ? EIO : error_number));
    file_bytes_ = static_cast<uint64_t>(length);
    window_bytes_ = 0;
    return read_frame();
}

/// What a frame that checks is.
LogFileReader::Outcome LogFileReader::take(const FrameHeader& frame, std::string_view body) {
    packed_ = frame.kind == FrameKind::packed;
    switch (frame.kind) {
        case FrameKind::record:
            if (frame.number <= frame.previous) return fail(Outcome::bad, "its number is not above the one before");
            record_ = frame;
            body_ = body;
            at_ += frame_bytes(frame.bytes);
            return Outcome::record;
        case FrameKind::mark:
            if (frame.bytes != sizeof mark_) return fail(Outcome::bad, "it is a mark of another length");
            mark_ = structure_at<Mark>(body);
            at_ += frame_bytes(frame.bytes);
            return Outcome::mark;
        case FrameKind::packed:
            if (!unpack(frame, body)) return fail(Outcome::bad, "its packed records cannot be unpacked");
            at_ += frame_bytes(frame.bytes);
            give_inner();
            return Outcome::record;
    }
    return fail(Outcome::refused, fmt::format("made by a newer millrace: a frame of kind {}", static_cast<uint32_t>(frame.kind)));
}

bool LogFileReader::unpack(const FrameHeader& frame, std::string_view body) {
    unpacked_.clear();
    inner_at_ = 0;
    if (body.size() < sizeof(uint64_t)) return false;
    const auto length = structure_at<uint64_t>(body);
    body.remove_prefix(sizeof length);
    if (length == 0 || length > kPackedBytesMax || body.size() > static_cast<size_t>(LZ4_compressBound(kPackedBytesMax))) return false;
    unpacked_.resize(length);
    const int got = LZ4_decompress_safe(body.data(), unpacked_.data(), static_cast<int>(body.size()), static_cast<int>(length));
    const bool whole = got >= 0 && static_cast<uint64_t>(got) == length && inside_is_whole(frame);
    if (!whole) unpacked_.clear();
    return whole;
}

/// Whether the unpacked bytes are record frames from end to end, which follow each other as the frame around them says.
bool LogFileReader::inside_is_whole(const FrameHeader& outer) const {
    uint64_t at = 0, number = outer.previous;
    while (at < unpacked_.size()) {
        const uint64_t left = unpacked_.size() - at;
        if (left < sizeof(FrameHeader)) return false;
        const auto frame = structure_at<FrameHeader>(std::string_view(unpacked_).substr(at));
        if (frame.kind != FrameKind::record || frame.bytes > left - sizeof frame || frame_bytes(frame.bytes) > left) return false;
        if (frame.previous != number || frame.number <= number) return false;
        number = frame.number;
        at += frame_bytes(frame.bytes);
    }
    return number == outer.number;
}

void LogFileReader::give_inner() {
    const std::string_view rest = std::string_view(unpacked_).substr(inner_at_);
    record_ = structure_at<FrameHeader>(rest);
    body_ = rest.substr(sizeof record_, record_.bytes);
    inner_at_ += frame_bytes(record_.bytes);
}

LogFileReader::Outcome LogFileReader::fail(Outcome outcome, std::string fault) {
    fault_ = std::move(fault);
    window_bytes_ = 0;  // who asks again wants to know what is there then
    return outcome;
}

/// Whether the file has so many bytes from at_ on; it may have grown, or been cut, since it was looked at.
bool LogFileReader::has(uint64_t bytes) {
    if (at_ <= file_bytes_ && bytes <= file_bytes_ - at_) return true;
    if (const int64_t length = length_of(fd_.get()); length >= 0) file_bytes_ = static_cast<uint64_t>(length);
    return at_ <= file_bytes_ && bytes <= file_bytes_ - at_;
}

/// Makes the window hold these bytes, of which the file has shown that it has them (L7). False: errno; 0 if it has them no more.
bool LogFileReader::load(uint64_t offset, uint64_t bytes) {
    if (offset >= window_at_ && offset + bytes <= window_at_ + window_bytes_) return true;
    const uint64_t wanted = std::max(bytes, kWindowBytes);
    if (window_.size() < wanted || window_.size() > 4 * wanted) std::vector<char>(wanted).swap(window_);
    window_bytes_ = 0;
    const int64_t got = read_at(fd_.get(), window_.data(), wanted, offset);
    if (got < 0) return false;
    window_at_ = offset;
    window_bytes_ = static_cast<uint64_t>(got);
    errno = 0;
    return window_bytes_ >= bytes;
}

/// Whether the file from at_ on, as it is now, is room that nothing was written to yet. `unreadable`: errno, as load().
LogFileReader::Rest LogFileReader::look_at_rest() {
    Rest rest = Rest::zeros;
    window_bytes_ = 0;
    for (uint64_t at = at_; rest == Rest::zeros && at < file_bytes_;) {
        const uint64_t bytes = std::min(kWindowBytes, file_bytes_ - at);
        if (!load(at, bytes)) rest = Rest::unreadable;
        else if (!std::ranges::all_of(loaded(at, bytes), [](char byte) { return byte == 0; })) rest = Rest::other;
        at += bytes;
    }
    window_bytes_ = 0;  // who asks again wants to know what is there then
    return rest;
}

bool LogFileReader::mark_at(uint64_t offset, PlacedMark& found) const {
    const std::string_view bytes = loaded(offset, kMarkFrameBytes);
    const auto frame = structure_at<FrameHeader>(bytes);
    if (frame.kind != FrameKind::mark || frame.bytes != sizeof(Mark) || frame.number != frame.previous) return false;
    const std::string_view body = bytes.substr(sizeof frame);
    found = {offset, frame.number, structure_at<Mark>(body)};
    return found.mark.synced <= offset && frame.crc == crc32c(body, crc_of(frame, header_.crc));
}

bool LogFileReader::find_mark(uint64_t from, uint64_t synced_above, PlacedMark& found) {
    for (uint64_t at = round_up(from, 8); at + kMarkFrameBytes <= file_bytes_; at += 8) {
        if (!load(at, kMarkFrameBytes)) return false;
        if (mark_at(at, found) && found.mark.synced > synced_above) return true;
    }
    return false;
}

}  // namespace millrace::disk
