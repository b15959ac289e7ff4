// Gives the records of this server's log behind a stream number, as long as the files have them. Runs in md_repl.
//
// The log's own numbers are this server's; the stream numbers stand in the records (EffectKind::origin), or are the same (common/repl_words.h). A record of a
// follower without one is none of its master's doing, and is passed over.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/disk/log_reader.h"

namespace millrace::md_repl {

class LogCursor {
  public:
    /// A record that follows; the effects are valid until the next call.
    struct Record {
        uint64_t number = 0, stream = 0;
        std::string_view effects;
    };
    enum class Outcome { record, none, lost };

    /// Behind the record of the log with this number, of which the stream number is `stream`. `following`: this server is a follower itself.
    static std::unique_ptr<LogCursor> behind_number(const std::string& folder, uint64_t number, uint64_t stream, bool following);
    /// Behind the record with this stream number, or any as low. Null: the log does not reach back so far.
    static std::unique_ptr<LogCursor> behind_stream(const std::string& folder, uint64_t stream, bool following);

    /// `none`: there is no further one yet. `lost`, for good: the log has a hole here or was removed, sentence() says where.
    Outcome next(Record& record);
    /// Stream number of the record given last.
    uint64_t stream() const { return stream_; }
    const std::string& sentence() const { return reader_.sentence(); }

  private:
    LogCursor(const std::string& folder, uint64_t number, uint64_t stream, bool following) : reader_(folder, number), stream_(stream), following_(following) {}

    disk::LogReader reader_;
    uint64_t stream_;
    bool following_;
    bool lost_ = false;
    bool kept_ = false;   ///< record_ was read and is still to be given
    Record record_;
};

}  // namespace millrace::md_repl
