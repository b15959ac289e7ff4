// Readers beside md, as io_conn will be: they read keys straight from the live memory, without any lock, while md changes it
// or lies dead. Every reader goes through these steps, and any number of images may lie between two of them:
//
//   locate    the route, then the directory's entry: the index segment of each key
//   version   both buckets' versions of each key, all even; route and entry still say the same
//   copy      the buckets
//   read      the items that the slots refer to; nothing that they say is believed before
//   validate  all versions are what they were: then, and only then, there is an answer
//
// At every image the steps are taken from every state that a reader may have reached at any image before, so a reader that
// was stopped for long is as well there as one that sees a single image. Used by tests/crash.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/crash/contents.h"

namespace millrace::crash {

/// A key that readers read.
struct Watched {
    unsigned database;
    std::string key;
};

/// The readers of a group of keys, which they read together: all from one state, or no answer.
class Readers {
  public:
    /// `states`: what the store holds before the first operation and after each.
    Readers(std::vector<Watched> group, uint64_t hash_seed, const std::vector<Contents>& states);

    /// Takes all steps that an image allows. `state`: the one that recovery makes of this image. Empty, or what is wrong:
    /// an answer of no state, of one taken back, or of one that recovery does not keep.
    std::string look(const md::StoreMemory& memory, unsigned state);
    uint64_t answers() const { return answers_; }

  private:
    using Answer = std::vector<std::optional<Val>>;
    enum Step : unsigned { kLocated, kVersioned, kCopied, kRead, kSteps };

    /// How far a reader has come.
    struct Reading {
        unsigned floor = 0;  ///< no earlier state was current when it began
        std::vector<uint64_t> segments;
        std::vector<uint64_t> versions;
        std::vector<uint64_t> words;  ///< of the buckets
        Answer answer;
        bool operator==(const Reading&) const = default;
    };
    /// Readings kept of a step; the oldest that cannot be validated any more make room.
    static constexpr size_t kReadingsMax = 96;

    std::optional<Reading> locate(const md::StoreMemory& memory, unsigned floor) const;
    std::optional<Reading> version(const md::StoreMemory& memory, Reading reading) const;
    Reading copy(const md::StoreMemory& memory, Reading reading) const;
    std::optional<Reading> read(const md::StoreMemory& memory, Reading reading) const;
    std::optional<Val> read_key(const md::StoreMemory& memory, const Reading& reading, size_t key, bool& gave_up) const;
    bool validate(const md::StoreMemory& memory, const Reading& reading) const;
    std::string judge(const Reading& reading, unsigned state);
    void add(const md::StoreMemory& memory, Step step, std::optional<Reading> reading);
    uint64_t bucket_at(const Reading& reading, size_t bucket) const;

    std::vector<Watched> group_;
    std::vector<md::st::KeyPlace> places_;
    std::vector<Answer> expected_;  ///< by state
    std::vector<Reading> readings_[kSteps];
    unsigned seen_ = 0;  ///< the latest state that an answer was of
    uint64_t answers_ = 0;
};

}  // namespace millrace::crash
