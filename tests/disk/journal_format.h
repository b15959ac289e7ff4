// What the disk shim leaves behind: the records of its journal and the page that it shares with the test. disk_journal.py and disk_shim.py read
// the same bytes; whoever changes one changes the other. Used in the program under test only.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>

namespace millrace::disk {

/// What has happened. Paths are relative to the folder, without "." or ".."; `id` is the inode's number.
enum class Kind : uint32_t {
    open = 'O',          ///< path, id, offset = the size that the file has now, flags
    write = 'W',         ///< id, offset, data, flags
    truncate = 'T',      ///< id or path, offset = the size
    extend = 'A',        ///< id, offset = the size that the file has at least
    rename = 'R',        ///< path, other = the new path
    unlink = 'U',        ///< path
    make_folder = 'K',   ///< path
    sync_begins = 'B',   ///< id, or path of a folder, or everything; token
    sync_ends = 'E',     ///< token: what had been recorded before sync_begins is durable
    sync_fails = 'F',    ///< token: what it would have covered no later sync covers
    unmodelled = 'X',    ///< path = what the program has done that the journal cannot say
};

inline constexpr uint32_t kCreates = 1;      ///< open: with O_CREAT
inline constexpr uint32_t kEmpties = 2;      ///< open: with O_TRUNC
inline constexpr uint32_t kDurable = 4;      ///< write: through O_SYNC or O_DSYNC
inline constexpr uint32_t kFolder = 8;       ///< sync_begins: of a folder
inline constexpr uint32_t kEverything = 16;  ///< sync_begins: of all

inline constexpr uint32_t kRecordMagic = 0x4a53484d;

/// Followed by the path, the other path and the data.
struct RecordHead {
    uint32_t magic, check;  ///< Adler-32 of all that follows
    uint32_t bytes, kind;   ///< of the whole record
    uint64_t id, offset, token;
    uint32_t flags, pid, path_bytes, other_bytes;
};
static_assert(sizeof(RecordHead) == 56);

/// Kinds of calls that are counted and that can fail.
enum class Call : unsigned { write, sync, dirsync, open, rename, truncate, unlink, allocate, mkdir };
inline constexpr unsigned kCalls = 9;
inline constexpr const char* kCallNames[kCalls] = {"write", "sync", "dirsync", "open", "rename", "truncate", "unlink", "allocate", "mkdir"};

inline constexpr size_t kPathBytes = 512;

/// The operation that is under way, for whoever finds the lock of a killed process (J4).
struct Pending {
    uint32_t kind, flags;
    uint64_t id, offset, bytes;
    char path[kPathBytes], other[kPathBytes];
};

inline constexpr uint64_t kControlMagic = 0x314c5254434d5244;
inline constexpr size_t kControlBytes = 4096, kErrorAt = 512, kErrorBytes = 256;

/// The control file.
struct Control {
    uint64_t magic;
    uint64_t calls[16];  ///< made since the control file was made, by Call
    uint64_t faults;     ///< injected
    uint64_t tokens;
    pthread_mutex_t lock;
    alignas(kErrorAt) char error[kErrorBytes];  ///< written by the test: "CALL WHAT, CALL WHAT", or empty
    alignas(kErrorAt) Pending pending;
};
static_assert(offsetof(Control, calls) == 8 && offsetof(Control, faults) == 136 && offsetof(Control, error) == kErrorAt);
static_assert(sizeof(Control) <= kControlBytes);

}  // namespace millrace::disk
