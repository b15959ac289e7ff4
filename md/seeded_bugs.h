// Bugs put in on purpose, one a build: tests/crash/mutants.py builds the crash test, or for those of channel_server.cc the
// unit tests of channels, with each of them and expects it to fail.
// A normal build has none; nothing here costs anything there. Runs in md.
#pragma once

namespace millrace::md {

enum class SeededBug {
    none,
    commit_before_list,      ///< the commit store comes before the list is complete
    cleared_before_applied,  ///< recovery says that it is done before it is
    even_before_words,       ///< versions are even again before the words are stored
    version_rolled_back,     ///< recovery gives touched buckets an older version
    relative_count,          ///< a count is changed in place, not through the list
    cursors_direct,          ///< a request is consumed in place, not through the list
    oplog_tail_direct,       ///< a record is published in place, not through the list
    link_not_through_list,   ///< a chunk that is freed becomes a free chunk before the commit
    header_direct,           ///< an item's first word is written in place, not through the list
    reuse_in_operation,      ///< a chunk freed by an operation is handed out again in the same one
    write_in_place,          ///< a visible value is overwritten where it lies
    split_without_touch,     ///< readers of a split segment's buckets are not told
    window_not_kept,         ///< what was before a change is let go of although the open window has it
    route_not_validated,     ///< a reader does not look whether its segment is still the one
    // of channel_server.cc:
    reply_before_commit,     ///< a reply is published before its operation is committed
    room_not_reserved,       ///< a request is taken although the reply ring may be full
    wake_only_the_parked,    ///< after a take-over only those are woken who said that they sleep
    taken_not_announced,     ///< an io_conn is not told which messages the dead md had taken
};

#ifdef MILLRACE_SEEDED_BUG
inline constexpr SeededBug kSeededBug = SeededBug::MILLRACE_SEEDED_BUG;
#else
inline constexpr SeededBug kSeededBug = SeededBug::none;
#endif

}  // namespace millrace::md
