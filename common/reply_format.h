// The encoding of replies in the reply ring: a tag byte, then the fields of the tag, unaligned. md writes it
// (md/reply_writer.h) without knowing the client's protocol version; io_conn turns it into RESP2 or RESP3
// (io_conn/reply_encoder.h).
//
//   tag          fields                       RESP3          RESP2 where it differs
//   ok           -                            +OK
//   status       u32 length, bytes            +bytes
//   error        u32 length, bytes            -bytes         (code and text, no line breaks)
//   integer      i64                          :n
//   bulk         u32 length, bytes            $length bytes
//   null         -                            _              $-1
//   null_array   -                            _              *-1
//   array        u32 count, then elements     *count
//   map          u32 count, then 2 x count    %count         *2count
//   raw          u32 length, bytes            the bytes as they are, which io_conn has made itself (EXEC)
//   token        u32 how many follow, u64     a watched key's token, for io_conn; the last one becomes +OK
// Only the bytes of a bulk may be cut between two parts of a large reply; every other field is whole in its part.
#pragma once

#include <cstdint>

namespace millrace {

enum class ReplyTag : uint8_t {
    ok = 'K',
    status = '+',
    error = '-',
    integer = ':',
    bulk = '$',
    null = '_',
    null_array = '0',
    array = '*',
    map = '%',
    raw = 'r',
    token = 'w',
};

}  // namespace millrace
