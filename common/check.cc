// See check.h. Runs in every process.
#include "common/check.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace millrace {

void panic(const char* file, int line, const char* expression) noexcept {
    std::fprintf(stderr, "panic: %s:%d: %s\n", file, line, expression);
    std::abort();
}

std::string errno_text(int error_number) {
    char buffer[128];
    return strerror_r(error_number, buffer, sizeof buffer);
}

}  // namespace millrace
