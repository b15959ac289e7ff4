// Reads a snapshot (snapshot_format.h). Runs in starts, replicas and tools. Never throws.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/disk/data_folder.h"
#include "common/disk/snapshot_format.h"
#include "common/segment.h"

struct ZSTD_DCtx_s;

namespace millrace::disk {

/// Where the blocks of a snapshot come from if somebody else has read them from its file already (SnapshotReader::read_block).
class BlockSource {
  public:
    virtual ~BlockSource() = default;
    enum class Outcome { block, end, damage };
    /// The raw bytes of the next block, until the next call, and the offset in the file behind it.
    virtual Outcome next(std::string_view& raw, uint64_t& offset) = 0;
    virtual const std::string& sentence() const = 0;  ///< of damage
};

class SnapshotReader {
  public:
    explicit SnapshotReader(std::string path);

    /// Reads header and end block, not the data between. False: it is not a snapshot that this program can read, see sentence().
    bool open();
    /// Whether open() failed only because a newer millrace has made the file.
    bool newer() const { return newer_; }

    uint64_t instance() const { return header_.instance; }
    uint64_t start() const { return header_.start; }
    uint64_t stream_number() const { return header_.stream != 0 || header_.stream_database != 0 ? header_.stream : header_.start; }
    uint64_t stream_database() const { return header_.stream_database == 0 || header_.stream_database > kEffectDatabases ? 0 : header_.stream_database - 1; }
    int64_t created_ms() const { return header_.created_ms; }
    uint64_t end() const { return end_.end; }
    uint64_t items() const { return end_.items; }
    int64_t ended_ms() const { return end_.ended_ms; }
    uint64_t file_bytes() const { return file_bytes_; }
    const std::string& path() const { return path_; }

    enum class Outcome { item, end, damage };
    struct Item {
        uint8_t database;
        std::string_view key, value;  ///< until the next call; as long as next_is_beside(), until the one after it, and so on
        int64_t expire_at_ms;
        uint64_t stamp;
    };
    /// The next item, or the end, which comes only behind all items; or damage, for good: sentence().
    Outcome next(Item& item);

    /// Whether the next item lies in the same block as the last one, so that looking at it spoils nothing.
    bool next_is_beside() const;
    /// From now on next() takes its blocks from there. After open().
    void take_blocks_from(BlockSource& source) { source_ = &source; }
    /// For who gives blocks on, in place of next(): the raw bytes of the next data block, to where there is room for kBlockBytesMax. 0: there is none any
    /// more, or damage: sentence() is not empty.
    uint64_t read_block(char* to);

    uint64_t items_read() const { return items_read_; }
    uint64_t bytes_read() const { return at_; }
    const std::string& sentence() const { return sentence_; }  ///< file, offset, what

  private:
    bool check_header();
    bool read_end();
    bool next_block();
    bool unpack(const BlockHeader& block, char* to);
    bool take(uint64_t count, std::string& assembled, std::string_view& bytes);
    bool fail(uint64_t offset, std::string what);
    bool fail_to_read(uint64_t offset);
    uint64_t end_offset() const { return file_bytes_ - kEndBlockBytes; }

    const std::string path_;
    Descriptor fd_;
    std::unique_ptr<ZSTD_DCtx_s, size_t (*)(ZSTD_DCtx_s*)> zstd_;
    SnapshotHeader header_{};
    SnapshotEnd end_{};
    uint64_t file_bytes_ = 0, at_ = 0, block_at_ = 0, items_read_ = 0;
    BlockSource* source_ = nullptr;
    std::string stored_, raw_;
    std::string_view rest_;  ///< of the block's raw bytes
    std::string assembled_[3];  ///< header, key, value, where they do not lie in one block
    bool newer_ = false, damaged_ = false;
    std::string sentence_;
};

}  // namespace millrace::disk
