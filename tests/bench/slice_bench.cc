// The longest step of the store's work that cannot be interrupted, without the machine's own pauses: `make bench-slices`.
//
//   slice_bench [--keys N] [--rounds N] [--value BYTES]
//
// md looks at the clock between requests and ends a turn after a millisecond of work, so a turn is as long as that and the longest
// step that it cannot cut: a request with the splits it needs, a slice of expiry, of freeing, of giving memory back. A virtual
// machine's CPU clock goes on while its host takes memory or the processor away, and such a pause falls on any step. But the
// store does the same steps in each round - same keys, same hash seed -, and what a pause has lengthened in one round it has not
// in the others: the time of a step is the least of all rounds, and the longest step the greatest of these times.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <CLI/CLI.hpp>
#include <ctime>
#include <limits>
#include <string>
#include <vector>

#include "common/check.h"
#include "md/store.h"

namespace millrace::bench {
namespace {

namespace st = millrace::store;

constexpr uint64_t kOplogBytes = 256 * 1024;
constexpr unsigned kBatch = 16;  ///< keys that are timed together
constexpr unsigned kLooks = 1000;  ///< slices of expiry that find nothing
constexpr unsigned kShown = 5;   ///< of the longest steps

double thread_cpu_us() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

/// A store in shared memory of its own, as md has it: taken from the system in steps and given back.
class Space {
  public:
    Space() {
        fd_ = memfd_create("slice_bench", MFD_CLOEXEC);
        if (fd_ < 0 || ftruncate(fd_, static_cast<off_t>(st::kReserveBytesDefault)) != 0) throw Error("cannot make a segment");
        base_ = mmap(nullptr, st::kReserveBytesDefault, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0);
        if (base_ == MAP_FAILED) throw Error("cannot map a segment");
        if (!back(0, md::Store::fixed_pages(kOplogBytes) << st::kPageShift)) throw Error("there is no shared memory left");
        md::Store::format(view(), 42, kOplogBytes);
    }
    Space(const Space&) = delete;
    ~Space() {
        munmap(base_, st::kReserveBytesDefault);
        close(fd_);
    }
    md::StoreMemory view() {
        return {static_cast<std::byte*>(base_), st::kReserveBytesDefault, [this](uint64_t at, uint64_t length) { return back(at, length); },
                [this](uint64_t at, uint64_t length) {
                    fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at), static_cast<off_t>(length));
                }};
    }

  private:
    bool back(uint64_t at, uint64_t length) const {
        return posix_fallocate(fd_, static_cast<off_t>(at), static_cast<off_t>(length)) == 0;
    }
    int fd_;
    void* base_;
};

/// The steps of one kind in the order in which they come, each with its least time of all rounds.
class Steps {
  public:
    explicit Steps(std::string name) : name_(std::move(name)) {}
    void begin_round() {
        at_ = 0;
        worst_of_round_ = 0;
    }
    void end_round() {
        CHECK(rounds_++ == 0 || at_ == least_.size());  // the same steps each time, or the least would mean nothing
        worst_of_rounds_.push_back(worst_of_round_);
    }
    template <class Step>
    auto time(const Step& step) {
        const double before = thread_cpu_us();
        auto result = step();
        const auto took = static_cast<float>(thread_cpu_us() - before);
        if (at_ == least_.size()) least_.push_back(took);
        least_[at_] = std::min(least_[at_], took);
        ++at_;
        worst_of_round_ = std::max(worst_of_round_, took);
        return result;
    }
    void print() const {
        std::vector<size_t> order(least_.size());
        for (size_t i = 0; i < order.size(); ++i) order[i] = i;
        const size_t shown = std::min<size_t>(kShown, order.size());
        std::partial_sort(order.begin(), order.begin() + static_cast<long>(shown), order.end(),
                          [&](size_t a, size_t b) { return least_[a] > least_[b]; });
        std::string longest;
        for (size_t i = 0; i < shown; ++i) longest += fmt::format(" {:.0f}(#{})", least_[order[i]], order[i]);
        fmt::print("{:32} {:8} steps  longest, us:{}; single rounds' longest: {:.0f} to {:.0f}\n", name_, least_.size(), longest,
                   *std::min_element(worst_of_rounds_.begin(), worst_of_rounds_.end()),
                   *std::max_element(worst_of_rounds_.begin(), worst_of_rounds_.end()));
        std::fflush(stdout);
    }

