// The search for an order of operations; see history.h. Used by tests/linear and by unit tests.
#include "tests/linear/history.h"

#include <algorithm>
#include <map>
#include <unordered_set>
#include <utility>

namespace millrace::linear {

namespace {

constexpr size_t kNone = ~size_t{0};

/// What has been put in order so far, as a set of bits, with the object's state then.
struct Tried {
    std::vector<uint64_t> done;
    uint64_t state;
    bool operator==(const Tried&) const = default;
};
struct TriedHash {
    size_t operator()(const Tried& tried) const {
        uint64_t hash = tried.state;
        for (const uint64_t word : tried.done) hash = (hash ^ word) * 0x9e3779b97f4a7c15ull ^ hash >> 29;
        return hash;
    }
};

class Search {
  public:
    Search(std::vector<Operation> history, uint64_t initial) : history_(std::move(history)), state_(initial) {
        std::ranges::stable_sort(history_, {}, &Operation::sent_ns);  // a client's own keep their order
        done_.assign((history_.size() + 63) / 64, 0);
        before_.assign(history_.size(), kNone);
        std::map<uint32_t, size_t> latest;
        for (size_t i = 0; i < history_.size(); ++i) {
            const auto [at, fresh] = latest.try_emplace(history_[i].client, i);
            if (!fresh) before_[i] = std::exchange(at->second, i);
        }
    }

    std::string run() {
        while (chosen_.size() < history_.size())
            if (!advance() && !go_back()) return explain();
        return {};
    }

  private:
    struct Choice {
        size_t operation;
        uint64_t state_before;
        size_t first;  ///< of the operations that were not done
    };

    bool is_done(size_t i) const { return (done_[i / 64] >> i % 64 & 1) != 0; }
    void flip(size_t i) { done_[i / 64] ^= 1ull << i % 64; }

    /// Whether the operation may come now, and what the object is then.
    bool allows(const Operation& operation, uint64_t& state) const {
        state = state_;
        if (operation.kind == Kind::read) return operation.number == state_;
        if (operation.kind == Kind::write) state = operation.number;
        else if (operation.number != state_ + 1) return false;
        else state = operation.number;
        return true;
    }

    /// Puts the next possible operation at or after next_ into the order.
    bool advance() {
        while (first_ < history_.size() && is_done(first_)) ++first_;
        // Nothing may come before an operation that was answered before it was sent.
        uint64_t deadline = ~uint64_t{0};
        for (size_t i = first_; i < history_.size() && history_[i].sent_ns <= deadline; ++i)
            if (!is_done(i)) deadline = std::min(deadline, history_[i].answered_ns);
        for (size_t i = std::max(first_, next_); i < history_.size() && history_[i].sent_ns <= deadline; ++i) {
            uint64_t state;
            if (is_done(i) || (before_[i] != kNone && !is_done(before_[i])) || !allows(history_[i], state)) continue;
            flip(i);
            if (!tried_.insert({done_, state}).second) {
                flip(i);
                continue;
            }
            chosen_.push_back({i, state_, first_});
            state_ = state;
            next_ = 0;
            furthest_ = std::max(furthest_, chosen_.size());
            return true;
        }
        return false;
    }
    bool go_back() {
        if (chosen_.empty()) return false;
        const Choice last = chosen_.back();
        chosen_.pop_back();
        flip(last.operation);
        state_ = last.state_before;
        first_ = last.first;
        next_ = last.operation + 1;
        return true;
    }
    std::string explain() const {
        const Operation& operation = history_[std::min(furthest_, history_.size() - 1)];
        const char* names[] = {"write of ", "read of ", "count to "};
        return "no order explains more than " + std::to_string(furthest_) + " of " + std::to_string(history_.size()) +
               " operations; near a " + names[static_cast<unsigned>(operation.kind)] + std::to_string(operation.number) + " by client " +
               std::to_string(operation.client);
    }

    std::vector<Operation> history_;
    std::vector<size_t> before_;  ///< the same client's operation before
    std::vector<uint64_t> done_;
    std::vector<Choice> chosen_;
    std::unordered_set<Tried, TriedHash> tried_;
    uint64_t state_;
    size_t first_ = 0, next_ = 0, furthest_ = 0;
};

}  // namespace

std::string check(std::vector<Operation> history, uint64_t initial) {
    if (history.empty()) return {};
    return Search(std::move(history), initial).run();
}

}  // namespace millrace::linear
