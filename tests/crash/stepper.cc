// See stepper.h. Used by tests/crash.
#include "tests/crash/stepper.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "common/check.h"

namespace millrace::crash {

namespace {

// --- the child --------------------------------------------------------------------------------------------------------

constexpr greg_t kTrapFlag = 0x100;
constexpr uint64_t kWindow = 256;      ///< bytes around a fault that one instruction may change
constexpr unsigned kBytesAlone = 256;  ///< of a `rep movs`, taken one by one
constexpr uint64_t kPiece = 64;        ///< and so many at once after those
static_assert(64 + kPiece <= kWindow / 2);

/// Bytes of the arena, as offsets.
struct Range {
    uint64_t from, to;
};

/// Everything that the handlers of signals need; there is one child a process.
struct Child {
    std::byte* base = nullptr;
    uint64_t bytes = 0;
    int changes = -1, answers = -1;
    bool stepping = false;
    bool within_store = false;
    Range window{};
    std::byte before[kWindow];
    unsigned repeated = 0;  ///< faults of the same instruction, one after the other
    Change change;
} child;

void protect(uint64_t from, uint64_t to, int rights) {
    from &= ~uint64_t{kPageSize - 1};
    if (mprotect(child.base + from, round_up(to, kPageSize) - from, rights) != 0) _exit(4);
}

/// Shows the image to the parent and waits until it has looked.
void show() {
    char answer;
    if (write(child.changes, &child.change, sizeof child.change) != sizeof child.change || read(child.answers, &answer, 1) != 1) _exit(5);
}

bool copies_bytes(const uint8_t* instruction) { return instruction[0] == 0xf3 && instruction[1] == 0xa4; }

/// A piece of a `rep movsb`, taken as the processor would.
void copy_piece(greg_t* registers) {
    const uint64_t count = std::min(kPiece, static_cast<uint64_t>(registers[REG_RCX]) - 1);
    std::memcpy(reinterpret_cast<void*>(registers[REG_RDI]), reinterpret_cast<const void*>(registers[REG_RSI]), count);
    for (const int each : {REG_RDI, REG_RSI}) registers[each] += static_cast<greg_t>(count);
    registers[REG_RCX] -= static_cast<greg_t>(count);
}

void on_fault(int number, siginfo_t* about, void* context) {
    const uint64_t at = static_cast<uint64_t>(static_cast<std::byte*>(about->si_addr) - child.base);
    if (!child.stepping || at >= child.bytes) {
        signal(number, SIG_DFL);  // a fault of its own; it happens again
        return;
    }
    greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const auto rip = static_cast<uint64_t>(registers[REG_RIP]);
    child.repeated = rip == child.change.rip ? child.repeated + 1 : 0;
    child.change.rip = rip;
    const uint64_t middle = at & ~uint64_t{63};
    child.window = {middle < kWindow / 2 ? 0 : middle - kWindow / 2, std::min(middle + kWindow / 2, child.bytes)};
    if (!child.within_store) std::memcpy(child.before, child.base + child.window.from, child.window.to - child.window.from);
    child.within_store = true;
    protect(child.window.from, child.window.to, PROT_READ | PROT_WRITE);
    if (child.repeated > kBytesAlone && copies_bytes(reinterpret_cast<const uint8_t*>(rip)) && registers[REG_RCX] > 1)
        copy_piece(registers);
    registers[REG_EFL] |= kTrapFlag;
}

void on_trap(int, siginfo_t*, void* context) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kTrapFlag;
    child.within_store = false;
    protect(child.window.from, child.window.to, PROT_READ);
    ++child.change.store;
    const std::byte* now = child.base + child.window.from;
    const uint64_t length = child.window.to - child.window.from;
    uint64_t first = 0;
    while (first < length && now[first] == child.before[first]) ++first;
    if (first == length) return;
    child.change.offset = (child.window.from + first) & ~uint64_t{7};
    show();
}

void catch_signal(int number, void (*handler)(int, siginfo_t*, void*)) {
    struct sigaction action = {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(number, &action, nullptr) == 0);
}

[[noreturn]] void be_stepped(const Arena& arena, int changes, int answers, const std::function<void()>& work) {
    for (const int number : {SIGBUS, SIGABRT, SIGALRM}) signal(number, SIG_DFL);
    catch_signal(SIGSEGV, on_fault);
    catch_signal(SIGTRAP, on_trap);
    child = {};
    child.base = arena.shared();
    child.bytes = arena.bytes();
    child.changes = changes;
    child.answers = answers;
    work();
    _exit(0);
}

/// Both processes on one processor: waking another costs more than a look at most images.
void share_one_processor() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
}

