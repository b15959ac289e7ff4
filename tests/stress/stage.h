// The stage on which the stress programs let processes meet: a folder that is gone as soon as everything in it is open,
// processors to pin to, seeded random numbers, spin delays, and the command line. Used by tests/stress only.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "common/check.h"
#include "common/wakeup.h"

namespace millrace::stress {

/// A temporary folder, in memory if there is such a file system. Removed with all it holds at the end of the scope; what
/// was opened or mapped from it stays usable, so programs close the scope before they fork.
class Folder {
  public:
    Folder() : path_(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path().string()) {
        path_ += "/millrace-stress-XXXXXX";
        if (mkdtemp(path_.data()) == nullptr) throw Error("cannot make " + path_ + ": " + errno_text(errno));
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;

    std::string file(const std::string& name) const { return path_ + "/" + name; }
    /// Makes the FIFO if it is not there, and opens it.
    Fifo fifo(const std::string& name) const {
        const std::string path = file(name);
        if (mkfifo(path.c_str(), 0600) != 0 && errno != EEXIST) throw Error("cannot make " + path + ": " + errno_text(errno));
        return Fifo(path);
    }

  private:
    std::string path_;
};

/// xorshift64*, Vigna 2016, public domain: fast enough to be called between two memory accesses under test.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull | 1) {}
    uint64_t next() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545f4914f6cdd1dull;
    }
    /// 0 .. limit - 1.
    uint64_t below(uint64_t limit) { return (next() >> 32) * limit >> 32; }

  private:
    uint64_t state_;
};

inline uint64_t fresh_seed() { return std::random_device{}() % 1'000'000'000; }

/// Tells the processor that this is a spin loop.
inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// Does nothing for a time of about `steps` short instructions.
inline void spin(uint64_t steps) {
    for (uint64_t i = 0; i < steps; ++i) asm volatile("");
}

/// The processors that this program was given, whatever it has pinned itself to since.
inline const std::vector<int>& processors() {
    static const std::vector<int> numbers = [] {
        cpu_set_t allowed;
        CPU_ZERO(&allowed);
        sched_getaffinity(0, sizeof allowed, &allowed);
        std::vector<int> found;
        for (int i = 0; i < CPU_SETSIZE; ++i)
            if (CPU_ISSET(i, &allowed)) found.push_back(i);
        return found;
    }();
    return numbers;
}

/// Pins the calling process to one of them; if there are fewer, they are shared.
inline void pin_to(unsigned which) {
    const std::vector<int>& numbers = processors();
    if (numbers.empty()) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(numbers[which % numbers.size()], &one);
    sched_setaffinity(0, sizeof one, &one);
}

/// Forks; the child runs `body` and ends, and it never outlives its parent.
template <class Body>
pid_t fork_child(Body body) {
    std::fflush(stdout);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0) throw Error("cannot fork: " + errno_text(errno));
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(3);
    body();
    std::fflush(nullptr);
    _exit(0);
}

/// Ends a child that was forked by this process.
inline void end_child(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
}

/// The value behind `--name` on the command line, or the default.
inline std::string option(int argc, char** argv, const std::string& name, const std::string& otherwise) {
    for (int i = 1; i + 1 < argc; ++i)
        if (argv[i] == name) return argv[i + 1];
    return otherwise;
}
inline uint64_t number_option(int argc, char** argv, const std::string& name, uint64_t otherwise) {
    return std::strtoull(option(argc, argv, name, std::to_string(otherwise)).c_str(), nullptr, 10);
}

}  // namespace millrace::stress
