// See client_rows.h. Runs in io_conn; md reads.
#include "common/client_rows.h"

#include <cstring>

namespace millrace {

namespace {

/// Rows are backed by memory in steps of so many bytes.
constexpr uint64_t kGrowthBytes = 64 * 1024;
constexpr int kReadTries = 8;

}  // namespace

ClientRows::ClientRows(const std::string& path, uint64_t instance, uint64_t generation, uint64_t rows) {
    segment_ = Segment::create({path, kClientsLayout, instance, generation,
                                round_up(kSegmentPayload + kClientRowsAt + rows * sizeof(ClientRow), kGrowthBytes), kGrowthBytes});
    segment_.publish();
}

bool ClientRows::grow_to(uint32_t slot) {
    const uint64_t needed = kSegmentPayload + kClientRowsAt + (slot + uint64_t{1}) * sizeof(ClientRow);
    return needed <= segment_.grown() || segment_.grow(round_up(needed, kGrowthBytes));
}

void ClientRows::write(uint32_t slot, const ClientInfo& info) {
    uint64_t words[ClientRow::kWords];
    std::memcpy(words, &info, sizeof info);
    ClientRow& target = row(slot);
    const uint64_t version = target.version.load(std::memory_order_relaxed);
    target.version.store(version + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (size_t i = 0; i < ClientRow::kWords; ++i) target.words[i].store(words[i], std::memory_order_relaxed);
    target.version.store(version + 2, std::memory_order_release);
}

std::optional<ClientInfo> read_row(const ClientRow& row) {
    for (int attempt = 0; attempt < kReadTries; ++attempt) {
        const uint64_t before = row.version.load(std::memory_order_acquire);
        if (before % 2 != 0) continue;
        uint64_t words[ClientRow::kWords];
        for (size_t i = 0; i < ClientRow::kWords; ++i) words[i] = row.words[i].load(std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_acquire);
        if (row.version.load(std::memory_order_relaxed) != before) continue;
        ClientInfo info;
        std::memcpy(&info, words, sizeof info);
        if (info.id == 0) return std::nullopt;
        info.name[ClientInfo::kNameBytes - 1] = info.address[ClientInfo::kAddressBytes - 1] =
            info.local_address[ClientInfo::kAddressBytes - 1] = info.library[ClientInfo::kLibraryBytes - 1] =
                info.library_version[ClientInfo::kLibraryBytes - 1] = 0;
        return info;
    }
    return std::nullopt;
}

}  // namespace millrace
