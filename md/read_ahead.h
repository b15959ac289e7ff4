// A process that reads, checks and unpacks a snapshot while md puts its items into the store: with two processors a start takes as long as the slower
// of both. Begun by md before it gives up the right to start processes (md/confinement.h); ends with its work, or with md.
//
// The items go through a ring of bytes in memory that both share: item header, key, value, one after the other, of any length. Invariants:
//   A1  `tail` is stored with release behind the bytes, `head` behind their copy; each side takes the other's with acquire.
//   A2  `state` is stored with release after the last tail. Who finds the ring empty looks at `state` first and at `tail` again.
//   A3  A reader that died says nothing: md sees in /proc that it is no more, and the load fails with a sentence.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "common/disk/snapshot_reader.h"

namespace millrace::md {

class ReadAhead {
  public:
    /// Starts reading a snapshot. Null if the process cannot be started: it is read without it then.
    static std::unique_ptr<ReadAhead> start(const std::string& path);
    ~ReadAhead();
    ReadAhead(const ReadAhead&) = delete;

    const std::string& path() const { return path_; }
    /// As disk::SnapshotReader::next(). Views until the next call.
    disk::SnapshotReader::Outcome next(disk::SnapshotReader::Item& item);
    const std::string& sentence() const { return sentence_; }
    /// Of the file, so far.
    uint64_t bytes_read() const;

  private:
    static constexpr uint64_t kRingBytes = 8 * 1024 * 1024;
    static constexpr uint64_t kPublishBytes = 64 * 1024;
    static constexpr unsigned kPauseUs = 50;
    static constexpr unsigned kPausesBetweenLooks = 2000;

    enum class State : uint32_t { reading, done, damage };
    struct Shared {
        alignas(128) std::atomic<uint64_t> tail, bytes_read;
        std::atomic<State> state;
        char sentence[1024];
        alignas(128) std::atomic<uint64_t> head;
        alignas(128) char data[kRingBytes];
    };
    struct ItemHead {
        uint64_t value_length, stamp;
        int64_t expire_at_ms;
        uint32_t key_length;
        uint32_t database;
    };

    explicit ReadAhead(std::string path) : path_(std::move(path)) {}
    [[noreturn]] void read_all();
    void write(const void* bytes, uint64_t count);
    void publish() { shared_->tail.store(tail_, std::memory_order_release); }
    bool take(void* to, uint64_t count);
    bool wait_for_more();

    const std::string path_;
    Shared* shared_ = nullptr;
    int pid_ = 0;
    uint64_t tail_ = 0, head_ = 0, known_ = 0;  ///< own position; what is known of the other's
    std::string key_, value_, sentence_;
};

}  // namespace millrace::md
