// See poison.h. Runs in md.
#include "md/poison.h"

#include <signal.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>

namespace millrace::md {

namespace {

constexpr int kFatalSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

store::Root* marked_root = nullptr;

void on_fatal_signal(int signal, siginfo_t* info, void*) {
    const bool own = info->si_code > 0 || info->si_pid == getpid();
    if (own && marked_root != nullptr) __atomic_store_n(&marked_root->faulted, 1, __ATOMIC_RELAXED);
    // The handler is gone by now (SA_RESETHAND): a fault happens again on return, a signal sent is sent again.
    if (info->si_code <= 0) raise(signal);
}

}  // namespace

uint64_t Poison::name_of(unsigned channel, uint64_t generation, ConnectionId connection, std::span<const std::byte> request) {
    constexpr size_t kLookedAtBytes = 64 * 1024;
    const uint64_t asker = uint64_t{connection.slot} << 32 | connection.generation;
    const uint64_t text = XXH3_64bits_withSeed(request.data(), std::min(request.size(), kLookedAtBytes), request.size());
    return (name_of(channel, generation, asker) ^ text) | 1;
}

void Poison::take_over(bool killed_by_watchdog) {
    const uint64_t name = root_->executing;
    const bool own = root_->faulted != 0 || killed_by_watchdog;
    if (own && name != 0) {
        root_->attempts = root_->attempted == name ? root_->attempts + 1 : 1;
        root_->attempted = name;
    } else if (own) {
        ++root_->faults_between;
    }
    root_->faulted = 0;
    end();
}

void Poison::install_handlers() {
    marked_root = root_;
    static char stack[64 * 1024];  // a fault may be that the usual one has overflowed
    const stack_t alternative{stack, 0, sizeof stack};
    sigaltstack(&alternative, nullptr);
    struct sigaction action {};
    action.sa_sigaction = on_fatal_signal;
    action.sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (const int signal : kFatalSignals) sigaction(signal, &action, nullptr);
}

}  // namespace millrace::md
