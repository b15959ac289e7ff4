// See rdb_writer.h; what an RDB is says rdb_reader.h. Runs in millrace-convert. System calls: openat, pwritev, fsync, renameat, unlink.
#include "tools/convert/rdb_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/file_io.h"
#include "common/redis_format.h"

namespace millrace::convert {

namespace {

constexpr mode_t kFileMode = 0600;
constexpr size_t kBufferBytes = 1024 * 1024;
constexpr std::string_view kHeader = "REDIS0010";

enum Byte : uint8_t { string_type = 0, aux = 250, resize_db = 251, expire_ms = 252, select_db = 254, eof = 255 };

void append_number(std::string& out, uint64_t number) { out.append(reinterpret_cast<const char*>(&number), sizeof number); }

}  // namespace

RdbWriter::RdbWriter(std::string path)
    : path_(std::move(path)), partial_(fmt::format("{}.{}.partial", path_, getpid())), fd_(open(partial_.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, kFileMode)) {
    if (!fd_.open()) fail("make");
    buffer_ = kHeader;
    put_remark("redis-bits", "64");
    put_remark("ctime", std::to_string(wall_ms() / 1000));
}

RdbWriter::~RdbWriter() {
    if (!published_) unlink(partial_.c_str());
}

void RdbWriter::fail(const char* action) const { throw Error(fmt::format("cannot {} {}: {}", action, partial_, errno_text(errno))); }

void RdbWriter::put_remark(std::string_view name, std::string_view value) {
    buffer_ += static_cast<char>(aux);
    redis::append_string(buffer_, name);
    redis::append_string(buffer_, value);
}

void RdbWriter::begin_database(uint64_t database, uint64_t keys, uint64_t expiring) {
    buffer_ += static_cast<char>(select_db);
    redis::append_length(buffer_, database);
    buffer_ += static_cast<char>(resize_db);
    redis::append_length(buffer_, keys);
    redis::append_length(buffer_, expiring);
}

void RdbWriter::add(std::string_view key, std::string_view value, int64_t expire_at_ms) {
    if (expire_at_ms != -1) {
        buffer_ += static_cast<char>(expire_ms);
        append_number(buffer_, static_cast<uint64_t>(expire_at_ms));
    }
    buffer_ += static_cast<char>(string_type);
    redis::append_string(buffer_, key);
    redis::append_string(buffer_, value);
    if (buffer_.size() >= kBufferBytes) write();
}

void RdbWriter::write() {
    crc_ = redis::crc64(buffer_, crc_);
    if (!disk::write_at(fd_.get(), buffer_.data(), buffer_.size(), at_)) fail("write");
    at_ += buffer_.size();
    buffer_.clear();
}

void RdbWriter::finish() {
    buffer_ += static_cast<char>(eof);
    write();
    append_number(buffer_, crc_);
    write();
    if (fsync(fd_.get()) != 0) fail("sync");
}

void RdbWriter::publish() {
    if (rename(partial_.c_str(), path_.c_str()) != 0) fail("rename");
    published_ = true;
    const std::string folder = std::filesystem::path(path_).parent_path().string();
    if (!disk::sync_folder(folder.empty() ? "." : folder)) fail("rename");
}

}  // namespace millrace::convert
