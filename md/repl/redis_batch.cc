// See redis_batch.h. Runs in md_repl.
#include "md/repl/redis_batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "common/effects.h"
#include "common/text.h"

namespace millrace::md_repl {

namespace {

constexpr size_t kKeptBytesMax = 4 * RedisBatch::kBytesMax;  ///< of what a large command leaves behind
constexpr std::array<std::string_view, 4> kPassedOver{"ping", "publish", "spublish", "script"};

/// Commands of which many may be one piece (B3).
bool is_brief(CommandId id) {
    switch (id) {
        case CommandId::set:
        case CommandId::setex:
        case CommandId::psetex:
        case CommandId::setnx:
        case CommandId::getset:
        case CommandId::getdel:
        case CommandId::getex:
        case CommandId::mset:
        case CommandId::msetnx:
        case CommandId::append:
        case CommandId::incr:
        case CommandId::incrby:
        case CommandId::decr:
        case CommandId::decrby:
        case CommandId::incrbyfloat:
        case CommandId::del:
        case CommandId::unlink:
        case CommandId::expire:
        case CommandId::expireat:
        case CommandId::pexpire:
        case CommandId::pexpireat:
        case CommandId::persist:
        case CommandId::pfadd:
        case CommandId::pfcount: return true;
        default: return false;
    }
}

}  // namespace

void RedisBatch::begin(Place place) {
    *this = RedisBatch();
    place_ = given_ = place;
}

void RedisBatch::encode(std::string_view word) {
    fmt::format_to(std::back_inserter(encoded_), "${}\r\n", word.size());
    encoded_.append(word).append("\r\n");
    ++words_;
}

RedisBatch::Taken RedisBatch::refuse(const CommandRow* row, std::span<const std::string_view> words, std::string_view why) {
    sentence_ = fmt::format("at offset {} of its stream '{}' of key '{}' came, {}", place_.offset, printable(words[0]), printable(first_key(row, words)), why);
    if (std::exchange(in_transaction_, false)) {
        const Mark& mark = before_transaction_;
        place_ = mark.place;
        encoded_.resize(mark.bytes);
        words_ = mark.words;
        begins_.resize(mark.commands);
        cuts_.clear();
    }
    return Taken::refused;
}

/// What is no data. `followed`: it is.
RedisBatch::Taken RedisBatch::follow(const CommandRow* row, std::string_view name, std::span<const std::string_view> words, bool& followed) {
    followed = true;
    if (std::ranges::find(kPassedOver, name) != kPassedOver.end()) return Taken::yes;
    if (name == "replconf") return words.size() > 1 && equals_ignoring_case(words[1], "getack") ? Taken::asks : Taken::yes;
    if (name == "multi" || name == "exec") {
        const bool ends_one_before = name == "exec" && !in_transaction_ && std::exchange(may_end_, false);
        if (ends_one_before) return Taken::yes;
        if (in_transaction_ == (name == "multi")) return refuse(nullptr, words.first(1), "which does not fit what came before; the master's stream is damaged");
        if (!in_transaction_) before_transaction_ = here();
        in_transaction_ = !in_transaction_;
        may_end_ = false;
        return Taken::yes;
    }
    if (name == "select") {
        int64_t number = 0;
        if (words.size() != 2 || !parse_integer(words[1], number) || number < 0) return refuse(nullptr, words, "which is no database");
        if (number >= kEffectDatabases) return refuse(nullptr, words, fmt::format("and there are {} databases here", kEffectDatabases));
        place_.database = static_cast<unsigned>(number);
        return Taken::yes;
    }
    followed = false;
    if (row == nullptr || !row->replicable()) return refuse(row, words, "which this server cannot do: it has strings only");
    if (!row->accepts(words.size())) return refuse(row, words, "with a number of words that does not fit");
    return Taken::yes;
}

RedisBatch::Taken RedisBatch::take(std::span<const std::string_view> words, size_t bytes) {
    if (!in_transaction_ && (closed_ || !cuts_.empty())) return Taken::full;
    const CommandRow* const row = find_command(words[0]);
    bool followed = false;
    const Taken taken = follow(row, lowered(words[0]), words, followed);
    if (taken == Taken::refused) return taken;
    if (!followed) {
        const bool alone = !in_transaction_ && !is_brief(row->id);
        if (!in_transaction_ && !begins_.empty() && (alone || full() || encoded_.size() + bytes > kBytesMax)) return Taken::full;
        if (encoded_.size() + bytes > kTransactionBytesMax) return refuse(row, words, fmt::format("in a transaction of more than {} MB", kTransactionBytesMax >> 20));
        const bool apart = in_transaction_ && stands_apart(row->id);
        if (apart && !begins_.empty() && (cuts_.empty() || cuts_.back().commands < begins_.size())) cuts_.push_back(here());
        encode(std::to_string(place_.database));
        encode(std::to_string(words.size()));
        for (const std::string_view word : words) encode(word);
        begins_.push_back(place_.offset);
        closed_ = alone;
        if (apart) {
            cuts_.push_back(here());
            cuts_.back().place.offset += bytes;
        }
    }
    place_.offset += bytes;
    return taken;
}

/// B2.
bool RedisBatch::stands_apart(CommandId id) const { return id == CommandId::swapdb || (!clears_together_ && (id == CommandId::flushdb || id == CommandId::flushall)); }

RedisBatch::Request RedisBatch::request() const {
    const Mark end = cuts_.empty() ? here() : cuts_.front();
    return {std::to_string(given_.offset), std::to_string(given_.database), std::to_string(end.place.offset), std::to_string(end.place.database), std::string_view(encoded_).substr(0, end.bytes), end.words};
}

RedisBatch::Given RedisBatch::given() {
    const Mark end = cuts_.empty() ? here() : cuts_.front();
    Given given{end.place.offset, {begins_.begin(), begins_.begin() + static_cast<ptrdiff_t>(end.commands)}};
    given_ = end.place;
    closed_ = false;
    encoded_.erase(0, end.bytes);
    if (encoded_.empty() && encoded_.capacity() > kKeptBytesMax) std::string().swap(encoded_);
    words_ -= end.words;
    begins_.erase(begins_.begin(), begins_.begin() + static_cast<ptrdiff_t>(end.commands));
    if (!cuts_.empty()) cuts_.erase(cuts_.begin());
    for (Mark& cut : cuts_) {
        cut.bytes -= end.bytes;
        cut.words -= end.words;
        cut.commands -= end.commands;
    }
    return given;
}

}  // namespace millrace::md_repl
