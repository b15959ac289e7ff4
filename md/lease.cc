// See lease.h. Runs in md.
#include "md/lease.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <string>
#include <utility>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/paths.h"

namespace millrace::md {

namespace {

/// Whether a process is on its way out: the kernel's flag for that in proc(5).
bool is_exiting(uint32_t pid) {
    constexpr unsigned kExitingFlag = 0x4;
    std::FILE* const file = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "re");
    if (file == nullptr) return false;
    unsigned flags = 0;
    const int found = std::fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %u", &flags);
    std::fclose(file);
    return found == 1 && (flags & kExitingFlag) != 0;
}

}  // namespace

Lease::Lease(Daemon& daemon) : daemon_(daemon), live_(daemon.options()) {
    const DaemonArguments& arguments = daemon.arguments();
    const std::string path = paths::control(daemon.dir());
    SegmentSpec spec{path, kControlLayout, arguments.instance, arguments.generation, kSegmentPayload + sizeof(Control)};
    if (access(path.c_str(), F_OK) == 0) {
        control_segment_ = Segment::attach(spec, Access::read_write);
    } else {
        control_segment_ = Segment::create(spec);
        make_robust_mutex(control_segment_.payload<Control>()->lease);
        control_segment_.publish();
    }
    control_ = control_segment_.payload<Control>();
}

Lease::~Lease() {
    if (held_) pthread_mutex_unlock(&control_->lease);
}

/// Whether an attempt at the lease gave it to us, perhaps from a holder that has died.
bool Lease::is_taken(int result) {
    if (result == EBUSY || result == ETIMEDOUT) return false;
    if (result == EOWNERDEAD) {
        pthread_mutex_consistent(&control_->lease);  // E2
        let_go_slowly(control_->md_pid.load(std::memory_order_relaxed));
    } else if (result != 0) {
        throw Error("the lease of md cannot be taken: " + errno_text(result));
    }
    return true;
}

/// The kernel takes a dead md's memory apart, milliseconds for each 100 MB, on one of the processors that its successor and all io_conn
/// need just then. What is left of it may take its time.
void Lease::let_go_slowly(uint32_t dead) {
    if (dead != 0 && is_exiting(dead)) setpriority(PRIO_PROCESS, dead, kDeadNice);
}

bool Lease::wait_once(uint64_t microseconds) {
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += static_cast<long>(microseconds) * 1000;
    until.tv_sec += until.tv_nsec / 1'000'000'000;
    until.tv_nsec %= 1'000'000'000;
    return is_taken(pthread_mutex_timedlock(&control_->lease, &until));
}

void Lease::hand_over() {
    const uint64_t epoch = control_->md_epoch.load(std::memory_order_relaxed);
    held_ = false;
    pthread_mutex_unlock(&control_->lease);
    const uint64_t until_us = monotonic_us() + kHandOverPatienceUs;
    while (control_->md_epoch.load(std::memory_order_relaxed) == epoch && monotonic_us() < until_us) usleep(100);
}

bool Lease::acquire() {
    held_ = is_taken(pthread_mutex_trylock(&control_->lease));
    for (bool populated = false; !held_ && !daemon_.stopping();) {
        held_ = wait_once(populated ? kPollUs : was_pushed_aside() ? kPopulateLongPauseUs : kPopulatePauseUs);
        if (held_) break;
        populated = populate();
        if (populated) {
            daemon_.report_standby();  // the first time only
            control_->standby_pid.store(static_cast<uint32_t>(getpid()), std::memory_order_relaxed);
        }
        daemon_.beat();
        daemon_.answer_roll_call();
        watch();
    }
    auto own = static_cast<uint32_t>(getpid());
    control_->standby_pid.compare_exchange_strong(own, 0, std::memory_order_relaxed);
    return held_;
}

/// Whether somebody else wanted this processor since the last call.
bool Lease::was_pushed_aside() {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return std::exchange(pushed_aside_, usage.ru_nivcsw) != usage.ru_nivcsw;
}

/// Maps the pages that the store has in use, for a little while. Memory that the system has not given is not touched: that
/// would take it. True when nothing is left to map, or there is no store.
bool Lease::populate() {
    if (store_ == nullptr) {
        if (access(paths::store(daemon_.dir()).c_str(), F_OK) != 0) return true;
        try {
            store_ = StoreSegment::watch(paths::store(daemon_.dir()), daemon_.arguments().instance);
        } catch (const Error& error) {
            log::warning("the standby cannot map the store: {}", error.what());
            return true;
        }
    }
    const StoreMemory memory = store_->memory();
    const uint64_t frontier = memory.load(memory.offset_of(&memory.root().frontier));
    const auto in_use = [&](uint64_t page) {
        const auto kind = st::PageState::from(memory.load(st::descriptor_at(page))).kind;
        return page % st::kRegionPages != 0 && kind != st::PageKind::hole && kind != st::PageKind::none;
    };
    for (const uint64_t until_us = monotonic_us() + kPopulateUs; populated_ < frontier && monotonic_us() < until_us;) {
        uint64_t end = populated_;
        while (end < frontier && end - populated_ < kPopulatePages && in_use(end)) ++end;
        if (end > populated_)
            madvise(memory.at(populated_ << st::kPageShift), (end - populated_) << st::kPageShift, MADV_POPULATE_READ);
        populated_ = std::max(end, populated_ + 1);
    }
    return populated_ >= frontier;
}

bool Lease::any_request_waiting() {
    for (unsigned index = 0; index < kMaxIoConns; ++index) {
        const st::ChannelWords& words = store_->memory().root().channels[index];
        if (words.generation == 0) continue;
        try {
            const Channel channel = Channel::attach(paths::rings(daemon_.dir(), index), daemon_.arguments().instance, words.generation);
            if (channel.requests().control->tail.load() != channel.requests().control->head.load()) return true;
        } catch (const Error&) {
            continue;  // its io_conn has gone
        }
    }
    return false;
}

/// The watchdog.
void Lease::watch() {
    if (store_ == nullptr) return;
    const StoreMemory& memory = store_->memory();
    if (live_.look([&memory](uint64_t at) { return memory.load(at); }))
        log::set_level(option_text(option_row(OptionId::loglevel), live_.number(OptionId::loglevel)));
    const auto limit_s = static_cast<uint64_t>(live_.number(OptionId::md_hang_timeout));
    if (limit_s == 0) return;
    const uint64_t turns = control_->md_turns.load(std::memory_order_relaxed);
    const uint64_t epoch = control_->md_epoch.load(std::memory_order_relaxed);
    const uint64_t now_us = monotonic_us();
    if (turns != seen_turns_ || epoch != seen_epoch_ || stuck_since_us_ == 0) {
        seen_turns_ = turns;
        seen_epoch_ = epoch;
        stuck_since_us_ = now_us;
        return;
    }
    if (now_us - stuck_since_us_ < limit_s * 1'000'000) return;
    stuck_since_us_ = now_us;
    if (!any_request_waiting()) return;
    const auto pid = static_cast<pid_t>(control_->md_pid.load(std::memory_order_relaxed));
    log::warning("md {} has made no progress for {} s although requests wait: it is killed", pid, limit_s);
    control_->killed_by_watchdog.store(epoch, std::memory_order_relaxed);
    if (pid > 1) kill(pid, SIGKILL);
}

}  // namespace millrace::md
