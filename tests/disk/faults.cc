// See faults.h. Runs in the program under test.
//
// A filter on system calls may forbid kill and every kind of sleep, so both are made of read and write (J6): the process is the owner of a pipe
// whose signal of input is SIGKILL, and has a timer that can be read every millisecond.
#include "tests/disk/faults.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "tests/disk/journal.h"
#include "tests/disk/real_calls.h"

namespace millrace::disk {

namespace {

struct Rule {
    Call call{};
    uint64_t first = 0, last = 0;
    Fault fault;
};

constexpr unsigned kRulesMax = 64;
/// constinit here and elsewhere: nothing may be initialised after the shim's constructor has run.
constinit Rule rules[kRulesMax]{};
unsigned rule_count = 0;
int deadly_fd = -1, timer_fd = -1;

constexpr struct {
    const char* name;
    int number;
} kErrors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EROFS", EROFS}, {"EDQUOT", EDQUOT},
               {"EACCES", EACCES}, {"EMFILE", EMFILE}, {"EINTR", EINTR}, {"EFBIG", EFBIG}};

/// A piece of a text that ends at any of `ends`; the text goes on behind it.
struct Word {
    const char* text;
    size_t length;

    bool is(const char* other) const { return std::strlen(other) == length && std::memcmp(text, other, length) == 0; }
};

Word next_word(const char*& text, const char* ends) {
    const Word word{text, std::strcspn(text, ends)};
    text += word.length;
    return word;
}

bool take_call(const char*& text, const char* ends, Call& call) {
    const Word word = next_word(text, ends);
    for (unsigned i = 0; i < kCalls; ++i) {
        if (!word.is(kCallNames[i])) continue;
        call = static_cast<Call>(i);
        return true;
    }
    return false;
}

bool take_number(const char*& text, uint64_t& number) {
    char* end = nullptr;
    number = std::strtoull(text, &end, 10);
    const bool some = end != text;
    text = end;
    return some;
}

bool take_fault(const char*& text, Fault& fault) {
    const Word word = next_word(text, ":, ");
    if (word.is("short")) return fault = {What::cut_short, 0}, true;
    if (word.is("kill-before")) return fault = {What::kill_before, 0}, true;
    if (word.is("kill-inside")) return fault = {What::kill_inside, 0}, true;
    if (word.is("kill-after")) return fault = {What::kill_after, 0}, true;
    for (const auto& error : kErrors)
        if (word.is(error.name)) return fault = {What::error, error.number}, true;
    uint64_t ms = 0;
    if (!word.is("slow") || *text++ != ':' || !take_number(text, ms)) return false;
    fault = {What::slow, static_cast<int>(ms)};
    return true;
}

/// CALL:N:WHAT[:COUNT]
bool take_rule(const char*& text, Rule& rule) {
    if (!take_call(text, ":", rule.call) || *text++ != ':') return false;
    if (!take_number(text, rule.first) || *text++ != ':' || !take_fault(text, rule.fault)) return false;
    uint64_t count = 1;
    if (*text == ':') {
        ++text;
        if (std::strncmp(text, "forever", 7) == 0) {
            text += 7;
            count = UINT64_MAX - rule.first;
        } else if (!take_number(text, count)) {
            return false;
        }
    }
    rule.last = rule.first + count - 1;
    return rule.first > 0 && count > 0;
}

void read_rules(const char* list) {
    for (const char* text = list; *text != 0;) {
        text += std::strspn(text, ", ");
        if (*text == 0) return;
        if (rule_count == kRulesMax || !take_rule(text, rules[rule_count++])) give_up("MILLRACE_SHIM_FAULT makes no sense");
    }
}

/// What the control file orders for this kind of call. A text that is being changed is none.
Fault standing_order(Call call) {
    char copy[kErrorBytes];
    std::memcpy(copy, control().error, sizeof copy);
    copy[sizeof copy - 1] = 0;
    for (const char* text = copy; *text != 0;) {
        Call each{};
        Fault fault;
        text += std::strspn(text, ", ");
        if (*text == 0 || !take_call(text, " ", each) || *text++ != ' ' || !take_fault(text, fault)) break;
        if (each == call) return fault;
    }
    return {};
}

int64_t now_ms() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * int64_t{1000} + time.tv_nsec / 1'000'000;
}

void wait_ms(int ms) {
    uint64_t ticks = 0;
    for (const int64_t end = now_ms() + ms; now_ms() < end;)
        if (read(timer_fd, &ticks, sizeof ticks) < 0 && errno != EINTR) give_up("the shim's timer");
}

[[noreturn]] void die() {
    if (!is_forked()) {
        for (int i = 0; i < 2; ++i) [[maybe_unused]] const ssize_t written = real().write(deadly_fd, "", 1);
    } else if (process_id() > 1) {
        kill(process_id(), SIGKILL);
    }
    give_up("SIGKILL to itself has done nothing");
}

void make_deadly_pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) give_up("no pipe");
    const int input = keep_descriptor(ends[0]);
    deadly_fd = keep_descriptor(ends[1]);
    const int flags = real().fcntl64(input, F_GETFL);
    if (real().fcntl64(input, F_SETOWN, getpid()) != 0 || real().fcntl64(input, F_SETSIG, SIGKILL) != 0 ||
        real().fcntl64(input, F_SETFL, flags | O_ASYNC) != 0)
        give_up("no pipe that kills");
}

void make_timer() {
    timer_fd = keep_descriptor(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    const itimerspec tick{{0, 1'000'000}, {0, 1'000'000}};
    if (timerfd_settime(timer_fd, 0, &tick, nullptr) != 0) give_up("no timer");
}

}  // namespace

void prepare_faults(const char* list) {
    if (list != nullptr) read_rules(list);
    make_deadly_pipe();
    make_timer();
}

Fault next_fault(Call call) {
    const Turn turn;
    const uint64_t number = ++control().calls[static_cast<unsigned>(call)];
    Fault chosen = standing_order(call);
    for (unsigned i = 0; i < rule_count && chosen.what == What::nothing; ++i)
        if (rules[i].call == call && rules[i].first <= number && number <= rules[i].last) chosen = rules[i].fault;
    if (chosen.what != What::nothing) ++control().faults;
    return chosen;
}

void before(const Fault& fault) {
    const int saved = errno;
    if (fault.what == What::slow) wait_ms(fault.value);
    if (fault.what == What::kill_before) die();
    errno = saved;
}

void inside(const Fault& fault) {
    if (fault.what == What::kill_inside) die();
}

void after(const Fault& fault) {
    if (fault.what == What::kill_after) die();
}

}  // namespace millrace::disk
