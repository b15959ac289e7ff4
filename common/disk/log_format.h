// The log on disk: every operation since a snapshot, in files of the data folder. Written by one process, read by starts, replicas and tools.
//
// A file log-<after> is a LogHeader and frames, each a FrameHeader, a body and zeros up to a multiple of 8 bytes; all little-endian.
//   record  an operation: its effects (common/effects.h), which may be gigabytes. Its number is that of its commit; numbers rise, with holes.
//   mark    a Mark: how much of the file was durable when it was made, and what time it was. The first frame of every batch that is written.
//   packed  u64 length, and an LZ4 block of so many bytes: record frames whose checksums are not made and not looked at. Its
//           number is that of the last record inside, `previous` that of the record before the first.
// Invariants:
//   L1  A file gets its name when its header is durable (log-<after>.partial before), so a log file without a header is damage.
//   L2  `previous` of a record is the number of the record before it in the file, or header.after: a piece that is missing inside of a file is seen.
//       Of the first record in a file it may be more, if the files before reach that far.
//   L3  header.after is the number of the last record that was in the log before. If flag `continues` is missing there may be a hole before it.
//       A file may begin before the end of the file before it: its writer could not make that end durable, and says it all again. What stands in a file
//       behind its successor's `after` is needed by nobody, be it whole or not.
//   L4  A batch is there as a whole or cut away, unless the machine or the writer dies: a write that fails takes back what it has written.
//   L5  A frame at offset X that is not whole or does not check is DAMAGE if the file has a successor (but L3), or a mark behind X says that
//       more than X bytes were durable (and no more than there were before the mark); nothing that was durable may be cut. Else it is an unsynced TAIL, which a start cuts at X: a crash leaves such.
//       Bytes that cannot be read are damage always. Zeros from X to the end of the file are neither: a writer makes room ahead, and the file ends at X.
//   L6  Checksums of frames begin with that of the file's header. So neither frames of another file (in blocks of the disk that are used again)
//       nor such as somebody has put into a value pass for frames of this file.
//   L7  Every number in a file is input. A reader takes no more memory than the file has bytes (a packed frame: kPackedBytesMax) and trusts no
//       length before it has compared it with what is left.
//   L8  A file of a higher version, or with a kind of frame that is not known, is refused and never changed.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/disk/crc.h"
#include "common/layout.h"

namespace millrace::disk {

inline constexpr char kLogMagic[9] = "mrLOG\r\n\x1a";
inline constexpr uint32_t kLogVersion = 1;
inline constexpr uint64_t kLogContinues = 1;                  ///< flag: the files before end with `after`
inline constexpr uint64_t kPackedBytesMax = 1024 * 1024;      ///< of what is packed into one frame, before it is packed
inline constexpr uint64_t kBufferedRecordMax = 1024 * 1024;   ///< effects of a record that a writer buffers

struct LogHeader {
    char magic[8];
    uint32_t version;
    uint32_t crc;  ///< of this header with 0 here
    uint64_t instance;
    uint64_t after;     ///< number of the last record before this file
    uint64_t flags;
    int64_t created_ms;
    uint64_t sequence;  ///< rises by one with each file
    uint64_t zero;
};
static_assert(sizeof(LogHeader) == 64);

enum class FrameKind : uint32_t { record = 1, mark = 2, packed = 3 };

struct FrameHeader {
    uint32_t crc;  ///< of the rest of this header and the body, see L6
    FrameKind kind;
    uint64_t bytes;     ///< of the body, without the zeros behind it
    uint64_t number;    ///< of the record; of a mark, that of the record before it
    uint64_t previous;  ///< number of the record before
};
static_assert(sizeof(FrameHeader) == 32);

struct Mark {
    uint64_t synced;  ///< bytes of this file, from its beginning, that were durable when the mark was made
    int64_t wall_ms;  ///< ms since the Unix epoch
};
static_assert(sizeof(Mark) == 16);

inline constexpr uint64_t kMarkFrameBytes = sizeof(FrameHeader) + sizeof(Mark);

/// Bytes that a frame takes in a file.
constexpr uint64_t frame_bytes(uint64_t body) { return sizeof(FrameHeader) + round_up(body, 8); }

inline uint32_t crc_of(LogHeader header) {
    header.crc = 0;
    return crc32c_of(header, 0, 0);
}

/// The checksum up to the body; the body's bytes go on from it. `seed`: LogHeader::crc.
inline uint32_t crc_of(const FrameHeader& frame, uint32_t seed) { return crc32c_of(frame, sizeof frame.crc, seed); }

}  // namespace millrace::disk
