// store-check: walks the store of an instance, whether md serves, is stopped or is dead, and reports every broken invariant
// of common/store_layout.h. Called by `millrace check`.
//
//     store-check STORE-FILE [PID-OF-MD [HOLD-MILLISECONDS]]
//
// It never changes the store: it copies the memory in use and looks at the copy, so that a list that was committed and not
// applied can be finished there. The copy has to be of one moment. A quiet md gives it: the commit number is the same before
// and after. A busy one is stopped (SIGSTOP) for as long as copying takes, at most so many milliseconds (the watchdog must not
// take it for one that hangs), and goes on at once.
// Exit status: 0 good, 1 broken invariants (one line each), 2 the store cannot be read, 3 it changes all the time, 4 it is too
// large to hold a busy md still.
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <exception>

#include "common/check.h"
#include "common/clock.h"
#include "common/segment.h"
#include "md/commit.h"
#include "md/store_check.h"

namespace {

using namespace millrace;
using namespace millrace::md;

constexpr int kNotLookedAt = 3;  ///< status when the store changes all the time
constexpr int kTooLarge = 4;
constexpr uint64_t kQuietUs = 100'000;     ///< a copy without stopping md is tried for so long, and at least once
constexpr uint64_t kHoldMsDefault = 5000;  ///< half of md-hang-timeout's default
constexpr uint64_t kNever = ~uint64_t{0};
constexpr useconds_t kBetweenTriesUs = 2000;

/// The memory in use of a mapped store, copied to the same offsets.
class Copy {
  public:
    explicit Copy(const StoreMemory& from) : from_(from) {
        void* memory = mmap(nullptr, from.bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw Error("there are no addresses for a copy of the store");
        base_ = static_cast<std::byte*>(memory);
    }
    Copy(const Copy&) = delete;
    ~Copy() { munmap(base_, from_.bytes()); }

    /// True when the store was the same before and after, and it did not take until `until_us`. The second time is several times as
    /// fast as the first, because the memory is there.
    bool take(uint64_t until_us) {
        const uint64_t before = version();
        in_time_ = true;
        const uint64_t frontier = from_.load(from_.offset_of(&from_.root().frontier));
        if (frontier > from_.pages()) throw Error(fmt::format("the store's frontier is page {}, beyond its end", frontier));
        for (uint64_t page = 0; page < frontier; ++page) {
            if (monotonic_us() > until_us) return in_time_ = false;
            if (page % st::kRegionPages == 0)  // of a region's first page only this much is ever there
                copy((page << st::kPageShift) + st::kDescriptorsAt, page == 0 ? st::kPageBytes - st::kDescriptorsAt : kPageSize);
            else if (st::PageState::from(from_.load(st::descriptor_at(page))).kind != st::PageKind::hole)
                copy(page << st::kPageShift, st::kPageBytes);
        }
        copy_overflow();
        return version() == before && from_.root().committed.load(std::memory_order_acquire) == 0;
    }
    /// The same where a commit may be under way that nobody goes on with: whether nothing has changed meanwhile.
    bool take_still(uint64_t until_us) {
        const uint64_t number = version(), committed = from_.root().committed.load(std::memory_order_acquire);
        take(until_us);
        return in_time_ && version() == number && from_.root().committed.load(std::memory_order_acquire) == committed;
    }
    bool in_time() const { return in_time_; }
    StoreMemory memory() const {
        return {base_, from_.bytes(), [](uint64_t, uint64_t) { return true; }, [](uint64_t, uint64_t) {}};
    }

  private:
    uint64_t version() const { return from_.load(from_.offset_of(&from_.root().number)); }
    void copy(uint64_t offset, uint64_t length) { std::memcpy(base_ + offset, from_.at(offset), length); }
    /// The rest of a long list lies behind the frontier, or in free pages, which are copied anyway.
    void copy_overflow() {
        const auto& list = *memory().as<st::JournalHeader>(st::kJournalAt);
        if (memory().root().committed.load(std::memory_order_relaxed) == 0 || list.overflow == 0 || list.overflow == st::kOverflowInTable) return;
        const uint64_t entries = list.buckets + list.words - st::kJournalEntries;
        const uint64_t pages = entries / st::kOverflowEntries + 1 + entries / st::kOverflowEntries / (st::kRegionPages - 1) + 1;
        for (uint64_t page = list.overflow; page < list.overflow + pages && page < from_.pages(); ++page)
            if (page % st::kRegionPages != 0) copy(page << st::kPageShift, st::kPageBytes);
    }

    const StoreMemory& from_;
    std::byte* base_;
    bool in_time_ = true;
};

/// Stops a process as long as this object lives.
class Stopped {
  public:
    explicit Stopped(pid_t pid) : pid_(pid > 1 && kill(pid, SIGSTOP) == 0 ? pid : 0) {
        if (pid_ != 0) usleep(kBetweenTriesUs);  // a process on another processor stops at its next interrupt
    }
    ~Stopped() {
        if (pid_ != 0) kill(pid_, SIGCONT);
    }
    Stopped(const Stopped&) = delete;

  private:
    pid_t pid_;
};

int examine(const std::string& path, pid_t md, uint64_t hold_ms) {
    const Segment segment = Segment::attach({path, st::kStoreLayout}, Access::read_only);
    const StoreMemory store(segment.payload<std::byte>() - kSegmentPayload, segment.size(), nullptr, nullptr);
    Copy copy(store);
    bool quiet = false;
    const uint64_t began_us = monotonic_us();
    do {
        quiet = copy.take(kNever);
        if (!quiet) usleep(kBetweenTriesUs);
    } while (!quiet && monotonic_us() - began_us < kQuietUs);
    if (!quiet) {
        const Stopped stopped(md);
        const bool still = copy.take_still(monotonic_us() + hold_ms * 1000);
        if (!copy.in_time()) {
            fmt::print(stderr, "the store is written to, and too large to be copied while md is held still for {} ms, which is half of "
                               "md-hang-timeout: check it when nobody writes, or with a longer md-hang-timeout\n", hold_ms);
            return kTooLarge;
        }
        // Stopped in the middle of a commit it is as still as between two, but for what is to be applied; and so is a dead one.
        if (!still) {
            fmt::print(stderr, "the store changes while it is looked at: another md has taken over just now; try again\n");
            return kNotLookedAt;
        }
    }
    const StoreMemory memory = copy.memory();
    const auto& list = *memory.as<st::JournalHeader>(st::kJournalAt);
    const uint64_t committed = memory.root().committed.load(std::memory_order_relaxed);
    if (committed != 0 && committed != list.number) {
        fmt::print("commit {} was under way, and the list is that of commit {}\n", committed, list.number);
        return 1;
    }
    const bool finished = Committer(memory).recover();
    const StoreReport report = check_store(memory);
    for (const std::string& fault : report.faults) fmt::print("{}\n", fault);
    if (!report.good()) return 1;
    fmt::print("{} keys, {} pages in use, {} free, {} given back, {} entries of garbage, {} replies being read{}\n", report.keys,
               report.pages, report.free_pages, report.holes, report.garbage, report.records,
               finished ? "; a commit was under way" : "");
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2 || argc > 4) {
        fmt::print(stderr, "usage: store-check STORE-FILE [PID-OF-MD [HOLD-MILLISECONDS]]\n");
        return 2;
    }
    try {
        return examine(argv[1], argc > 2 ? static_cast<pid_t>(std::atoi(argv[2])) : 0,
                       argc > 3 ? static_cast<uint64_t>(std::atoll(argv[3])) : kHoldMsDefault);
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 2;
    }
}
