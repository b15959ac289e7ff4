// Bugs put in on purpose, one a build: `make crash` builds the crash test with each of them and expects it to fail.
// A normal build has none; nothing here costs anything there. Runs in md.
#pragma once

namespace millrace::md {

enum class SeededBug {
    none,
    commit_before_list,     ///< the commit store comes before the list is complete
    relative_count,         ///< a count is changed in place, not through the list
    reply_before_commit,    ///< the reply's index is published before the commit
    version_rolled_back,    ///< recovery gives touched buckets an older version
    no_wake_after_recovery, ///< peers are not told
    reuse_in_operation,     ///< a chunk freed by an operation is handed out again in the same one
    no_room_reserved,       ///< a request starts without room for its reply being sure
    write_in_place,         ///< a visible value is overwritten where it lies
    split_without_touch,    ///< readers of a split segment's buckets are not told
};

#ifdef MILLRACE_SEEDED_BUG
inline constexpr SeededBug kSeededBug = SeededBug::MILLRACE_SEEDED_BUG;
#else
inline constexpr SeededBug kSeededBug = SeededBug::none;
#endif

}  // namespace millrace::md
