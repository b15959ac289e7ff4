// See file_input.h. System calls: openat, fstat, pread.
#include "common/redis/file_input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/check.h"
#include "common/disk/file_io.h"

namespace millrace::redis {

namespace {

constexpr uint64_t kWindowBytes = 1024 * 1024;

}  // namespace

FileInput::FileInput(std::string path, Watcher watcher) : path_(std::move(path)), watcher_(std::move(watcher)), fd_(open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (!fd_.open()) throw Error(fmt::format("{} cannot be opened: {}", path_, errno_text(errno)));
    struct stat facts;
    if (fstat(fd_.get(), &facts) != 0) throw Error(fmt::format("{} cannot be read: {}", path_, errno_text(errno)));
    if (!S_ISREG(facts.st_mode)) throw Error(fmt::format("{} is no file", path_));
    length_ = static_cast<uint64_t>(facts.st_size);
}

void FileInput::fail(uint64_t offset, const std::string& what) const { throw Error(fmt::format("{} at offset {}: {}", path_, offset, what)); }

/// Has `count` bytes from at_ on in the window. False: there are fewer in the file.
bool FileInput::load(uint64_t count) {
    if (count <= loaded().size()) return true;
    if (count > left()) return false;
    const std::string_view kept = loaded();
    if (!kept.empty()) std::memmove(window_.data(), kept.data(), kept.size());
    window_at_ = at_;
    window_bytes_ = kept.size();
    const uint64_t wanted = std::min(std::max(count, kWindowBytes), left());
    if (window_.size() < wanted) window_.resize(wanted);
    const int64_t got = disk::read_at(fd_.get(), window_.data() + window_bytes_, wanted - window_bytes_, window_at_ + window_bytes_);
    if (got < 0) fail(at_, fmt::format("it cannot be read: {}", errno_text(errno)));
    window_bytes_ += static_cast<uint64_t>(got);
    if (window_bytes_ < wanted) fail(window_at_ + window_bytes_, "the file has become shorter while it was read");
    if (watcher_) watcher_(at_, length_);
    return true;
}

void FileInput::advance(uint64_t count) {
    crc_ = crc64(loaded().substr(0, count), crc_);
    at_ += count;
}

bool FileInput::take(uint64_t count, std::string_view& bytes) {
    if (!load(count)) return false;
    bytes = loaded().substr(0, count);
    advance(count);
    return true;
}

bool FileInput::skip(uint64_t count) {
    if (count > left()) return false;
    while (count > 0) {
        const uint64_t part = std::min(count, kWindowBytes);
        load(part);
        advance(part);
        count -= part;
    }
    return true;
}

bool FileInput::take_line(size_t bytes_max, std::string_view& line) {
    const uint64_t room = std::min<uint64_t>(bytes_max + 2, left());
    load(room);
    const std::string_view there = loaded().substr(0, room);
    const size_t end = there.find('\n');
    if (end == std::string_view::npos) {
        if (room == left()) return false;
        fail(at_, "there is no end of a line where one has to be");
    }
    if (end == 0 || there[end - 1] != '\r') fail(at_, "a line does not end with CR LF");
    line = there.substr(0, end - 1);
    advance(end + 1);
    return true;
}

bool FileInput::begins_with(std::string_view bytes) { return load(bytes.size()) && loaded().starts_with(bytes); }

}  // namespace millrace::redis
