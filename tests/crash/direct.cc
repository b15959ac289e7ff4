// See direct.h. Used by tests/crash.
#include "tests/crash/direct.h"

#include <fmt/format.h>

#include <atomic>

#include "common/clock.h"
#include "io_conn/direct_reader_impl.h"

namespace millrace::crash {

namespace {

/// Who is reading now, and how many loads are left until it is stopped.
struct Turn {
    ucontext_t reader, judge;
    unsigned loads = 0;
};
Turn* turn = nullptr;

/// A reader's loads: before each it may have to wait for a later image.
struct StoppedLoad {
    static uint64_t load(const std::byte* word) {
        if (turn->loads == 0) swapcontext(&turn->reader, &turn->judge);
        --turn->loads;
        return racing_load(word);
    }
};

}  // namespace

/// One reading of the group, on a stack of its own.
class DirectReaders::Fiber {
  public:
    Fiber(const std::vector<Watched>& group, const std::byte* base, unsigned floor_state)
        : floor(floor_state), group_(group), base_(base), stack_(std::make_unique<char[]>(kStackBytes)) {
        getcontext(&turn_.reader);
        turn_.reader.uc_stack.ss_sp = stack_.get();
        turn_.reader.uc_stack.ss_size = kStackBytes;
        turn_.reader.uc_link = &turn_.judge;
        makecontext(&turn_.reader, reinterpret_cast<void (*)()>(&Fiber::enter), 0);
    }

    /// Goes on for so many loads, or to the end.
    void run(unsigned loads) {
        turn_.loads = loads;
        turn = &turn_;
        entering = this;
        swapcontext(&turn_.judge, &turn_.reader);
        turn = nullptr;
    }

    const unsigned floor;   ///< no earlier state was current when it began
    unsigned asleep = 0;    ///< images that it lets pass
    bool done = false;
    bool valid = false;     ///< its answer counts
    Answer answer;

  private:
    static constexpr size_t kStackBytes = 128 * 1024;
    static inline Fiber* entering = nullptr;

    static void enter() { entering->read(); }
    void read() {
        std::atomic<uint64_t> published{0};
        io_conn::BasicDirectReader<StoppedLoad> reader(base_, published);
        std::vector<io_conn::DirectLookup> lookups(group_.size());
        for (size_t i = 0; i < group_.size(); ++i) {
            lookups[i].key = group_[i].key;
            lookups[i].database = group_[i].database;
        }
        reader.begin();
        // One after the other, as the reader does with more keys than it asks for together: each may meet another state.
        for (io_conn::DirectLookup& lookup : lookups) reader.find({&lookup, 1});
        io_conn::BufferPool pool;
        bool complete = true;
        for (io_conn::DirectLookup& lookup : lookups) {
            complete = complete && lookup.stable;
            if (!complete || lookup.item == 0) {
                answer.push_back(std::nullopt);
                continue;
            }
            io_conn::Buffer buffer(pool);
            complete = reader.append_value(lookup, 0, lookup.value_length, buffer);
            answer.push_back(Val{lookup.value_length, hash_of(buffer.bytes()), lookup.expires ? lookup.expire_at_ms : -1});
        }
        valid = complete && reader.validate(lookups);
        done = true;
    }

    const std::vector<Watched>& group_;
    const std::byte* base_;
    std::unique_ptr<char[]> stack_;
    Turn turn_;
};

DirectReaders::DirectReaders(std::vector<Watched> group, const md::StoreMemory& live, const std::vector<Contents>& states, uint64_t seed)
    : group_(std::move(group)), base_(live.at(0)), random_(seed) {
    const int64_t now_ms = wall_ms();
    for (const Contents& state : states) {
        Answer& answer = expected_.emplace_back();
        for (const Watched& each : group_) {
            const auto found = state.keys.find({each.database, each.key});
            const bool over = found != state.keys.end() && found->second.expire_at_ms >= 0 && found->second.expire_at_ms <= now_ms;
            answer.push_back(found == state.keys.end() || over ? std::nullopt : std::optional(found->second));
        }
    }
}

// A fiber that is not at its end is given up where it is: its own memory is on its stack or lost, which a test may.
DirectReaders::~DirectReaders() = default;
DirectReaders::DirectReaders(DirectReaders&& other) noexcept = default;

std::string DirectReaders::judge(const Fiber& fiber, unsigned state) {
    ++answers_;
    for (unsigned each = fiber.floor; each <= state; ++each) {
        if (expected_[each] != fiber.answer) continue;
        seen_ = std::max(seen_, each);
        return "";
    }
    std::string told;
    for (size_t i = 0; i < group_.size(); ++i) {
        const auto& value = fiber.answer[i];
        told += fmt::format(" {} {};", group_[i].key, value ? fmt::format("has {} bytes ({:x})", value->length, value->hash) : "is not there");
    }
    return fmt::format("a direct reader is told that{} which is of no state from {} to {}", told, fiber.floor, state);
}

std::string DirectReaders::look(unsigned state) {
    const auto choose = [this](unsigned below) {
        random_ = random_ * 6364136223846793005ull + 1442695040888963407ull;
        return static_cast<unsigned>(random_ >> 33) % below;
    };
    for (unsigned i = 0; i < kFibersAtOnce && fibers_.size() < kFibersMax; ++i) fibers_.push_back(std::make_unique<Fiber>(group_, base_, seen_));
    for (size_t i = 0; i < fibers_.size();) {
        Fiber& fiber = *fibers_[i];
        // Some sleep through a whole commit, some see each of its images.
        if (fiber.asleep > 0) --fiber.asleep;
        else if (choose(8) == 0) fiber.asleep = choose(choose(4) == 0 ? kLongSleepMax : kSleepMax);
        else fiber.run(choose(8) == 0 ? ~0u : 1 + choose(kLoadsAtOnce));
        if (!fiber.done) {
            ++i;
            continue;
        }
        std::string wrong = fiber.valid ? judge(fiber, state) : "";
        fibers_.erase(fibers_.begin() + static_cast<ptrdiff_t>(i));
        if (!wrong.empty()) return wrong;
    }
    return "";
}

}  // namespace millrace::crash
