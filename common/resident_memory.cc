// See resident_memory.h. Runs in every daemon.
#include "common/resident_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

namespace millrace {

ResidentMemory::ResidentMemory() : statm_(open("/proc/self/statm", O_RDONLY | O_CLOEXEC)) {}

ResidentMemory::~ResidentMemory() {
    if (statm_ >= 0) close(statm_);
}

ResidentMemory::Bytes ResidentMemory::read() const {
    char text[128];
    const ssize_t length = statm_ < 0 ? 0 : pread(statm_, text, sizeof text - 1, 0);
    if (length <= 0) return {};
    text[length] = 0;
    // Pages: size, resident, shared.
    char* at = text;
    std::strtoull(at, &at, 10);
    const uint64_t all = std::strtoull(at, &at, 10), shared = std::strtoull(at, &at, 10);
    static const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    return {all * page, shared * page};
}

}  // namespace millrace
