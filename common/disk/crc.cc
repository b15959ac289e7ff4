// See crc.h. ISA-L takes the fastest way that the processor has.
#include "common/disk/crc.h"

#include <isa-l/crc.h>

namespace millrace::disk {

uint32_t crc32c(std::string_view bytes, uint32_t before) {
    constexpr size_t kBytesMax = 1u << 30;  // the library counts in an int
    uint32_t state = ~before;  // and leaves both inversions to its callers
    for (std::string_view part; !bytes.empty(); bytes.remove_prefix(part.size())) {
        part = bytes.substr(0, kBytesMax);
        state = crc32_iscsi(reinterpret_cast<unsigned char*>(const_cast<char*>(part.data())), static_cast<int>(part.size()), state);
    }
    return ~state;
}

}  // namespace millrace::disk
