// Walks a store and reports whatever breaks an invariant of common/store_layout.h. Reads only. Used by `millrace check`, by md
// when it takes a store over after a fault, and by the tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "md/store_memory.h"

namespace millrace::md {

struct StoreReport {
    std::vector<std::string> faults;  ///< one sentence each, at most kFaultsMax
    uint64_t keys = 0;
    uint64_t expires = 0;
    uint64_t index_segments = 0;
    uint64_t pages = 0;        ///< in use
    uint64_t free_pages = 0;
    uint64_t holes = 0;
    uint64_t garbage = 0;      ///< entries of the garbage list
    uint64_t records = 0;      ///< replies that io_conn still read

    static constexpr size_t kFaultsMax = 50;
    bool good() const { return faults.empty(); }
};

/// REQUIRES: nobody changes the store meanwhile, and no list is committed and not applied (a copy, or after recovery).
StoreReport check_store(const StoreMemory& memory);

}  // namespace millrace::md
