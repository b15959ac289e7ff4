// The segment clients-<i>: one row for each connection slot of io_conn i, so that any io_conn can answer CLIENT LIST for
// all of them. Written by io_conn i, read by the others without asking.
//
// A row is kWords words behind a version (seqlock, after Boehm 2012): the writer makes the version odd, stores the words,
// makes it even; a reader takes the words with relaxed loads and keeps them only if the version was even and the same
// before and after. `activity` and `backlog` change often and are single words outside of the version.
// The segment grows with the number of slots in use (segment.h, S1).
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "common/roster.h"
#include "common/segment.h"

namespace millrace::io_conn {

/// What CLIENT LIST tells of a connection, but for what changes all the time.
struct ClientInfo {
    static constexpr size_t kNameBytes = 64;
    static constexpr size_t kAddressBytes = 56;

    uint64_t id = 0;  ///< 0: the slot is free
    uint64_t connected_at_s = 0;
    int32_t fd = -1;
    uint8_t database = 0;
    uint8_t resp = 2;
    uint8_t unix_socket = 0;  ///< then there are no addresses
    uint8_t reserved = 0;
    char address[kAddressBytes] = {};
    char local_address[kAddressBytes] = {};
    char name[kNameBytes] = {};  ///< the first bytes of a long name
};
static_assert(sizeof(ClientInfo) == 200);

struct ClientRow {
    static constexpr size_t kWords = sizeof(ClientInfo) / sizeof(uint64_t);
    std::atomic<uint64_t> version;
    std::atomic<uint64_t> activity;  ///< time of the last request in seconds since 1970 << 16 | CommandId
    std::atomic<uint64_t> backlog;   ///< bytes not yet sent << 32 | bytes not yet executed
    std::atomic<uint64_t> words[kWords];
};
static_assert(sizeof(ClientRow) == 224);
inline constexpr uint64_t kClientsLayout = layout_hash("clients-1", {sizeof(ClientRow), sizeof(ClientInfo)});

/// The writing side: this process's own rows.
class ClientRows {
  public:
    ClientRows() = default;
    ClientRows(const std::string& path, uint64_t instance, uint64_t generation, uint64_t rows);

    /// False when shared memory for the slot cannot be had.
    bool grow_to(uint32_t slot);
    void write(uint32_t slot, const ClientInfo& info);
    void clear(uint32_t slot) { write(slot, ClientInfo{}); }
    ClientRow& row(uint32_t slot) { return *segment_.payload<ClientRow>(slot * sizeof(ClientRow)); }

  private:
    Segment segment_;
};

/// Calls `visit(const ClientInfo&, uint64_t activity, uint64_t backlog)` for each connection in the segment at `path`. A
/// row that keeps changing is left out. Throws Error when the segment is not there or not valid.
template <class Visit>
void for_each_client(const std::string& path, uint64_t instance, Visit&& visit);

/// A consistent copy of a row, if it is in use and holds still.
std::optional<ClientInfo> read_row(const ClientRow& row);

template <class Visit>
void for_each_client(const std::string& path, uint64_t instance, Visit&& visit) {
    const Segment segment = Segment::attach({path, kClientsLayout, instance}, Access::read_only);
    const uint64_t rows = (segment.grown() - kSegmentPayload) / sizeof(ClientRow);
    for (uint64_t i = 0; i < rows; ++i) {
        const ClientRow& row = *segment.payload<ClientRow>(i * sizeof(ClientRow));
        if (const auto info = read_row(row))
            visit(*info, row.activity.load(std::memory_order_relaxed), row.backlog.load(std::memory_order_relaxed));
    }
}

}  // namespace millrace::io_conn