std::string end_of(int status) {
    if (WIFEXITED(status)) return WEXITSTATUS(status) == 0 ? "" : fmt::format("the child ended with {}", WEXITSTATUS(status));
    return fmt::format("the child got signal {}", WTERMSIG(status));
}

}  // namespace

void toggle_stepping() {
    if (child.base == nullptr) return;
    child.stepping = !child.stepping;
    protect(0, child.bytes, child.stepping ? PROT_READ : PROT_READ | PROT_WRITE);
    if (child.stepping) show_image(0);
}

void tell_operation(unsigned number) { child.change.operation = number; }

void show_image(uint64_t offset) {
    if (!child.stepping) return;
    child.change.offset = offset;
    child.change.rip = 0;
    show();
}

// --- the parent -------------------------------------------------------------------------------------------------------

Stepper::Stepper(const Arena& arena) : arena_(arena), shadow_(arena.shared(), arena.shared() + arena.bytes()) {
    share_one_processor();
}

std::string Stepper::run(const std::function<void()>& work, const OnChange& on_change) {
    int changes[2], answers[2];
    CHECK(pipe(changes) == 0 && pipe(answers) == 0);
    std::fflush(stdout);
    const pid_t id = fork();
    CHECK(id >= 0);
    if (id == 0) {
        close(changes[0]);
        close(answers[1]);
        be_stepped(arena_, changes[1], answers[0], work);
    }
    close(changes[1]);
    close(answers[0]);
    std::string trouble = follow(changes[0], answers[1], on_change);
    close(changes[0]);
    close(answers[1]);  // a child that waits for an answer ends now
    int status;
    CHECK(waitpid(id, &status, 0) == id);
    return trouble.empty() ? end_of(status) : trouble;
}

std::string Stepper::follow(int changes, int answers, const OnChange& on_change) {
    constexpr uint64_t kFullEvery = 512;  // images between two comparisons of the whole arena
    Change change;
    for (uint64_t images = 0; read(changes, &change, sizeof change) == sizeof change; ++images) {
        stores_ = change.store;
        std::byte* before = shadow_.data() + change.offset;
        const std::byte* now = arena_.shared() + change.offset;
        const bool all = change.rip == 0;
        const uint64_t length = all ? arena_.bytes() - change.offset : std::min(2 * kWindow, arena_.bytes() - change.offset);
        std::memcpy(before, now, length);
        if (images % kFullEvery == 0 && std::memcmp(shadow_.data(), arena_.shared(), arena_.bytes()) != 0)
            return "the arena changed unseen before " + place_in_code(change.rip);
        if (!on_change(change)) return "";
        if (write(answers, "", 1) != 1) break;
    }
    return "";
}

std::string place_in_code(uint64_t rip) {
    if (rip == 0) return "code that was not stepped";
    Dl_info about;
    if (dladdr(reinterpret_cast<void*>(rip), &about) == 0) return fmt::format("{:#x}", rip);
    const uint64_t offset = rip - reinterpret_cast<uint64_t>(about.dli_fbase);
    const std::string_view file = about.dli_fname;
    std::string text = fmt::format("{}+{:#x}", file.substr(file.rfind('/') + 1), offset);
    if (about.dli_sname != nullptr) text += fmt::format(" ({})", about.dli_sname);
    FILE* tool = popen(fmt::format("addr2line -Cfpse '{}' {:#x} 2>&1", file, offset).c_str(), "r");
    if (tool == nullptr) return text;
    char line[512];
    if (std::fgets(line, sizeof line, tool) != nullptr && std::strncmp(line, "??", 2) != 0) text = std::string(line, strcspn(line, "\n"));
    pclose(tool);
    return text;
}

}  // namespace millrace::crash
