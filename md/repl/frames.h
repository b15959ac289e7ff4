// What goes over a link between a master and one that follows it: frames, each a FrameHead and a body, little-endian. Runs in md_repl.
//
// A follower connects to the master's port like any client, says AUTH if it has to, and `MS_REGISTER_SLAVE protocol port instance priority`. From
// there on both sides speak frames:
//   master -> follower  registered     u32 nonce, then text: one line for each follower of the master, "address port state"
//   follower -> master  sync           text: "history stream-number", what it has
//   master -> follower  partial        text: "history second-history second-end": what follows are the records behind the follower's number
//                   or  full           text: "bytes start end history second-history second-end stream-number" of a snapshot, and how far the master is
//                       snapshot       bytes of it
//                       records        RecordHead and effects, again and again; `number` is the stream number of the last one, `before` is that
//                                      before the first
//                       part           bytes of one record that is too long for a frame, RecordHead first; `records` with its rest ends it
//                       ping           `number`: stream number of the master's data
//                       refused        text: why not
//   follower -> master  acknowledged   `number`: stream number up to which it has everything; Checked
// Between the servers of a strict pair (md/README.md; an epoch is two numbers):
//   follower -> master  hello          text, in place of `sync`: "epoch number complete fresh void-epoch void-cut"
//   master -> follower  partial        text: "strict epoch cut"; `number`: behind which the records follow
//                       full           its text goes on: " epoch open"
//                       reached        `number`: all up to it was sent, whether or not there is a record of it
//                       mark           text: "epoch"; `number`: what is up to it is on both
//   follower -> master  synced         text: "epoch checksum"; `number`
// Invariants:
//   F1  Every frame but `registered` has a checksum that begins with its nonce: what was not made for this link does not pass for it.
//   F2  Lengths are input: a body is at most kFrameBodyMax, and a record at most kRecordBytesMax.
//   F3  A frame that does not check ends the link. Nothing behind it is looked at.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::md_repl {

inline constexpr uint32_t kProtocol = 2;
inline constexpr uint64_t kFrameBodyMax = 4 * 1024 * 1024;
inline constexpr uint64_t kRecordBytesMax = 3ull * 1024 * 1024 * 1024;

enum class FrameKind : uint32_t { registered = 1, sync, partial, full, snapshot, records, part, ping, refused, acknowledged, hello, reached, mark, synced };

struct FrameHead {
    uint32_t crc;  ///< CRC32C of the rest of this head and the body (F1)
    FrameKind kind;
    uint64_t bytes;   ///< of the body
    uint64_t number;
    uint64_t before;
};
static_assert(sizeof(FrameHead) == 32);

/// In front of a record's effects.
struct RecordHead {
    uint64_t number;  ///< of the sender's log
    uint64_t stream;  ///< stream number
    uint64_t bytes;   ///< of the effects, a multiple of 8
};
static_assert(sizeof(RecordHead) == 24);

/// What a follower says of its checksums (R5, R6 of common/repl_words.h).
struct Checked {
    uint64_t checked;   ///< stream number at which its checksum was the master's last
    uint64_t verified;  ///< number of the last look at all of its data
    uint64_t damaged;   ///< of the last that has found something else than what was written
};
static_assert(sizeof(Checked) == 24);

struct Frame {
    FrameHead head{};
    std::string_view body;
};

/// Appends a frame.
void append_frame(std::string& out, uint32_t nonce, FrameKind kind, std::string_view body, uint64_t number = 0, uint64_t before = 0);

/// Whether what answers MS_REGISTER_SLAVE begins as a line of text, an error as a rule, and not as a frame: that has its kind where a line has characters. (Its first
/// byte is of a checksum, and may be any.) Empty: too little has come to tell.
std::optional<bool> begins_a_line(std::string_view bytes);

enum class FrameOutcome { frame, incomplete, bad };
/// The frame that `bytes` begin with. `taken`: how many bytes it has.
FrameOutcome read_frame(std::string_view bytes, uint32_t nonce, Frame& frame, size_t& taken);

}  // namespace millrace::md_repl
