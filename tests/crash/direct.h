// The direct readers of io_conn, the real code, beside md: each is stopped between two of its loads of the store and goes on when
// md has come some images further, or has died and been recovered. Any number of images may lie between any two loads, as an
// even sequence of pseudo-random choices says; what a reader then answers must be what the keys had at one moment of its reading,
// and never older than what another was told before. readers (reader.h) try every step of an idealised reader instead.
// Used by tests/crash.
#pragma once

#include <ucontext.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/crash/contents.h"
#include "tests/crash/reader.h"

namespace millrace::crash {

class DirectReaders {
  public:
    /// `states`: what the store holds before the first operation and after each.
    /// `seed`: of the choices.
    DirectReaders(std::vector<Watched> group, const md::StoreMemory& live, const std::vector<Contents>& states, uint64_t seed);
    ~DirectReaders();
    DirectReaders(DirectReaders&&) noexcept;

    /// Lets the readers go on at this image. `state`: the one that recovery makes of it. Empty, or what is wrong.
    std::string look(unsigned state);
    uint64_t answers() const { return answers_; }

  private:
    class Fiber;
    using Answer = std::vector<std::optional<Val>>;
    static constexpr size_t kFibersMax = 64;
    static constexpr unsigned kFibersAtOnce = 2;  ///< that begin at an image
    static constexpr unsigned kLoadsAtOnce = 24;
    static constexpr unsigned kSleepMax = 100;  ///< images, as long as a commit
    static constexpr unsigned kLongSleepMax = 600;

    std::string judge(const Fiber& fiber, unsigned state);

    std::vector<Watched> group_;
    const std::byte* base_;
    std::vector<Answer> expected_;  ///< by state
    std::vector<std::unique_ptr<Fiber>> fibers_;
    uint64_t random_;
    unsigned seen_ = 0;  ///< the latest state that an answer was of
    uint64_t answers_ = 0;
};

}  // namespace millrace::crash
