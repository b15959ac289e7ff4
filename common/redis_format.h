// How Redis writes lengths and strings into its snapshots and into what DUMP gives, and the checksum of both. Used by md and by tools.
//
// A length is 6, 14, 32 or 64 bits; the first two bits of its first byte say which, and 11 that there is no length but one of these: an integer
// of 1, 2 or 4 bytes (little-endian), or two lengths and what LZF has made of a string. A string is its length and its bytes, or one of those.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::redis {

/// CRC-64 with the polynomial of D. Jones, reflected, as Redis uses it, going on from that of the bytes before.
uint64_t crc64(std::string_view bytes, uint64_t before = 0);

void append_length(std::string& out, uint64_t length);
/// A string in the shortest of its forms, of those that are not compressed perhaps.
void append_string(std::string& out, std::string_view value, bool compress = true);

/// Bytes that come one after the other, from memory or a file. They are input: each function is false when what is there is not what was asked for.
class Input {
  public:
    virtual ~Input() = default;
    /// The next `count` bytes, until the next call; false: there are fewer.
    virtual bool take(uint64_t count, std::string_view& bytes) = 0;
    /// Passes over them.
    virtual bool skip(uint64_t count) = 0;

    bool take_byte(uint8_t& byte);
    bool take_length(uint64_t& length);
    /// A string of at most `bytes_max` bytes.
    bool take_string(uint64_t bytes_max, std::string& value);
    bool skip_string();

  private:
    bool take_length_or_encoding(uint64_t& length, std::optional<uint8_t>& encoding);
    template <class Integer>
    bool take_integer(std::string& value);
    bool take_compressed(uint64_t bytes_max, std::string& value);
    bool take_big_endian(unsigned count, uint64_t& number);
};

class MemoryInput : public Input {
  public:
    explicit MemoryInput(std::string_view bytes) : left_(bytes) {}
    bool take(uint64_t count, std::string_view& bytes) override;
    bool skip(uint64_t count) override;

  private:
    std::string_view left_;
};

}  // namespace millrace::redis
