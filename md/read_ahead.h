// A process that reads, checks and unpacks a snapshot while md puts its items into the store: with two processors a start takes as long as the slower
// of both. Begun by md before it gives up the right to start processes (md/confinement.h); ends with its work, or with md.
//
// The blocks go through slots in memory that both share. Invariants:
//   A1  `filled` is stored with release behind the bytes of a slot, `taken` behind their use; each side takes the other's with acquire.
//   A2  `state` is stored with release after the last slot. Who finds no slot looks at `state` first and at `filled` again.
//   A3  A reader that died says nothing: md sees in /proc that it is no more, and the load fails with a sentence.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "common/disk/snapshot_reader.h"

namespace millrace::md {

class ReadAhead : public disk::BlockSource {
  public:
    /// Starts reading a snapshot. Null if the process cannot be started: it is read without it then.
    static std::unique_ptr<ReadAhead> start(const std::string& path);
    ~ReadAhead() override;
    ReadAhead(const ReadAhead&) = delete;

    const std::string& path() const { return path_; }
    Outcome next(std::string_view& raw, uint64_t& offset) override;
    const std::string& sentence() const override { return sentence_; }

  private:
    static constexpr unsigned kSlots = 8;
    static constexpr unsigned kPauseUs = 50;
    static constexpr unsigned kPausesBetweenLooks = 2000;

    enum class State : uint32_t { reading, done, damage };
    struct Slot {
        uint64_t bytes, offset;
        alignas(128) char raw[disk::kBlockBytesMax];
    };
    struct Shared {
        alignas(128) std::atomic<uint64_t> filled;
        std::atomic<State> state;
        char sentence[1024];
        alignas(128) std::atomic<uint64_t> taken;
        Slot slots[kSlots];
    };

    explicit ReadAhead(std::string path) : path_(std::move(path)) {}
    [[noreturn]] void read_all();
    bool wait_for_more();

    const std::string path_;
    Shared* shared_ = nullptr;
    int pid_ = 0;
    uint64_t next_ = 0;  ///< slot
    std::string sentence_;
};

}  // namespace millrace::md
