// See client_rows.h. Runs in io_conn; md reads.
#include "common/client_rows.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include "common/versioned_words.h"

namespace millrace {

namespace {

/// Rows are backed by memory in steps of so many bytes.
constexpr uint64_t kGrowthBytes = 64 * 1024;

}  // namespace

std::string ClientAddress::host_text() const {
    if (family == 0) return {};
    char name[INET6_ADDRSTRLEN] = "?";
    inet_ntop(family == 4 ? AF_INET : AF_INET6, host, name, sizeof name);
    return name;
}

std::string ClientAddress::text() const {
    if (family == 0) return {};
    const std::string name = host_text();
    return family == 4 ? fmt::format("{}:{}", name, port) : fmt::format("[{}]:{}", name, port);
}

ClientRows::ClientRows(const std::string& path, uint64_t instance, uint64_t generation, uint64_t rows) {
    segment_ = Segment::create({path, kClientsLayout, instance, generation,
                                round_up(kSegmentPayload + kClientRowsAt + rows * sizeof(ClientRow), kGrowthBytes), kGrowthBytes});
    segment_.publish();
    segment_.prepare_to_grow();
}

bool ClientRows::grow_to(uint32_t slot) {
    const uint64_t needed = kSegmentPayload + kClientRowsAt + (slot + uint64_t{1}) * sizeof(ClientRow);
    return needed <= segment_.grown() || segment_.grow(round_up(needed, kGrowthBytes));
}

void ClientRows::write(uint32_t slot, const ClientInfo& info) {
    ClientRow& target = row(slot);
    write_versioned(target.version, target.words, &info);
}

std::optional<ClientInfo> read_row(const ClientRow& row) {
    ClientInfo info;
    if (!read_versioned(row.version, row.words, &info) || info.id == 0) return std::nullopt;
    info.name[ClientInfo::kNameBytes - 1] = info.library[ClientInfo::kLibraryBytes - 1] = info.library_version[ClientInfo::kLibraryBytes - 1] = 0;
    return info;
}

}  // namespace millrace
