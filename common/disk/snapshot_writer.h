// Writes a snapshot (snapshot_format.h). Runs in the process that makes it; never throws: a failure is a return value, error() (errno) and
// sentence(), and all that comes after it fails as well.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/disk/snapshot_format.h"
#include "common/segment.h"

struct ZSTD_CCtx_s;

namespace millrace::disk {

class SnapshotWriter {
  public:
    /// `start`: every item has at least the effects up to this number. `zstd`: whether blocks are packed.
    SnapshotWriter(std::string folder, uint64_t instance, uint64_t start, bool zstd);
    ~SnapshotWriter();
    SnapshotWriter(const SnapshotWriter&) = delete;

    /// Before begin(): the stream number that goes with `start`.
    void set_stream_number(uint64_t number) { stream_ = number; }
    /// Of a follower: and the stream database.
    void set_stream_database(uint64_t database) { stream_database_ = database + 1; }
    bool begin();
    bool add(uint8_t database, std::string_view key, std::string_view value, int64_t expire_at_ms, uint64_t stamp);
    /// The same with the value by add_bytes(), in as many parts as one likes; they have to be exactly value_length bytes together.
    bool begin_item(uint8_t database, std::string_view key, uint64_t value_length, int64_t expire_at_ms, uint64_t stamp);
    bool add_bytes(std::string_view bytes);
    /// Makes it a snapshot: durable and under its name when it returns. `end`: the log has to reach this number.
    bool finish(uint64_t end);
    /// Removes what was made; the destructor does so if it is not finished.
    void discard();

    uint64_t items() const { return items_; }
    uint64_t bytes_written() const { return at_; }
    int error() const { return error_; }
    std::string sentence() const;

  private:
    bool put(std::string_view bytes);
    bool write_block();
    bool pack(BlockHeader& block);
    bool write(const void* bytes, uint64_t count);
    bool sync_now_and_then();
    bool fail(const char* action, int error_number);

    const std::string folder_, path_;
    const uint64_t instance_, start_;
    uint64_t stream_ = 0, stream_database_ = 0;
    Descriptor fd_;
    std::unique_ptr<ZSTD_CCtx_s, size_t (*)(ZSTD_CCtx_s*)> zstd_;
    std::string raw_, stored_;
    uint64_t at_ = 0, synced_ = 0, items_ = 0, value_left_ = 0;
    uint32_t seed_ = 0;  ///< of checksums (S4)
    bool begun_ = false;
    int error_ = 0;
    const char* action_ = "";
};

}  // namespace millrace::disk
