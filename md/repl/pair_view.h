// The record of a strict pair as md has it (common/pair_layout.h), read from the store as of one commit. Runs in md_repl.
#pragma once

#include <optional>
#include <string>

#include "common/pair_layout.h"
#include "common/store_reader.h"

namespace millrace::md_repl {

struct PairView {
    store::PairStanding standing;
    store::PairEpoch epoch, void_epoch;
    uint64_t number = 0;  ///< with the epoch: the position
    uint64_t mark = 0, link = 0, run = 0, heard = 0, void_cut = 0, file_wanted = 0;
    bool open = false;    ///< something is not confirmed
    bool empty = false;   ///< there is no key

    bool is_strict() const { return standing.role != store::PairRole::none; }
    bool is_complete() const { return store::is_complete(standing.state); }
    bool is_fresh() const { return epoch.is_none() && heard == 0 && standing.state == store::PairState::cold && empty; }
};

/// Empty while md commits; the next look will do.
std::optional<PairView> read_pair(const StoreReader& store);

/// An epoch as it goes over a link and to md: two numbers.
std::string text_of(store::PairEpoch epoch);

}  // namespace millrace::md_repl
