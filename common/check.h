// Asserts that stay on in release builds, and the one exception type of start-up code.
//
// CHECK is for our own invariants ("panic: our bug"): it prints where and aborts. Whatever comes from outside - a
// socket, a ring, a file, a segment - is input and gets an error, never a CHECK. Error carries one sentence for a
// person; it is thrown by start-up and tools only, never on the way of a request.
#pragma once

#include <stdexcept>
#include <string>

namespace millrace {

/// A failure that a person has to mend: what() is one sentence (what happened, where, what to do).
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// Prints "panic: FILE:LINE: EXPRESSION" to standard error and aborts.
[[noreturn]] void panic(const char* file, int line, const char* expression) noexcept;

/// "No space left on device" for the errno value given.
std::string errno_text(int error_number);

}  // namespace millrace

#define CHECK(expression) \
    (__builtin_expect(static_cast<bool>(expression), 1) ? void(0) : ::millrace::panic(__FILE__, __LINE__, #expression))
