// What commands are refused with because of the disk: Redis's sentences. Used by md, which refuses what would change data, and io_conn, which
// does so before anything is handed over (md's replies may have to wait for the disk that is in trouble), and PING like Redis.
#pragma once

#include <string>
#include <string_view>

#include "common/log_words.h"

namespace millrace {

inline constexpr std::string_view kLoadingRefusal = "LOADING Redis is loading the dataset in memory";

/// Whether writes, and PING, are refused.
inline bool refuses_writes(const LogWords& words) { return words.trouble.load(std::memory_order_relaxed) != static_cast<uint32_t>(DiskTrouble::none); }
/// With what.
std::string write_refusal(const LogWords& words);

}  // namespace millrace
