// What unit tests share: doctest, sentences of errors, seeded randomness, calls that may end a process.
// Include it behind all headers of the project: the project's CHECK has served there, from here on CHECK is doctest's.
#pragma once

#include "common/check.h"
#undef CHECK
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fcntl.h>
#include <random>
#include <string>

namespace millrace::unit {

/// The sentence of the Error that `action` throws; empty if it throws none.
template <class Action>
std::string error_of(Action&& action) {
    try {
        action();
    } catch (const Error& error) {
        return error.what();
    }
    return {};
}

/// Whether `action` comes to its end: it runs in a child process, so an abort or a fault is only reported.
template <class Action>
bool survives(Action&& action) {
    const pid_t child = fork();
    if (child == 0) {
        for (const int signal : {SIGABRT, SIGSEGV, SIGBUS}) ::signal(signal, SIG_DFL);
        const int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDERR_FILENO);
        dup2(nowhere, STDOUT_FILENO);
        action();
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status == 0;
}

/// A generator with a seed from the environment variable SEED or by chance; tests show it with INFO(random.seed).
struct Random {
    unsigned seed = std::getenv("SEED") != nullptr ? static_cast<unsigned>(std::strtoul(std::getenv("SEED"), nullptr, 10))
                                                   : std::random_device()();
    std::mt19937 engine{seed};

    /// A number in 0 .. limit - 1.
    uint64_t below(uint64_t limit) { return std::uniform_int_distribution<uint64_t>(0, limit - 1)(engine); }
    std::string bytes(size_t length) {
        std::string result(length, 0);
        for (char& c : result) c = static_cast<char>(below(256));
        return result;
    }
};

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace millrace::unit
