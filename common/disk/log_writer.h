// Writes the log of a data folder (log_format.h). Runs in the process that keeps the log. Never throws but in the constructor: a failure
// is a return value, error() (errno) and sentence().
//
// One thread writes. Another one may meanwhile make what was written durable: by sync(), or by an fdatasync of its own on descriptor()
// and synced() or sync_failed(); not while a file is being opened.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/disk/log_format.h"
#include "common/segment.h"

struct iovec;

namespace millrace::disk {

class LogWriter {
  public:
    struct Options {
        uint64_t instance = 0;
        uint64_t file_bytes_max = 64ull * 1024 * 1024;  ///< from then on the file is full()
        bool lz4 = false;                               ///< whether batches are packed
    };

    /// Throws Error for a folder that cannot be read.
    LogWriter(std::string folder, Options options);
    ~LogWriter() { cut_room(); }

    /// Begins the file log-<after>; `continues`: the log reaches as far as `after`, so that nothing is missing. Durable when it returns.
    /// What is buffered stays if it goes on from `after`, else it is dropped. A broken file of the same name, of which nothing is durable, is replaced, and one without a record;
    /// any other one is not (EEXIST).
    bool open_new(uint64_t after, bool continues);
    /// Goes on in a file behind its last whole frame, which ends at `bytes` and whose record is `last_number` (LogReader::number_in_file); cuts what
    /// is behind it. All of that is durable when it returns.
    bool open_existing(const std::string& path, uint64_t bytes, uint64_t last_number);

    /// Buffers the effects of a record, which may come in pieces; for records of at most kBufferedRecordMax bytes, larger ones only take memory.
    void add(uint64_t number, std::span<const std::string_view> pieces);
    /// Writes what is buffered, and then a record of any size, without copying it. False: the record is not in the log, nor is any part of it, and it may be
    /// given again later; what was buffered is written, or still buffered.
    bool add_large(uint64_t number, std::span<const std::string_view> pieces);
    /// Writes what is buffered. False: the file ends with the last whole batch as before, the buffer is kept, and it may be tried again later (L4).
    bool write();
    /// Writes how far the file is durable, for when nothing else is written that would say so: what is damaged of it later is known to be. False: as write().
    /// REQUIRES: buffered_bytes() == 0.
    bool write_mark();
    /// Writes zeros ahead of the end now and then, while batches are small: a sync of bytes that do not make the file longer costs about two thirds, because
    /// the file system need not write its own books. For who syncs every batch. Whether it works is of no consequence.
    void make_room();
    /// Makes durable what was written. False: nobody knows what of it is on the disk, and asking again would not tell. The writer is broken().
    bool sync();

    int descriptor() const { return fd_.get(); }
    /// An fdatasync that began when written_number() and file_bytes() were these has succeeded, or has failed.
    void synced(uint64_t number, uint64_t bytes);
    void sync_failed(int error_number);
    /// Nothing is written any more until open_new(synced_number(), true); then all records behind that number have to be added again.
    bool broken() const { return broken_.load(std::memory_order_acquire); }

    uint64_t written_number() const { return written_number_.load(std::memory_order_acquire); }
    uint64_t synced_number() const { return synced_number_.load(std::memory_order_acquire); }
    uint64_t file_bytes() const { return file_bytes_.load(std::memory_order_acquire); }
    bool full() const { return file_bytes() >= options_.file_bytes_max; }
    size_t buffered_bytes() const { return buffer_.size(); }
    const std::string& path() const { return path_; }

    int error() const { return error_.load(std::memory_order_relaxed); }
    std::string sentence() const;

  private:
    static bool has_no_record(const std::string& path);
    bool fail(const char* action, int error_number);
    bool make_file(const LogHeader& header);
    bool ready_to_write();
    std::string mark_frame(uint64_t number) const;
    std::string_view batch_of_buffer();
    void pack(std::string_view records);
    void seal(std::string& frames, size_t from) const;
    bool write_batch(iovec* parts, int count, uint64_t number);
    bool cut();
    void cut_room();

    const std::string folder_;
    const Options options_;
    std::string path_, subject_;  ///< the file that is open; the one that an error is about
    Descriptor fd_;
    uint32_t seed_ = 0;          ///< of checksums (L6)
    uint64_t sequence_ = 0;      ///< of the newest file
    std::string buffer_;         ///< record frames without checksums
    std::string batch_;          ///< what the buffer becomes in the file
    uint64_t added_number_ = 0, buffer_after_ = 0;  ///< last record added; the one before the buffer's first
    bool to_cut_ = false;        ///< there is something behind file_bytes_ in the file, other than room
    uint64_t room_end_ = 0;      ///< zeros reach from file_bytes_ to here
    uint64_t batch_bytes_ = 0;   ///< of the last batch
    bool no_room_ = false;       ///< making room has failed in this file
    std::atomic<uint64_t> written_number_ = 0, synced_number_ = 0, file_bytes_ = 0, synced_bytes_ = 0;
    std::atomic<bool> broken_ = false;
    std::atomic<int> error_ = 0;
    std::atomic<const char*> action_ = "";
};

}  // namespace millrace::disk
