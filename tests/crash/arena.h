// Memory for a store under test: a file without a name, mapped twice. The operation under test writes through the shared
// mapping; the private one shows the same bytes, and what recovery writes there is thrown away afterwards, so an image costs
// no copy. Used by tests/crash.
#pragma once

#include <cstddef>
#include <cstdint>

#include "md/store_memory.h"

namespace millrace::crash {

class Arena {
  public:
    explicit Arena(uint64_t pages);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    uint64_t bytes() const { return bytes_; }
    std::byte* shared() const { return shared_; }
    /// The memory that the operation changes. What is given back reads as zeros, as it does from a segment.
    md::StoreMemory live() const;
    /// The same bytes, to recover and to change at will until forget().
    md::StoreMemory image() const;
    /// The image shows the live memory again.
    void forget() const;
    /// Takes over the bytes of another arena of the same size.
    void copy_from(const Arena& other) const;

  private:
    uint64_t bytes_;
    int file_;
    std::byte* shared_;
    std::byte* private_;
};

}  // namespace millrace::crash
