// See redis_snapshot.h. Runs in md_repl. System calls: mkdir, openat, pwritev, pread, fsync, renameat, unlink.
#include "md/repl/redis_snapshot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/check.h"
#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "common/disk/file_io.h"
#include "common/disk/log_writer.h"
#include "common/text.h"

namespace millrace::md_repl {

namespace {

constexpr unsigned kElementsBetweenLooks = 16;

/// Of "list|lists" the first.
std::string_view one_of(std::string_view name) { return name.substr(0, name.find('|')); }

}  // namespace

RedisSnapshot::Outcome RedisSnapshot::fail(std::string sentence) {
    sentence_ = std::move(sentence);
    discard();
    return Outcome::failed;
}

bool RedisSnapshot::begin(const std::string& history, uint64_t offset) {
    history_ = history;
    offset_ = offset;
    const std::string to = disk::sync_folder_path(folder_);
    disk::remove_sync(folder_);
    if (mkdir(to.c_str(), 0700) != 0 && errno != EEXIST) return fail(fmt::format("{} cannot be made: {}", to, errno_text(errno))), false;
    begun_ = true;
    file_ = Descriptor(open(rdb_path().c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
    if (!file_.open()) return fail(fmt::format("{} cannot be made: {}", rdb_path(), errno_text(errno))), false;
    return true;
}

void RedisSnapshot::discard() {
    file_ = Descriptor();
    reader_.reset();
    input_.reset();
    writer_.reset();
    if (begun_) disk::remove_sync(folder_);
    begun_ = false;
}

/// "$<bytes>", "$EOF:<mark>", or nothing, which says that the master lives.
RedisSnapshot::Outcome RedisSnapshot::take_line(std::string_view bytes, size_t& taken) {
    const size_t blank = std::min(bytes.find_first_not_of('\n'), bytes.size());
    const std::string_view rest = bytes.substr(blank);
    const size_t end = rest.find("\r\n");
    taken = blank;
    if (end == std::string_view::npos) return rest.size() > kLineMax ? fail("it does not say what it is about to send") : Outcome::more;
    std::string_view line = rest.substr(0, end);
    taken += end + 2;
    if (line.starts_with("-")) return fail("its snapshot cannot be had: " + printable(line.substr(1), kLineMax));
    if (line.starts_with("$EOF:") && line.size() == 5 + kMarkBytes) {
        mark_ = line.substr(5);
        form_ = Form::marked;
        return Outcome::more;
    }
    int64_t length = 0;
    if (!line.starts_with("$") || !parse_integer(line.substr(1), length) || length <= 0) return fail("it does not say what it is about to send");
    bytes_ = static_cast<uint64_t>(length);
    form_ = Form::counted;
    return Outcome::more;
}

RedisSnapshot::Outcome RedisSnapshot::write(std::string_view bytes) {
    if (!disk::write_at(file_.get(), bytes.data(), bytes.size(), written_)) return fail(fmt::format("{} cannot be written: {}", rdb_path(), errno_text(errno)));
    written_ += bytes.size();
    come_ = written_;
    return Outcome::more;
}

RedisSnapshot::Outcome RedisSnapshot::end_of_file() {
    file_ = Descriptor();
    return begin_conversion() ? Outcome::done : Outcome::failed;
}

RedisSnapshot::Outcome RedisSnapshot::take(std::string_view bytes, size_t& taken) {
    taken = 0;
    if (form_ == Form::unknown) return take_line(bytes, taken);
    if (form_ == Form::counted) {
        taken = std::min<uint64_t>(bytes.size(), bytes_ - written_);
        if (write(bytes.substr(0, taken)) == Outcome::failed) return Outcome::failed;
        return written_ == bytes_ ? end_of_file() : Outcome::more;
    }
    // What could be the beginning of the mark stays until more has come.
    const size_t end = bytes.find(mark_);
    const size_t data = end != std::string_view::npos ? end : bytes.size() - std::min(bytes.size(), kMarkBytes - 1);
    if (write(bytes.substr(0, data)) == Outcome::failed) return Outcome::failed;
    taken = end == std::string_view::npos ? data : end + kMarkBytes;
    return end == std::string_view::npos ? Outcome::more : end_of_file();
}

bool RedisSnapshot::begin_conversion() {
    const redis::RdbSinks sinks{
        [this](redis::RdbString&& item) {
            begin_snapshot();
            ++keys_;
            // What is wrong shows when the slice ends.
            writer_->add(item.database, item.key, item.value, item.expire_at_ms, std::max<uint64_t>(offset_, 1));
        },
        [this](const char* name, uint64_t database, std::string_view key) {
            refused_ = true;
            if (key.empty()) throw Error(fmt::format("its data has a {}, which this server cannot keep", one_of(name)));
            throw Error(fmt::format("its data has a {}, key '{}' in database {}, and this server keeps strings only: remove what is no string there, or migrate it elsewhere", one_of(name), printable(key), database));
        },
        [this](std::string_view name, std::string_view value) {
            int64_t number = 0;
            if (name == "repl-stream-db" && parse_integer(value, number) && number >= 0 && number < static_cast<int64_t>(kEffectDatabases)) stream_database_ = static_cast<uint64_t>(number);
        }};
    try {
        input_ = std::make_unique<redis::FileInput>(rdb_path());
        reader_ = std::make_unique<redis::RdbReader>(*input_, sinks);
    } catch (const Error& error) {
        fail(error.what());
        return false;
    }
    return true;
}

/// Once what the RDB says of itself was read.
void RedisSnapshot::begin_snapshot() {
    if (writer_) return;
    writer_ = std::make_unique<disk::SnapshotWriter>(disk::sync_folder_path(folder_), instance_, std::max<uint64_t>(offset_, 1), true);
    writer_->set_stream_number(offset_);
    writer_->set_stream_database(stream_database_);
    writer_->begin();
}

RedisSnapshot::Outcome RedisSnapshot::convert(uint64_t until_us) {
    try {
        for (unsigned elements = 1; reader_->step(); ++elements) {
            if (elements % kElementsBetweenLooks != 0 || monotonic_us() < until_us) continue;
            return writer_ && writer_->error() != 0 ? fail(writer_->sentence()) : Outcome::more;
        }
    } catch (const Error& error) {
        return fail(error.what());
    } catch (const std::bad_alloc&) {
        return fail("there is no memory for a value of its data");
    }
    return finish() ? Outcome::done : Outcome::failed;
}

bool RedisSnapshot::finish() {
    begin_snapshot();
    const std::string to = disk::sync_folder_path(folder_);
    const uint64_t number = std::max<uint64_t>(offset_, 1);
    if (!writer_->finish(number)) return fail(writer_->sentence()), false;
    reader_.reset();
    input_.reset();
    unlink(rdb_path().c_str());
    // The log goes on behind the snapshot.
    disk::LogWriter log(to, disk::LogWriter::Options{instance_, ~uint64_t{0}, false});
    if (!log.open_new(number, true) || !log.write() || !log.sync()) return fail(log.sentence()), false;
    if (!disk::write_history(to, {history_, {}, 0, true}) || !disk::sync_folder(to) || !disk::complete_sync(folder_))
        return fail(fmt::format("{} cannot be written: {}", to, errno_text(errno))), false;
    begun_ = false;
    return true;
}

}  // namespace millrace::md_repl
