// Bugs of direct readers put in on purpose, one a build, as md/seeded_bugs.h has them of md: tests/crash/mutants.py expects each to be
// seen. A normal build has none; nothing here costs anything there. Runs in io_conn.
#pragma once

namespace millrace::io_conn {

enum class SeededReaderBug {
    none,
    reader_not_validated,        ///< what was copied counts, whatever has changed
    reader_miss_not_validated,   ///< a key that was not found counts as absent, whatever has changed, and whenever (T8)
    reader_odd_is_read,          ///< a bucket in mid-change is read
    reader_route_not_validated,  ///< a database that was cleared or a directory that has grown is not noticed
    // of server_direct.cc:
    reader_overtakes_writes,     ///< a connection reads directly while its own requests are with md
};

#ifdef MILLRACE_SEEDED_READER_BUG
inline constexpr SeededReaderBug kSeededReaderBug = SeededReaderBug::MILLRACE_SEEDED_READER_BUG;
#else
inline constexpr SeededReaderBug kSeededReaderBug = SeededReaderBug::none;
#endif

}  // namespace millrace::io_conn
