// Fuzz target: md_repl's way from a redis-server's stream to what md is given (md/repl/redis_stream.h, md/repl/redis_batch.h) against any bytes from a master.
//
// Input: u32 that seeds the splits, u8 whether transactions may clear databases, then the stream's bytes. Shown are:
//   - the same pieces, the same end and the same sentence, whether the bytes come at once or in any pieces;
//   - nothing is read beyond the bytes given (each lies in memory of exactly its length, under AddressSanitizer);
//   - each piece goes on where the one before has ended, says as many words as it has, and its commands begin inside of it;
//   - offsets count all bytes that were taken, and nothing else.
#include <memory>

#include "common/check.h"
#include "md/repl/redis_batch.h"
#include "md/repl/redis_stream.h"
#include "tests/fuzz/target.h"

namespace millrace::fuzz {

namespace {

using md_repl::RedisBatch;
using md_repl::RedisStream;

constexpr uint64_t kBegin = 77;

/// What a stream was taken for.
struct Outcome {
    std::string pieces, sentence;
    bool bad = false;
    uint64_t reached = 0;
    bool operator==(const Outcome&) const = default;
};

size_t words_in(std::string_view encoded) {
    size_t words = 0;
    for (; !encoded.empty(); ++words) {
        const size_t line = encoded.find("\r\n");
        CHECK(encoded[0] == '$' && line != std::string_view::npos);
        const size_t length = std::stoull(std::string(encoded.substr(1, line - 1)));
        CHECK(encoded.size() >= line + length + 4 && encoded.substr(line + 2 + length, 2) == "\r\n");
        encoded.remove_prefix(line + length + 4);
    }
    return words;
}

class Follower {
  public:
    explicit Follower(bool clears_together) {
        batch_.begin(given_);
        batch_.set_clears_together(clears_together);
    }

    /// Takes what is whole of `bytes`, and gives how much that was.
    size_t take(std::string_view bytes) {
        size_t used = 0;
        while (!over()) {
            const RedisStream::Outcome found = next(bytes.substr(used));
            outcome_.bad = found == RedisStream::Outcome::bad;
            if (found != RedisStream::Outcome::command) break;
            RedisBatch::Taken taken = batch_.take(stream_.words(), stream_.length());
            for (; taken == RedisBatch::Taken::full; taken = batch_.take(stream_.words(), stream_.length())) give();
            if (taken == RedisBatch::Taken::refused) {
                outcome_.sentence = batch_.sentence();
                break;
            }
            used += stream_.length();
            stream_.drop();
        }
        return used;
    }
    bool over() const { return outcome_.bad || !outcome_.sentence.empty(); }
    Outcome end(uint64_t used) {
        const uint64_t at = batch_.place().offset;
        CHECK(at <= kBegin + used && (at == kBegin + used || !outcome_.sentence.empty()));
        while (batch_.ready()) give();
        CHECK(batch_.idle() || outcome_.sentence.empty());
        outcome_.reached = batch_.place().offset;
        return outcome_;
    }

  private:
    RedisStream::Outcome next(std::string_view bytes) {
        exact_.reset(new char[bytes.size()]);
        if (!bytes.empty()) std::memcpy(exact_.get(), bytes.data(), bytes.size());
        return stream_.next({exact_.get(), bytes.size()});
    }
    void give() {
        CHECK(batch_.ready());
        const RedisBatch::Request request = batch_.request();
        CHECK(request.from == std::to_string(given_.offset) && request.from_database == std::to_string(given_.database));
        CHECK(words_in(request.encoded) == request.words);
        outcome_.pieces += request.from + " " + request.to + " " + request.to_database + ":" + std::string(request.encoded);
        const auto database = static_cast<unsigned>(std::stoul(request.to_database));
        const RedisBatch::Given given = batch_.given();
        CHECK(given.to > given_.offset && !given.begins.empty());
        for (const uint64_t begin : given.begins) CHECK(begin >= given_.offset && begin < given.to);
        given_ = {given.to, database};
    }

    RedisBatch::Place given_{kBegin, 0};
    RedisStream stream_;
    RedisBatch batch_;
    std::unique_ptr<char[]> exact_;
    Outcome outcome_;
};

Outcome follow(std::string_view bytes, bool clears_together, uint32_t seed, bool at_once) {
    Follower follower(clears_together);
    size_t used = 0, end = at_once ? bytes.size() : 0;
    while (true) {
        used += follower.take(bytes.substr(used, end - used));
        if (follower.over() || end == bytes.size()) return follower.end(used);
        seed = seed * 1664525u + 1013904223u;  // Numerical Recipes
        end = std::min<size_t>(bytes.size(), end + 1 + (seed >> 8) % 40);
    }
}

std::string encoded(std::string_view commands) {
    std::string bytes;
    while (!commands.empty()) {
        std::string_view line = commands.substr(0, commands.find('\n'));
        commands.remove_prefix(std::min(line.size() + 1, commands.size()));
        std::string words;
        unsigned count = 0;
        for (; !line.empty(); ++count) {
            const std::string_view word = line.substr(0, line.find(' '));
            line.remove_prefix(std::min(word.size() + 1, line.size()));
            words += "$" + std::to_string(word.size()) + "\r\n" + std::string(word) + "\r\n";
        }
        bytes += "*" + std::to_string(count) + "\r\n" + words;
    }
    return bytes;
}

}  // namespace

std::vector<std::string> valid_inputs() {
    std::vector<std::string> inputs;
    for (const std::string_view text : {"PING\nSELECT 3\nSET k v\nINCR n\nDEL a b", "MULTI\nSET a 1\nSWAPDB 0 1\nFLUSHDB\nSET b 1\nEXEC\nSET c 1", "FLUSHALL\nRENAME a b\nSETRANGE k 0 x\nEXEC",
                                        "REPLCONF GETACK *\nPUBLISH c m\nLPUSH l x", "MULTI\nSET a 1\nMULTI", "SELECT 99", "SET a 1\nEXEC\nEXEC", "MSET a 1 b 2\nAPPEND a x\nSCRIPT FLUSH"})
        for (const uint8_t together : {0, 1}) inputs.push_back(InputWriter().put(uint32_t{1}).put(together).bytes(encoded(text)).done());
    return inputs;
}

}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace::fuzz;
    Choices choices(data, size);
    const auto seed = choices.take<uint32_t>();
    const bool together = choices.take<uint8_t>() % 2 != 0;
    const std::string_view bytes = choices.rest();
    CHECK(follow(bytes, together, seed, true) == follow(bytes, together, seed, false));
    return 0;
}
