// What is asked of the server. One table row per command (`kCommands`): its shape says how a request is built
// and which kinds of reply are right, so a new command of a known shape is one row. Keys are a four-letter
// family and twelve digits ("key:000000000042"); counters and appended strings live in families of their own,
// so that every value in "key:" is a function of its key and the seed and can be checked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tools/bench/key_dist.h"
#include "tools/bench/random.h"
#include "tools/bench/reply_parser.h"

namespace millrace::bench {

enum class Shape : uint8_t { kNoKey, kKey, kKeyValue, kKeys, kKeyValues };

struct Command {
    std::string_view name;
    Shape shape;
    std::string_view family;  // of keys
    uint8_t replies;          // the kinds that are right, as bits of ReplyKind
    bool returns_values;      // checked by --verify
    bool in_memcached;
};

inline constexpr Command kCommands[] = {
    {"get", Shape::kKey, "key:", kReplyBulk | kReplyNil, true, true},
    {"set", Shape::kKeyValue, "key:", kReplyStatus, false, true},
    {"incr", Shape::kKey, "ctr:", kReplyInteger, false, false},
    {"mget", Shape::kKeys, "key:", kReplyArray, true, false},
    {"mset", Shape::kKeyValues, "key:", kReplyStatus, false, false},
    {"ping", Shape::kNoKey, "", kReplyStatus, false, false},
    {"append", Shape::kKeyValue, "app:", kReplyInteger, false, false},
    {"del", Shape::kKey, "key:", kReplyInteger, false, false},
    {"exists", Shape::kKey, "key:", kReplyInteger, false, false},
    {"strlen", Shape::kKey, "key:", kReplyInteger, false, false},
};
inline constexpr size_t kCommandCount = std::size(kCommands);
inline constexpr size_t kFamilyLength = 4;
inline constexpr size_t kKeyDigits = 12;
inline constexpr size_t kKeyLength = kFamilyLength + kKeyDigits;
inline constexpr uint64_t kKeysMax = 999'999'999'999;

// Which share each command has of all requests.
struct Mix {
    uint32_t weight[kCommandCount] = {};
    uint32_t total() const;
    std::string text() const;  // "get=80,set=20"
};

// Reads "get=80,set=20"; a name alone weighs 1. Returns false and says what would be right on anything else.
bool parse_mix(std::string_view text, Mix& mix, std::string& error);

// Values: `min`..`max` bytes, printable, size and content a function of (key, seed).
struct ValueModel {
    uint64_t seed = 0;
    uint32_t size_min = 64;
    uint32_t size_max = 64;

    uint32_t size_of(uint64_t key) const;
    void fill(uint64_t key, char* to, uint32_t size) const;
    bool matches(uint64_t key, int64_t length, int64_t offset, std::string_view chunk) const;

  private:
    uint64_t word(uint64_t key_state, uint64_t index) const;
    uint64_t key_state(uint64_t key) const { return mix64(seed ^ mix64(key)); }
};

// Bytes on their way out. Grows to the largest turn it has seen and stays there.
class OutBuffer {
  public:
    char* grow(size_t bytes);  // room for `bytes` more, which the caller fills
    void append(std::string_view text);
    void clear() { size_ = 0; }
    size_t size() const { return size_; }
    const char* data() const { return data_.get(); }

  private:
    std::unique_ptr<char[]> data_;
    size_t size_ = 0;
    size_t capacity_ = 0;
};

struct WorkloadSpec {
    Protocol protocol = Protocol::kRedis;
    Mix mix;
    DistSpec dist;
    uint64_t keys = 1;
    uint32_t keys_per_request = 10;  // of mget and mset
    ValueModel values;
};

// Chooses and writes requests; one per worker.
class Workload {
  public:
    struct Request {
        uint64_t key;
        uint8_t command;
    };

    Workload(const WorkloadSpec& spec, uint64_t worker, uint64_t workers);

    // Appends the next request to `out`. No allocation once `out` has grown.
    Request write_next(OutBuffer& out);

    // The key that element number `element` of a request's reply belongs to.
    uint64_t key_of_element(uint64_t first_key, uint32_t element) const {
        return (first_key + element) % spec_.keys;
    }
    const ValueModel& values() const { return spec_.values; }

  private:
    struct Template {
        std::string head;  // "*3\r\n$3\r\nSET\r\n"
        std::string key;   // "$16\r\nkey:000000000000\r\n"
        uint32_t keys;     // how many follow
        bool has_values;
    };

    uint8_t choose_command();
    void write_redis(const Template& form, uint64_t key, OutBuffer& out) const;
    void write_memcached(uint8_t command, uint64_t key, OutBuffer& out) const;

    WorkloadSpec spec_;
    Random random_;
    KeyChooser chooser_;
    uint32_t mix_total_;
    Template templates_[kCommandCount];
};

}  // namespace millrace::bench
