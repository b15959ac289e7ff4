// WAIT: its words, and how many replicas have what it asks for. Runs in io_conn.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "common/repl_words.h"
#include "common/text.h"
#include "common/versioned_words.h"

namespace millrace::io_conn {

struct WaitWords {
    int64_t replicas = 0, timeout_ms = 0;  ///< a time of 0: for ever
    std::string_view error;                ///< empty: the words are right

    /// `words`: wait, replicas, milliseconds.
    explicit WaitWords(std::span<const std::string_view> words) {
        constexpr int64_t kTimeoutMax = std::numeric_limits<int64_t>::max() / 2000;
        if (!parse_integer(words[1], replicas)) error = "ERR value is not an integer or out of range";
        else if (!parse_integer(words[2], timeout_ms) || timeout_ms > kTimeoutMax) error = "ERR timeout is not an integer or out of range";
        else if (timeout_ms < 0) error = "ERR timeout is negative";
    }
};

/// Replicas that have everything up to a stream number.
inline int64_t replicas_with(const ReplWords& words, uint64_t number) {
    int64_t count = 0;
    for (const ReplicaRow& row : words.replicas) {
        Replica replica;
        count += read_versioned(row.version, row.words, &replica) && replica.state == ReplicaState::online && replica.acknowledged >= number;
    }
    return count;
}

}  // namespace millrace::io_conn
