// CRC32C, the checksum of everything on disk. Used by whoever reads or writes files of the data folder.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace::disk {

/// CRC32C (Castagnoli; iSCSI, RFC 3720) of `bytes`, going on from that of the bytes before; "123456789" has 0xe3069283.
uint32_t crc32c(std::string_view bytes, uint32_t before = 0);

/// The same of a structure without its first `skipped` bytes.
template <class Structure>
uint32_t crc32c_of(const Structure& structure, size_t skipped, uint32_t before) {
    return crc32c({reinterpret_cast<const char*>(&structure) + skipped, sizeof structure - skipped}, before);
}

}  // namespace millrace::disk