  private:
    std::string name_;
    std::vector<float> least_, worst_of_rounds_;
    size_t at_ = 0;
    unsigned rounds_ = 0;
    float worst_of_round_ = 0;
};

struct Wanted {
    uint64_t keys = 10'000'000;
    unsigned rounds = 5;
    unsigned value_bytes = 64;
};

/// One SET as md does it: with its record in the oplog and the channel's cursors.
void set(md::Store& store, uint64_t key, const md::Value& value, uint64_t& cursor) {
    const std::string name = fmt::format("key:{:012}", key);
    const st::KeyPlace place = store.place_of(name);
    for (;;) {
        store.begin_record();
        const md::Store::Put put = store.put(0, name, place, value);
        if (put == md::Store::Put::done) break;
        store.abandon();
        if (put == md::Store::Put::no_memory || !store.split(0, place)) throw Error("there is no shared memory left");
    }
    store.end_record();
    cursor += 128;
    store.set_cursors(0, cursor, cursor);
    if (!store.commit()) throw Error("there is no shared memory left");
}

void run(const Wanted& wanted) {
    std::array all{Steps(fmt::format("{} SETs of new keys", kBatch)), Steps(fmt::format("{} SETs of keys", kBatch)),
                   Steps("slice of expiry, nothing over"), Steps("slice of expiry, much over"), Steps("slice of freeing"),
                   Steps("slice of giving back")};
    auto& [inserts, overwrites, looking, expiry, freeing, giving_back] = all;
    const std::string bytes(wanted.value_bytes, 'x');
    for (unsigned round = 0; round < wanted.rounds; ++round) {
        Space space;
        md::Store store(space.view());
        uint64_t cursor = 0;
        for (Steps& steps : all) steps.begin_round();
        const auto batches = [&](Steps& steps, uint64_t keys, int64_t (*expire_at)(uint64_t)) {
            for (uint64_t key = 0; key < keys; key += kBatch)
                steps.time([&] {
                    for (uint64_t i = key; i < key + kBatch; ++i) set(store, i, md::Value::of(bytes, expire_at(i)), cursor);
                    return true;
                });
        };
        // Every second key of a quarter has an expiry, first one that is not over: expiry looks at all and removes nothing.
        batches(inserts, wanted.keys, [](uint64_t) -> int64_t { return md::kNoExpiry; });
        batches(overwrites, wanted.keys / 4, [](uint64_t key) -> int64_t { return key % 2 == 0 ? 1000 : md::kNoExpiry; });
        const uint64_t with_expiry = store.keys_with_expiry(0);
        for (uint64_t i = 0; i < kLooks; ++i) looking.time([&] { return store.expire_some(1, md::kExpirySliceWork); });
        uint64_t expired = 0;
        while (expired < with_expiry) expired += expiry.time([&] { return store.expire_some(2000, md::kExpirySliceWork); });
        store.clear(0);
        store.commit();
        for (bool more = true; more;) more = freeing.time([&] { return store.free_some(md::kFreeSliceEntries); });
        for (bool more = true; more;) more = giving_back.time([&] { return store.give_back_some(md::kGiveBackSlicePages); });
        for (Steps& steps : all) steps.end_round();
    }
    fmt::print("{} keys, values of {} bytes, {} rounds; the time of a step is the least of all rounds\n", wanted.keys, wanted.value_bytes,
               wanted.rounds);
    for (const Steps& steps : all) steps.print();
}

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
    millrace::bench::Wanted wanted;
    CLI::App app("the longest steps of the store's work, without the machine's own pauses");
    app.add_option("--keys", wanted.keys, "keys to insert")->check(CLI::Range(16ull, 4'000'000'000ull));
    app.add_option("--rounds", wanted.rounds, "the least of so many rounds is the time of a step")->check(CLI::Range(1u, 1000u));
    app.add_option("--value", wanted.value_bytes, "bytes of a value")->check(CLI::Range(1u, 16'000u));
    CLI11_PARSE(app, argc, argv);
    try {
        millrace::bench::run(wanted);
    } catch (const std::exception& error) {
        fmt::print(stderr, "slice_bench: {}\n", error.what());
        return 1;
    }
    return 0;
}
