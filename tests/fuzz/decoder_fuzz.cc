// Fuzz target: io_conn's request decoder (io_conn/resp_decoder.h) against any bytes from a client.
//
// Input: u32 that seeds the splits, u8 that chooses the longest argument, then the client's bytes. Shown are:
//   - the same requests and the same error, whether the bytes come at once or in any pieces;
//   - nothing is read beyond the bytes given (each piece lies in memory of exactly its length, under AddressSanitizer);
//   - a request is never longer than its bytes, its words lie within it, and the decoder always makes progress.
// Only inputs up to the longest line are compared: whether a longer line is refused depends on the pieces, as in Redis.
#include <memory>

#include "common/check.h"
#include "io_conn/resp_decoder.h"
#include "tests/fuzz/target.h"

namespace millrace::fuzz {

namespace {

using io_conn::RespDecoder;
using Result = RespDecoder::Result;

/// What a client's bytes were taken for.
struct Outcome {
    std::vector<std::vector<std::string>> requests;
    std::string error;
    size_t used = 0;
    bool operator==(const Outcome&) const = default;
};

/// Where the pieces end; small steps and large ones.
class Splits {
  public:
    Splits(uint32_t seed, bool at_once) : state_(seed), at_once_(at_once) {}
    size_t next(size_t from, size_t end) {
        if (at_once_) return end;
        state_ = state_ * 1664525u + 1013904223u;  // Numerical Recipes
        const uint32_t random = state_ >> 8;
        const size_t step = random % 4 == 0 ? 1 + random / 4 % 512 : 1 + random / 4 % 4;
        return std::min(end, from + step);
    }

  private:
    uint32_t state_;
    bool at_once_;
};

Result decode_copy(RespDecoder& decoder, std::string_view bytes, Outcome& outcome) {
    const std::unique_ptr<char[]> exact(new char[bytes.size()]);
    if (!bytes.empty()) std::memcpy(exact.get(), bytes.data(), bytes.size());
    const Result result = decoder.decode({exact.get(), bytes.size()});
    if (result == Result::error) outcome.error = decoder.error();
    if (result != Result::request) return result;
    CHECK(decoder.length() > 0 && decoder.length() <= bytes.size());
    std::vector<std::string> words;
    size_t word_bytes = 0;
    for (const std::string_view word : decoder.arguments()) {
        words.emplace_back(word);
        word_bytes += word.size();
    }
    CHECK(word_bytes <= decoder.length() && words.size() <= decoder.length());
    if (!words.empty()) outcome.requests.push_back(std::move(words));
    return result;
}

Outcome decode_all(std::string_view bytes, uint64_t bulk_bytes_max, Splits splits) {
    RespDecoder decoder(bulk_bytes_max);
    Outcome outcome;
    size_t start = 0, end = splits.next(0, bytes.size());
    while (true) {
        const Result result = decode_copy(decoder, bytes.substr(start, end - start), outcome);
        if (result == Result::error) break;
        if (result == Result::request) {
            start += decoder.length();
            decoder.reset();
            outcome.used = start;
            if (start == bytes.size()) break;
            end = std::max(end, start);
        } else {
            CHECK(decoder.needed() <= end - start + bulk_bytes_max + 2);
            if (end == bytes.size()) break;
            end = splits.next(end, bytes.size());
        }
    }
    return outcome;
}

}  // namespace

std::vector<std::string> valid_inputs() {
    std::vector<std::string> inputs;
    for (const std::string_view text :
         {"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n*1\r\n$4\r\nPING\r\n", "PING\r\nset k \"a\\x41\\n\" 'b\\'c'\r\n",
          "*0\r\n*-1\r\n\r\nGET k\n", "*1\r\n$0\r\n\r\n", "*2\r\n$3\r\nGET\r\n$-1\r\n", "*2\r\n:3\r\n", "*1\r\n$2000000000\r\n", "set k \"open\r\n",
          "*2147483647\r\n$1\r\na\r\n", "*a\r\n", "+OK\r\n"})
        inputs.push_back(InputWriter().put(uint32_t{1}).put(uint8_t{3}).bytes(text).done());
    return inputs;
}

}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace::fuzz;
    Choices choices(data, size);
    const auto seed = choices.take<uint32_t>();
    const uint64_t bulk_bytes_max = uint64_t{1} << choices.take<uint8_t>() % 21;
    const std::string_view bytes = choices.rest();
    const Outcome whole = decode_all(bytes, bulk_bytes_max, Splits(seed, true));
    const Outcome pieces = decode_all(bytes, bulk_bytes_max, Splits(seed, false));
    if (bytes.size() <= millrace::io_conn::RespDecoder::kLineBytesMax) CHECK(whole == pieces);
    return 0;
}
