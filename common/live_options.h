// Options that CONFIG SET changes while the group runs. Used by md, which keeps their values, and io_conn, which shows them.
//
// Each has a word in the store's root, changed by a commit, so that a change outlives md and everybody sees it. Beside it stands
// what the configuration said: when it says something else at the start of an md (the group was restarted with another one), that
// counts from then on.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "common/options.h"
#include "common/store_layout.h"

namespace millrace {

/// In the order of their words.
inline constexpr std::array kLiveOptions{OptionId::maxmemory, OptionId::maxmemory_policy, OptionId::maxmemory_samples,
                                         OptionId::lfu_log_factor, OptionId::lfu_decay_time};
static_assert(kLiveOptions.size() <= store::kLiveWords);

/// The place of an option's word; empty for one that cannot be changed.
constexpr std::optional<unsigned> live_index(OptionId id) {
    for (unsigned i = 0; i < kLiveOptions.size(); ++i)
        if (kLiveOptions[i] == id) return i;
    return std::nullopt;
}

/// The value of a live option. `word` gives words of the store by offset.
template <class Load>
int64_t live_number(OptionId id, const Load& word) {
    return static_cast<int64_t>(word(store::live_word_at(*live_index(id))));
}

}  // namespace millrace
