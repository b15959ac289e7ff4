// Whether the files in the data folder are those of the store that was found in shared memory. Runs in md, before the first of a group serves, and in md_log,
// which may save without any md, before it writes.
//
// Who puts other files into the folder beside a store that outlived its group (a backup copied by hand, the files of another instance) wants one of
// two things, and no program can tell which: the log would go on with records that have nothing to do with those before, or leave some
// out because it seems to have them. So the start ends, and nothing of both is touched. Files that are behind the store are none of that: the store is
// newer, and is brought to disk (md/log/keeper.h, L4).
#pragma once

#include <cstdint>
#include <string>

namespace millrace::disk {

/// What speaks against using a store of that instance with the folder, as a sentence; empty: nothing does. `number`: of its last commit; `loaded`: of the last
/// record that it was made from. Throws Error for a folder that cannot be read.
std::string why_not_its_data(const std::string& folder, uint64_t instance, uint64_t number, uint64_t loaded);

}  // namespace millrace::disk
