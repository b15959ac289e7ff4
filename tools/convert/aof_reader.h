// Reads an AOF, the log of Redis's: one file, which may begin with an RDB, or a folder of Redis 7 with a manifest, an RDB or AOF to begin with and
// files that go on. Its commands are replayed (replay.h). Used by millrace-convert. What is read is input. Throws Error: one sentence with the
// file and the offset.
//
// A command is "*" and how many words it has, and for each "$", its length, and the word, all of it in lines that end with CR LF. A line that begins
// with "#" says the time. What is behind the last whole command, or the last whole transaction, of the last file was cut by a crash and is left out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/redis/file_input.h"
#include "common/redis/rdb_reader.h"
#include "tools/convert/replay.h"
#include "tools/convert/tally.h"

namespace millrace::convert {

/// The files that a manifest names, first to last. `base`: the first one is the data that the others begin with.
struct AofFiles {
    std::vector<std::string> paths;
    bool base = false;
};

/// Reads the lines of a manifest; `path` is its own name, beside which the files lie.
AofFiles read_manifest(const std::string& path, std::string_view content);

class AofReader {
  public:
    /// `rdb` takes what an RDB at the beginning has.
    AofReader(Replay& replay, Tally& tally, redis::RdbSinks rdb) : replay_(replay), tally_(tally), rdb_(std::move(rdb)) {}

    /// Reads one file. `last`: it may be cut.
    void read(redis::FileInput& in, bool last);

  private:
    bool take_command(redis::FileInput& in, Words& words);
    bool take_number(redis::FileInput& in, char kind, int64_t max, int64_t& number);
    void take(redis::FileInput& in, Words& words);
    void execute(redis::FileInput& in, Words& words);

    Replay& replay_;
    Tally& tally_;
    const redis::RdbSinks rdb_;
    bool in_transaction_ = false;
    std::vector<Words> transaction_;
    uint64_t command_at_ = 0;  ///< offset of the command being read
};

}  // namespace millrace::convert
