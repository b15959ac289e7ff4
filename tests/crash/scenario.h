// The operations that are stepped, each with the store that it begins from. Used by tests/crash.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "md/store.h"
#include "tests/crash/reader.h"

namespace millrace::crash {

inline constexpr uint64_t kHashSeed = 0x5eed;

/// An operation: run on the store, and when it was not committed, run once more on the recovered one. So it takes
/// whatever it needs to know from the store.
using Operation = std::function<void(md::Store&)>;

struct Scenario {
    std::string name;
    Operation prepare;                         ///< beyond what base() puts in; not stepped
    std::vector<Operation> operations;
    std::vector<std::vector<Watched>> watched; ///< groups of keys with readers
    unsigned image_every = 1;                  ///< images of which one is checked
    unsigned nested_max = 2;                   ///< crashes inside recovery: at so many images, recovery is stepped as well
    bool steps_all = true;                     ///< false: the operation says itself which part is stepped
    uint64_t pages = 40;
    uint64_t oplog_bytes = 64 * 1024;
};

std::vector<Scenario> all_scenarios();

/// What every scenario begins from: keys of many kinds, lists of free chunks that are not empty, a channel.
void base(md::Store& store);

}  // namespace millrace::crash
