// See call_filter.h. Runs in every daemon.
#include "common/call_filter.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "common/check.h"
#include "common/log.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MR_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MR_SANITIZED 1
#endif
#endif

namespace millrace {

namespace {

#ifdef MR_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

/// Highest number of a system call that is looked at by name, + 1.
constexpr unsigned kCalls = 512;

/// si_code of a SIGSYS that is a refused call (SYS_SECCOMP in the kernel's siginfo.h, which the C library's does not have).
constexpr int kRefusedByFilter = 1;

/// For the handler, which may not allocate.
std::array<const char*, kCalls> names{};
std::array<bool, kCalls> ends{}, said{};

void name_all_calls() {
    for (unsigned call = 0; call < kCalls; ++call)
        if (names[call] == nullptr) names[call] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, static_cast<int>(call));
}

/// The result of the call that has been refused, as the program will see it.
void answer(void* context, long result) {
#if defined(__x86_64__)
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = result;
#elif defined(__aarch64__)
    static_cast<ucontext_t*>(context)->uc_mcontext.regs[0] = static_cast<unsigned long long>(result);
#else
#error "say where this processor has the result of a system call"
#endif
}

/// F1 and F2.
void on_refused_call(int, siginfo_t* info, void* context) {
    if (info->si_code != kRefusedByFilter) return;
    const int saved = errno;
    const auto call = static_cast<unsigned>(info->si_syscall);
    const bool known = call < kCalls;
    if (!known || !said[call] || ends[call]) {
        if (known) said[call] = true;
        char line[160];
        const char* const name = known && names[call] != nullptr ? names[call] : "unknown";
        const auto end = fmt::format_to_n(line, sizeof line, "[{}] the filter on system calls has refused {} ({}){}\n", getpid(), name, call,
                                          known && ends[call] ? ", which only an intruder asks for: this process ends" : "; said once");
        [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line, std::min(end.size, sizeof line));
    }
    if (known && ends[call]) std::abort();
    answer(context, -EPERM);
    errno = saved;
}

void check(int result, const char* what) {
    if (result < 0) throw Error(fmt::format("{}: {}", what, errno_text(-result)));
}

}  // namespace

CallFilter::CallFilter(Forbidden forbidden) : context_(seccomp_init(SCMP_ACT_TRAP)), forbidden_(forbidden) {
    if (context_ == nullptr) throw Error("libseccomp makes no filter");
    // Nothing foreign runs in a daemon, so the kernel need not slow it down against speculation; a kernel that does not know this does not.
    seccomp_attr_set(context_, SCMP_FLTATR_CTL_SSB, 1);
    seccomp_attr_set(context_, SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a search tree
    seccomp_attr_set(context_, SCMP_FLTATR_CTL_TSYNC, 1);     // for all threads
}

CallFilter::~CallFilter() { seccomp_release(context_); }

void CallFilter::add(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> conditions) {
    // A negative number is a call that this processor has not.
    if (call >= 0) check(seccomp_rule_add_array(context_, action, call, static_cast<unsigned>(conditions.size()), conditions.begin()), "a rule is not accepted");
}

void CallFilter::allow(std::initializer_list<int> calls) {
    for (const int call : calls) add(SCMP_ACT_ALLOW, call, {});
}

void CallFilter::allow_if(int call, std::initializer_list<scmp_arg_cmp> conditions) { add(SCMP_ACT_ALLOW, call, conditions); }

void CallFilter::forbid(std::initializer_list<int> calls) {
    if (forbidden_ == Forbidden::ends_by_abort) return forbid_otherwise(calls);
    for (const int call : calls) add(SCMP_ACT_KILL_PROCESS, call, {});
}

void CallFilter::forbid_foreign_business() {
    forbid({SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(tkill), SCMP_SYS(rt_sigqueueinfo), SCMP_SYS(rt_tgsigqueueinfo), SCMP_SYS(pidfd_getfd),
            SCMP_SYS(pidfd_send_signal), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(memfd_create), SCMP_SYS(userfaultfd),
            SCMP_SYS(bpf), SCMP_SYS(io_uring_setup), SCMP_SYS(perf_event_open), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(mount), SCMP_SYS(chroot), SCMP_SYS(pivot_root)});
}

void CallFilter::forbid_otherwise(std::initializer_list<int> calls) {
    for (const int call : calls)
        if (call >= 0 && static_cast<unsigned>(call) < kCalls) ends[static_cast<unsigned>(call)] = true;
}

void CallFilter::load() {
    name_all_calls();
    tzset();  // reads a file, and the log's clock needs it later
    struct sigaction action {};
    action.sa_sigaction = on_refused_call;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSYS, &action, nullptr);
    check(seccomp_load(context_), "the kernel takes no filter");
}

namespace {

void report_no_call_filter(const char* reason) {
    log::warning("NO FILTER on system calls ({}): whoever takes this process over can do what its user can", reason);
}

/// Whether the configuration and this build want a filter; the log says why, if not.
bool wants_call_filter(const Options& options) {
    if (kSanitized) {
        log::verbose("no filter on system calls: a sanitizer's run-time needs more of them");
        return false;
    }
    if (options.text(OptionId::seccomp) == "yes") return true;
    report_no_call_filter("'seccomp = no'");
    return false;
}

}  // namespace

void load_if_wanted(const Options& options, const std::function<void()>& load) {
    if (!wants_call_filter(options)) return;
    try {
        load();
        log::verbose("the filter on system calls is on");
    } catch (const Error& error) {
        report_no_call_filter(error.what());
    }
}

}  // namespace millrace
