// The file `pair` of a data folder: what a server of a strict pair must not forget with its memory (R3 of tests/model/README.md), as of the last change that anybody
// was told of. Text, for people as well. Written by md_repl, read by md when it begins without memory.
#pragma once

#include <optional>
#include <string>

#include "common/pair_layout.h"

namespace millrace::disk {

struct PairFile {
    store::PairEpoch epoch;
    uint32_t heard = 0;           ///< promotions of the highest epoch that was heard of
    store::PairEpoch void_epoch;  ///< none: there is no void record
    uint64_t void_cut = 0;
    store::PairRole role = store::PairRole::none;
};

/// Empty if there is no such file. `fault`: it is there, and what is in it cannot be understood.
std::optional<PairFile> read_pair(const std::string& folder, std::string& fault);
/// Durable when it returns true; else errno.
bool write_pair(const std::string& folder, const PairFile& pair);
/// False: errno.
bool remove_pair(const std::string& folder);
std::string pair_path(const std::string& folder);

}  // namespace millrace::disk
