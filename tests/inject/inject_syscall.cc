// Executes one system call inside of a running process, as somebody could who has taken it over, and tells what came of it. A test tool:
//     inject_syscall PID CALL ARGUMENT...
// CALL is a name or a number; an argument is a number (0x... too), "=NUMBER:TEXT" for TEXT written to that address before, or a text, which is put on
// the process's stack and whose address is handed over; "@HEX" is the same for bytes in hexadecimal. Prints "result N" (negative: minus errno),
// "killed SIGNAL" or "exited N"; then the process goes on as if nothing had been, if it still is there. Exit status 0, or 1 when it cannot be done.
//
// How: the process is stopped with ptrace; two instructions (syscall, trap) take the place of its entry point, which has been passed long ago; it
// runs them with the registers of the call, and gets its own registers back. A SIGSYS on the way is handed on: it is how a filter refuses.
#include <seccomp.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fstream>
#include <string>
#include <vector>

namespace {

#ifndef __x86_64__
#error "registers and instructions of a system call are written down for x86-64 only"
#endif

/// syscall; int3
constexpr uint64_t kCode = 0xcc050f;
constexpr uint64_t kCodeMask = 0xffffff;
/// Below what a function may use beneath its stack pointer (the red zone), bytes.
constexpr uint64_t kBelowStack = 16 * 1024;

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "inject_syscall: %s: %s\n", what.c_str(), std::strerror(errno));
    std::exit(1);
}

uint64_t entry_point(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/auxv", std::ios::binary);
    for (uint64_t pair[2]; file.read(reinterpret_cast<char*>(pair), sizeof pair);)
        if (pair[0] == AT_ENTRY) return pair[1];
    fail("no entry point");
}

void write_bytes(pid_t pid, uint64_t at, const std::string& bytes) {
    for (size_t done = 0; done < bytes.size(); done += sizeof(long)) {
        long word = ptrace(PTRACE_PEEKDATA, pid, at + done, nullptr);
        std::memcpy(&word, bytes.data() + done, std::min(sizeof word, bytes.size() - done));
        if (ptrace(PTRACE_POKEDATA, pid, at + done, word) != 0) fail("cannot write into the process");
    }
}

std::string from_hexadecimal(const std::string& digits) {
    std::string bytes;
    for (size_t i = 0; i + 1 < digits.size(); i += 2) bytes += static_cast<char>(std::stoul(digits.substr(i, 2), nullptr, 16));
    return bytes;
}

/// The value of an argument; texts go to `room` in the process, which moves on behind them.
uint64_t value_of(pid_t pid, const std::string& argument, uint64_t& room) {
    char* end = nullptr;
    const uint64_t number = std::strtoull(argument.c_str(), &end, 0);
    if (!argument.empty() && *end == 0) return number;
    if (argument[0] == '=') {
        const size_t colon = argument.find(':');
        const uint64_t at = std::stoull(argument.substr(1, colon - 1), nullptr, 0);
        write_bytes(pid, at, argument.substr(colon + 1) + '\0');
        return at;
    }
    const std::string bytes = argument[0] == '@' ? from_hexadecimal(argument.substr(1)) : argument + '\0';
    const uint64_t at = room;
    write_bytes(pid, at, bytes);
    room += (bytes.size() + 15) / 16 * 16;
    return at;
}

/// Waits for the next stop; prints and ends when the process has ended.
int next_stop(pid_t pid) {
    int status = 0;
    if (waitpid(pid, &status, __WALL) != pid) fail("the process cannot be waited for");
    if (WIFSIGNALED(status)) {
        std::printf("killed %s\n", sigabbrev_np(WTERMSIG(status)));
        std::exit(0);
    }
    if (WIFEXITED(status)) {
        std::printf("exited %d\n", WEXITSTATUS(status));
        std::exit(0);
    }
    return WSTOPSIG(status);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: inject_syscall PID CALL ARGUMENT...\n");
        return 2;
    }
    const auto pid = static_cast<pid_t>(std::atoi(argv[1]));
    const int named = seccomp_syscall_resolve_name(argv[2]);
    const long call = named == __NR_SCMP_ERROR ? std::atol(argv[2]) : named;
    const uint64_t entry = entry_point(pid);
    if (ptrace(PTRACE_ATTACH, pid, nullptr, nullptr) != 0) fail("cannot attach");
    while (next_stop(pid) != SIGSTOP) ptrace(PTRACE_CONT, pid, nullptr, nullptr);

    user_regs_struct before;
    ptrace(PTRACE_GETREGS, pid, nullptr, &before);
    uint64_t room = (before.rsp - kBelowStack) & ~uint64_t{15};
    uint64_t arguments[6] = {};
    for (int i = 3; i < argc && i < 9; ++i) arguments[i - 3] = value_of(pid, argv[i], room);

    const auto code = static_cast<uint64_t>(ptrace(PTRACE_PEEKTEXT, pid, entry, nullptr));
    if (ptrace(PTRACE_POKETEXT, pid, entry, (code & ~kCodeMask) | kCode) != 0) fail("cannot write instructions");
    user_regs_struct during = before;
    during.orig_rax = ~0ull;  // no system call that the stop has interrupted goes on here
    during.rax = static_cast<uint64_t>(call);
    during.rip = entry;
    during.rdi = arguments[0], during.rsi = arguments[1], during.rdx = arguments[2];
    during.r10 = arguments[3], during.r8 = arguments[4], during.r9 = arguments[5];
    during.rsp = (before.rsp - 2 * kBelowStack) & ~uint64_t{15};
    ptrace(PTRACE_SETREGS, pid, nullptr, &during);
    ptrace(PTRACE_CONT, pid, nullptr, nullptr);
    std::vector<int> held_back;
    for (int signal; (signal = next_stop(pid)) != SIGTRAP;) {
        const bool own = signal == SIGSYS || signal == SIGABRT || signal == SIGSEGV;
        if (!own) held_back.push_back(signal);
        ptrace(PTRACE_CONT, pid, nullptr, own ? signal : 0);
    }
    user_regs_struct after;
    ptrace(PTRACE_GETREGS, pid, nullptr, &after);
    ptrace(PTRACE_POKETEXT, pid, entry, code);
    ptrace(PTRACE_SETREGS, pid, nullptr, &before);
    ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
    for (const int signal : held_back) kill(pid, signal);
    std::printf("result %lld\n", static_cast<long long>(after.rax));
    return 0;
}
