// From the commands of a redis-server's stream to what md is given: MS_EXECUTE, each a piece of the stream that is committed as one (md/commands_replication.cc).
// Knows no socket. Runs in md_repl.
//
//   take(command), take(command), ... ──ready()──► request(), given() ──► take ...
// What the stream says is
//   done by md      every command that changes strings (CommandRow::replicable)
//   followed here   SELECT, MULTI, EXEC: in which database a command is, and what belongs together
//   passed over     PING, PUBLISH, SPUBLISH, SCRIPT: they change no data; their bytes count in the offset
//   answered        REPLCONF GETACK
//   refused         everything else: data would differ from the master's from there on
// Invariants:
//   B1  A piece begins and ends between commands, so md is never anywhere else, and the stream can be gone on with wherever md is.
//   B2  What lies between MULTI and EXEC is in one piece, but for commands that md cannot do together with others: SWAPDB, and clearing many keys. Such a
//       transaction becomes several pieces when all of it is there. A stream that is gone on with in its middle shows an EXEC without a MULTI.
//   B3  A command that may copy or clear a lot, or changes a part of a value, is a piece of its own, unless it is in a transaction: only then md does it
//       as cheaply as a client's.
//   B4  A piece is at most kBytesMax, or one command, or one transaction of at most kTransactionBytesMax.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/commands.h"

namespace millrace::md_repl {

class RedisBatch {
  public:
    static constexpr size_t kBytesMax = 256 * 1024;
    static constexpr size_t kCommandsMax = 256;
    static constexpr size_t kTransactionBytesMax = 640ull * 1024 * 1024;

    /// Where in the stream something is.
    struct Place {
        uint64_t offset = 0;
        unsigned database = 0;
        bool operator==(const Place&) const = default;
    };

    /// Goes on behind this place.
    void begin(Place place);
    /// Whether a transaction may clear databases (B2): they have few keys.
    void set_clears_together(bool together) { clears_together_ = together; }

    /// `full`: what there is has to be given to md first. `asks`: taken, and the master wants to hear how far md is. `refused`: sentence() says why; nothing
    /// was taken, and a transaction that it stands in is given up.
    enum class Taken { yes, asks, full, refused };
    /// Takes a command that has `bytes` bytes in the stream.
    Taken take(std::span<const std::string_view> words, size_t bytes);
    const std::string& sentence() const { return sentence_; }

    /// Whether a piece can end here, and has a command.
    bool ready() const { return !in_transaction_ && !begins_.empty(); }
    /// Whether nothing can be added any more.
    bool full() const { return closed_ || !cuts_.empty() || encoded_.size() >= kBytesMax || begins_.size() >= kCommandsMax; }
    /// Whether all that was taken was given to md, but for bytes that change nothing.
    bool idle() const { return !in_transaction_ && begins_.empty(); }
    bool behind() const { return idle() && place_ != given_; }

    /// The piece: words of MS_EXECUTE that say from where to where, and the commands, encoded, as so many words.
    struct Request {
        std::string from, from_database, to, to_database;
        std::string_view encoded;
        size_t words = 0;
    };
    /// REQUIRES: ready(), or behind().
    Request request() const;
    struct Given {
        uint64_t to = 0;
        std::vector<uint64_t> begins;  ///< of its commands
    };
    /// It was given to md.
    Given given();

    /// Where the stream is.
    const Place& place() const { return place_; }

  private:
    /// A point in what was taken.
    struct Mark {
        Place place;
        size_t bytes = 0, words = 0, commands = 0;
    };
    Mark here() const { return {place_, encoded_.size(), words_, begins_.size()}; }
    bool stands_apart(CommandId id) const;
    Taken follow(const CommandRow* row, std::string_view name, std::span<const std::string_view> words, bool& followed);
    Taken refuse(const CommandRow* row, std::span<const std::string_view> words, std::string_view why);
    void encode(std::string_view word);

    Place place_, given_;
    bool in_transaction_ = false;
    bool closed_ = false;         ///< its one command stands alone
    Mark before_transaction_;
    std::string encoded_;
    size_t words_ = 0;
    std::vector<uint64_t> begins_;  ///< where each command begins
    std::vector<Mark> cuts_;        ///< where a piece has to end (B2)
    bool clears_together_ = true;
    bool may_end_ = true;           ///< nothing was said of transactions yet: EXEC may be that of one before
    std::string sentence_;
};

}  // namespace millrace::md_repl
