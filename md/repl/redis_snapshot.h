// A full sync with a redis-server: its RDB comes over the link into a file, and that file becomes a snapshot in data/sync, as a millrace master would have sent
// it. Runs in md_repl.
//
//   begin ──take, take, ...──► all has come ──convert, convert, ...──► data/sync is complete
//
// How an RDB comes: "$<bytes>\r\n" and so many bytes; or, written straight into the socket, "$EOF:<40 bytes>\r\n", any number of bytes, and the 40 bytes again. Line
// ends before it say that the master lives. The stream of commands follows at once, or when it has heard of the replica.
// Order: the RDB in data/sync/master.rdb -> read, strings written to a snapshot with the master's offset for a stream number -> that durable -> the
// file `history` with the master's name -> `complete` (V3 of receiver.h).
// Invariants:
//   D1  A value that is no string, a library of functions and data of a module end it with a sentence that names them: nothing of the master's data is taken
//       if not all of it can be.
//   D2  Memory: one read of the socket, one value, one block of the snapshot. A slice of the conversion is bounded in time, but for one value.
//   D3  Keys whose time is over come along: the master says when they go.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/disk/history_file.h"
#include "common/disk/snapshot_writer.h"
#include "common/redis/file_input.h"
#include "common/redis/rdb_reader.h"
#include "common/segment.h"

namespace millrace::md_repl {

class RedisSnapshot {
  public:
    RedisSnapshot(std::string folder, uint64_t instance) : folder_(std::move(folder)), instance_(instance) {}
    ~RedisSnapshot() { discard(); }
    RedisSnapshot(const RedisSnapshot&) = delete;

    /// False: sentence() says why. `offset`: where the stream goes on.
    bool begin(const std::string& history, uint64_t offset);
    /// Removes what there is of it, unless it is complete.
    void discard();

    enum class Outcome { more, done, failed };
    /// Takes what has come; `taken`: how many bytes of it.
    Outcome take(std::string_view bytes, size_t& taken);
    /// A slice of the conversion, until monotonic_us() has passed `until_us`.
    Outcome convert(uint64_t until_us);

    /// Whether the RDB has begun to come.
    bool has_begun() const { return form_ != Form::unknown; }
    /// Bytes of the RDB; 0: nobody knows. And how many have come.
    uint64_t bytes() const { return bytes_; }
    uint64_t bytes_come() const { return come_; }
    uint64_t keys() const { return keys_; }
    const std::string& history() const { return history_; }
    const std::string& sentence() const { return sentence_; }
    /// Whether the failure lies in what the master has, so that it will be the same the next time.
    bool refused() const { return refused_; }

  private:
    enum class Form { unknown, counted, marked };
    static constexpr size_t kMarkBytes = 40;
    static constexpr size_t kLineMax = 256;

    Outcome fail(std::string sentence);
    Outcome take_line(std::string_view bytes, size_t& taken);
    Outcome write(std::string_view bytes);
    Outcome end_of_file();
    bool begin_conversion();
    void begin_snapshot();
    bool finish();
    std::string rdb_path() const { return disk::sync_rdb_path(folder_); }

    const std::string folder_;
    const uint64_t instance_;
    std::string history_, sentence_, mark_;
    uint64_t offset_ = 0, bytes_ = 0, come_ = 0, written_ = 0, keys_ = 0, stream_database_ = 0;
    Form form_ = Form::unknown;
    Descriptor file_;
    bool begun_ = false, refused_ = false;
    std::unique_ptr<redis::FileInput> input_;
    std::unique_ptr<redis::RdbReader> reader_;
    std::unique_ptr<disk::SnapshotWriter> writer_;
};

}  // namespace millrace::md_repl
