// See redis_format.h. Runs in md and in tools.
#include "common/redis_format.h"

#include <isa-l/crc64.h>
#include <liblzf/lzf.h>

#include <cstring>
#include <limits>

#include "common/text.h"

namespace millrace::redis {

namespace {

constexpr size_t kIntegerDigitsMax = 11;
constexpr size_t kCompressFrom = 21;     ///< bytes
constexpr uint64_t kExpansionMax = 264;  ///< bytes that LZF makes of one, at most: a reference has two or three

enum Encoding : uint8_t { int8 = 0xc0, int16 = 0xc1, int32 = 0xc2, compressed = 0xc3 };

template <class Integer>
void append_integer(std::string& out, Encoding encoding, int64_t number) {
    const auto value = static_cast<Integer>(number);
    out += static_cast<char>(encoding);
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

bool append_as_integer(std::string& out, std::string_view value) {
    int64_t number;
    if (value.size() > kIntegerDigitsMax || !parse_integer(value, number) || number != static_cast<int32_t>(number)) return false;
    if (number == static_cast<int8_t>(number)) append_integer<int8_t>(out, int8, number);
    else if (number == static_cast<int16_t>(number)) append_integer<int16_t>(out, int16, number);
    else append_integer<int32_t>(out, int32, number);
    return true;
}

bool append_compressed(std::string& out, std::string_view value) {
    if (value.size() < kCompressFrom || value.size() > std::numeric_limits<unsigned>::max()) return false;
    std::string packed(value.size() - 4, 0);
    packed.resize(lzf_compress(value.data(), static_cast<unsigned>(value.size()), packed.data(), static_cast<unsigned>(packed.size())));
    if (packed.empty()) return false;
    out += static_cast<char>(compressed);
    append_length(out, packed.size());
    append_length(out, value.size());
    out += packed;
    return true;
}

}  // namespace

uint64_t crc64(std::string_view bytes, uint64_t before) {
    // The library inverts before and behind, Redis does not.
    return ~crc64_jones_refl(~before, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

void append_length(std::string& out, uint64_t length) {
    if (length < 1u << 6) {
        out += static_cast<char>(length);
    } else if (length < 1u << 14) {
        out += static_cast<char>(0x40 | length >> 8);
        out += static_cast<char>(length);
    } else {
        const bool wide = length > std::numeric_limits<uint32_t>::max();
        out += static_cast<char>(wide ? 0x81 : 0x80);
        for (int shift = wide ? 56 : 24; shift >= 0; shift -= 8) out += static_cast<char>(length >> shift);
    }
}

void append_string(std::string& out, std::string_view value, bool compress) {
    if (append_as_integer(out, value) || (compress && append_compressed(out, value))) return;
    append_length(out, value.size());
    out += value;
}

bool Input::take_byte(uint8_t& byte) {
    std::string_view bytes;
    return take(1, bytes) && (byte = static_cast<uint8_t>(bytes[0]), true);
}

bool Input::take_big_endian(unsigned count, uint64_t& number) {
    std::string_view bytes;
    if (!take(count, bytes)) return false;
    number = 0;
    for (const char byte : bytes) number = number << 8 | static_cast<uint8_t>(byte);
    return true;
}

/// A length, or in `encoding` the first byte of a string that has none.
bool Input::take_length_or_encoding(uint64_t& length, std::optional<uint8_t>& encoding) {
    uint8_t first, second;
    if (!take_byte(first)) return false;
    encoding.reset();
    length = first & 0x3f;
    switch (first >> 6) {
        case 0: return true;
        case 1:
            if (!take_byte(second)) return false;
            length = length << 8 | second;
            return true;
        case 2: return (first == 0x80 || first == 0x81) && take_big_endian(first == 0x80 ? 4 : 8, length);
        default: encoding = first; return true;
    }
}

bool Input::take_length(uint64_t& length) {
    std::optional<uint8_t> encoding;
    return take_length_or_encoding(length, encoding) && !encoding;
}

template <class Integer>
bool Input::take_integer(std::string& value) {
    std::string_view bytes;
    if (!take(sizeof(Integer), bytes)) return false;
    Integer number;
    std::memcpy(&number, bytes.data(), sizeof number);
    value = std::to_string(number);
    return true;
}

bool Input::take_compressed(uint64_t bytes_max, std::string& value) {
    uint64_t packed, length;
    std::string_view bytes;
    if (!take_length(packed) || !take_length(length) || length > bytes_max || packed > std::numeric_limits<unsigned>::max() || !take(packed, bytes)) return false;
    if (length / kExpansionMax > packed) return false;  // before memory is taken for it
    value.resize(length);
    if (length == 0) return true;
    return lzf_decompress(bytes.data(), static_cast<unsigned>(bytes.size()), value.data(), static_cast<unsigned>(length)) == length;
}

bool Input::take_string(uint64_t bytes_max, std::string& value) {
    uint64_t length;
    std::optional<uint8_t> encoding;
    std::string_view bytes;
    if (!take_length_or_encoding(length, encoding)) return false;
    if (!encoding) return length <= bytes_max && take(length, bytes) && (value = bytes, true);
    switch (*encoding) {
        case int8: return take_integer<int8_t>(value);
        case int16: return take_integer<int16_t>(value);
        case int32: return take_integer<int32_t>(value);
        case compressed: return take_compressed(bytes_max, value);
        default: return false;
    }
}

bool Input::skip_string() {
    uint64_t length, unpacked;
    std::optional<uint8_t> encoding;
    if (!take_length_or_encoding(length, encoding)) return false;
    if (!encoding) return skip(length);
    switch (*encoding) {
        case int8: return skip(1);
        case int16: return skip(2);
        case int32: return skip(4);
        case compressed: return take_length(length) && take_length(unpacked) && skip(length);
        default: return false;
    }
}

bool MemoryInput::take(uint64_t count, std::string_view& bytes) {
    if (count > left_.size()) return false;
    bytes = left_.substr(0, count);
    left_.remove_prefix(count);
    return true;
}

bool MemoryInput::skip(uint64_t count) {
    std::string_view bytes;
    return take(count, bytes);
}

}  // namespace millrace::redis
