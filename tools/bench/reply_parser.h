// An incremental parser of server replies that counts and checks them without keeping them: it is fed
// whatever recv() returned, split anywhere, and hands back one complete reply at a time. Payloads of bulk
// strings are passed over (or shown chunk by chunk to a PayloadCheck, never copied). It knows RESP2 and the
// part of memcached's text protocol that answers get and set. What it cannot understand is kBad: the
// connection is of no further use then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::bench {

enum class Protocol : uint8_t { kRedis, kMemcached };

// Values are bits, so that a command can name the set of kinds it expects.
enum ReplyKind : uint8_t {
    kReplyStatus = 1,
    kReplyError = 2,
    kReplyInteger = 4,
    kReplyBulk = 8,
    kReplyNil = 16,
    kReplyArray = 32,
};

struct Reply {
    ReplyKind kind = kReplyStatus;  // an array that contains an error counts as an error
    int64_t number = 0;             // the integer, the bulk's length in bytes or the array's element count
    uint32_t nils = 0;              // missing values in it (an array may have several)
    bool payload_matches = true;    // what the PayloadCheck said about all chunks
    std::string_view text;          // the error's text, valid until the next call of next()
};

// Compares payloads with what they should be.
class PayloadCheck {
  public:
    virtual ~PayloadCheck() = default;
    // `chunk` lies at `offset` of the reply's element number `element`, which has `length` bytes in all.
    // Called at least once for every bulk string, with an empty chunk at first.
    virtual bool matches(uint32_t element, int64_t length, int64_t offset, std::string_view chunk) = 0;
};

enum class Parsed { kReply, kNeedMore, kBad };

class ReplyParser {
  public:
    static constexpr size_t kLineMax = 256;             // bytes of a line that are kept; the rest is dropped
    static constexpr size_t kErrorTextMax = 200;        // bytes of an error that are shown
    static constexpr int64_t kLengthMax = 512LL << 20;  // bytes of one bulk string: Redis's own limit
    static constexpr int64_t kElementsMax = 1 << 20;    // elements of one array

    explicit ReplyParser(Protocol protocol = Protocol::kRedis) : protocol_(protocol) {}

    // Reads on from `at`, moves it behind what was used. kReply: `reply` is complete, call again for the next
    // one. kNeedMore: everything up to `end` was used. kBad: not the protocol.
    Parsed next(const char*& at, const char* end, Reply& reply, PayloadCheck* check = nullptr);

    void reset();
    bool in_reply() const { return state_ != State::kLine || !line_.empty() || elements_left_ > 0; }

  private:
    enum class State : uint8_t { kLine, kPayload, kPayloadEnd };
    enum class Step : uint8_t { kContinue, kDone, kBad };

    bool take_line(const char*& at, const char* end, std::string_view& line);
    bool skip_payload(const char*& at, const char* end, PayloadCheck* check);
    Step on_line(std::string_view line, PayloadCheck* check);
    Step on_resp_line(std::string_view line, PayloadCheck* check);
    Step on_memcached_line(std::string_view line, PayloadCheck* check);
    Step on_array(int64_t elements);
    Step on_bulk(int64_t length, PayloadCheck* check);
    Step on_error(std::string_view text);
    Step finish_value(ReplyKind kind, int64_t number);

    Protocol protocol_;
    State state_ = State::kLine;
    bool memcached_value_seen_ = false;
    uint32_t element_ = 0;        // values finished in this reply
    int64_t elements_left_ = 0;   // values still to come in this reply; 0 between replies
    int64_t payload_length_ = 0;  // of the bulk string being read
    int64_t payload_done_ = 0;
    Reply reply_;
    std::string line_;  // the beginning of a line whose end has not arrived
    std::string error_text_;
};

}  // namespace millrace::bench
