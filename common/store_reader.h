// The store as helpers of md see it: mapped for reading only, while md changes it. Runs in md_log and md_repl.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "common/racing_copy.h"
#include "common/segment.h"
#include "common/store_layout.h"

namespace millrace {

namespace st = millrace::store;

class StoreReader {
  public:
    StoreReader() = default;
    /// Throws Error.
    StoreReader(const std::string& path, uint64_t instance) : segment_(Segment::attach({path, st::kStoreLayout, instance}, Access::read_only)) {}

    /// Whether the file at the path is still the one that is mapped.
    bool is_current() const { return segment_.is_current(); }
    uint64_t generation() const { return segment_.header().generation; }

    const std::byte* at(uint64_t reference) const { return segment_.payload<const std::byte>() - kSegmentPayload + reference; }
    /// A word that md may change at any time.
    uint64_t load(uint64_t reference) const { return racing_load(at(reference)); }
    /// The same for one that says what else may be read.
    uint64_t load_acquire(uint64_t reference) const {
        const uint64_t word = load(reference);
        std::atomic_thread_fence(std::memory_order_acquire);
        return word;
    }
    uint64_t root(size_t field) const { return load_acquire(st::kRootAt + field); }
    /// In all databases together.
    uint64_t keys() const {
        uint64_t all = 0;
        for (unsigned database = 0; database < st::kDatabases; ++database)
            all += root(offsetof(st::Root, databases) + database * sizeof(st::DatabaseWords) + offsetof(st::DatabaseWords, keys));
        return all;
    }
    /// Bytes in use: no reference is beyond them.
    uint64_t bytes() const { return root(offsetof(st::Root, frontier)) << st::kPageShift; }

  private:
    Segment segment_;
};

}  // namespace millrace
