// See dump_format.h. Runs in md.
//
// Format: a type byte (0: string), a string, the version in 2 bytes, the checksum of all before in 8, little-endian. A string is a length and
// its bytes, or an integer of 1, 2 or 4 bytes, or compressed by LZF. A length is 6, 14, 32 or 64 bits; the first two bits say which.
#include "md/dump_format.h"

#include <liblzf/lzf.h>

#include <array>
#include <charconv>
#include <cstring>
#include <limits>

#include "common/text.h"

namespace millrace::md {

namespace {

constexpr uint16_t kVersion = 10;  ///< of Redis 7.0; what a later one writes is not read
constexpr size_t kFooterBytes = sizeof(uint16_t) + sizeof(uint64_t);
constexpr char kTypeString = 0;
constexpr size_t kIntegerDigitsMax = 11;
constexpr size_t kCompressFrom = 21;  ///< bytes
constexpr uint64_t kExpansionMax = 264;  ///< bytes that LZF makes of one, at most: a reference has two or three

enum Encoding : uint8_t { int8 = 0xc0, int16 = 0xc1, int32 = 0xc2, compressed = 0xc3 };

void put_length(std::string& out, uint64_t length) {
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

template <class Integer>
void put_integer(std::string& out, Encoding encoding, int64_t number) {
    const auto value = static_cast<Integer>(number);
    out += static_cast<char>(encoding);
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// What is left of a serialization.
class Reader {
  public:
    explicit Reader(std::string_view bytes) : left_(bytes) {}
    bool empty() const { return left_.empty(); }
    bool take(uint64_t count, std::string_view& bytes) {
        if (count > left_.size()) return false;
        bytes = left_.substr(0, count);
        left_.remove_prefix(count);
        return true;
    }
    bool take_byte(uint8_t& byte) {
        std::string_view bytes;
        return take(1, bytes) && (byte = static_cast<uint8_t>(bytes[0]), true);
    }
    /// A length, or in `encoding` the first byte of a string that has none.
    bool take_length(uint64_t& length, std::optional<uint8_t>& encoding) {
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
    template <class Integer>
    bool take_integer(std::string& value) {
        std::string_view bytes;
        if (!take(sizeof(Integer), bytes)) return false;
        Integer number;
        std::memcpy(&number, bytes.data(), sizeof number);
        value = std::to_string(number);
        return true;
    }
    bool take_compressed(uint64_t bytes_max, std::string& value) {
        uint64_t packed, length;
        std::optional<uint8_t> encoding, other;
        std::string_view bytes;
        if (!take_length(packed, encoding) || encoding || !take_length(length, other) || other || length > bytes_max || !take(packed, bytes)) return false;
        if (length / kExpansionMax > packed) return false;  // before memory is taken for it
        value.resize(length);
        if (length == 0) return true;
        return lzf_decompress(bytes.data(), static_cast<unsigned>(bytes.size()), value.data(), static_cast<unsigned>(length)) == length;
    }

  private:
    bool take_big_endian(unsigned count, uint64_t& number) {
        std::string_view bytes;
        if (!take(count, bytes)) return false;
        number = 0;
        for (const char byte : bytes) number = number << 8 | static_cast<uint8_t>(byte);
        return true;
    }
    std::string_view left_;
};

bool read_string(Reader& in, uint64_t bytes_max, std::string& value) {
    uint64_t length;
    std::optional<uint8_t> encoding;
    std::string_view bytes;
    if (!in.take_length(length, encoding)) return false;
    if (!encoding) return length <= bytes_max && in.take(length, bytes) && (value = bytes, true);
    switch (*encoding) {
        case int8: return in.take_integer<int8_t>(value);
        case int16: return in.take_integer<int16_t>(value);
        case int32: return in.take_integer<int32_t>(value);
        case compressed: return in.take_compressed(bytes_max, value);
        default: return false;
    }
}

}  // namespace

uint64_t crc64(std::string_view bytes) {
    static constexpr auto kTable = [] {
        std::array<uint64_t, 256> table{};
        for (unsigned byte = 0; byte < 256; ++byte) {
            uint64_t crc = byte;
            for (unsigned bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x95ac9329ac4bc9b5ull : 0);
            table[byte] = crc;
        }
        return table;
    }();
    uint64_t crc = 0;
    for (const char byte : bytes) crc = kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff] ^ crc >> 8;
    return crc;
}

std::string dump_string(std::string_view value) {
    std::string out(1, kTypeString);
    int64_t number;
    std::string packed;
    if (value.size() <= kIntegerDigitsMax && parse_integer(value, number) && number == static_cast<int32_t>(number)) {
        if (number == static_cast<int8_t>(number)) put_integer<int8_t>(out, int8, number);
        else if (number == static_cast<int16_t>(number)) put_integer<int16_t>(out, int16, number);
        else put_integer<int32_t>(out, int32, number);
    } else if (value.size() >= kCompressFrom && value.size() <= std::numeric_limits<unsigned>::max()) {
        packed.resize(value.size() - 4);
        packed.resize(lzf_compress(value.data(), static_cast<unsigned>(value.size()), packed.data(), static_cast<unsigned>(packed.size())));
        if (!packed.empty()) {
            out += static_cast<char>(compressed);
            put_length(out, packed.size());
        }
        put_length(out, value.size());
        out += packed.empty() ? value : packed;
    } else {
        put_length(out, value.size());
        out += value;
    }
    out.append(reinterpret_cast<const char*>(&kVersion), sizeof kVersion);
    const uint64_t checksum = crc64(out);
    return out.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
}

DumpFault read_dump(std::string_view dump, uint64_t bytes_max, std::string& value) {
    if (dump.size() < kFooterBytes) return DumpFault::version_or_checksum;
    uint16_t version;
    uint64_t checksum;
    std::memcpy(&version, dump.data() + dump.size() - kFooterBytes, sizeof version);
    std::memcpy(&checksum, dump.data() + dump.size() - sizeof checksum, sizeof checksum);
    if (version > kVersion || checksum != crc64(dump.substr(0, dump.size() - sizeof checksum))) return DumpFault::version_or_checksum;
    Reader in(dump.substr(0, dump.size() - kFooterBytes));
    uint8_t type;
    // Redis does not mind bytes behind the value either.
    return in.take_byte(type) && type == kTypeString && read_string(in, bytes_max, value) ? DumpFault::none : DumpFault::format;
}

}  // namespace millrace::md
