// Turns md's replies (common/reply_format.h) into RESP, part by part. Runs in io_conn; its input comes from a ring.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "io_conn/resp_writer.h"

namespace millrace::io_conn {

/// What remains of a value that was cut between two parts; one for each connection.
struct EncoderState {
    uint32_t bulk_left = 0;
    uint8_t first_tag = 0;         ///< of the replies since it was set to 0
    std::unique_ptr<std::vector<uint64_t>> tokens;  ///< of watched keys, in the order in which they were asked for; for the connection to take
};

/// Encodes one whole reply or one part of a large one. False when the bytes are not well
/// formed: the reply cannot be completed, the connection has to be closed.
bool encode_reply(std::span<const std::byte> body, EncoderState& state, RespWriter& out);

}  // namespace millrace::io_conn
