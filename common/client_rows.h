// The segment clients-<i>: one row for each connection slot of io_conn i, so that any io_conn can answer CLIENT LIST for
// all of them, and what io_conn i wants of the others (ClientOrders, io_conn/client_orders.h). Written by io_conn i, read by the
// others, and by md for the slow log, without asking.
//
// A row is kWords words behind a version (versioned_words.h). `activity`, `backlog` and `transaction` change often and are single words outside
// of the version.
// The segment grows with the number of slots in use (segment.h, S1).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "common/roster.h"
#include "common/segment.h"

namespace millrace {

/// An end of a connection; a Unix socket has none.
struct ClientAddress {
    uint8_t family = 0;  ///< 4, 6, or 0: none
    uint8_t reserved = 0;
    uint16_t port = 0;
    uint8_t host[16] = {};  ///< in network order; IPv4 has the first four

    /// "127.0.0.1" or "::1"; empty if there is none.
    std::string host_text() const;
    /// "127.0.0.1:5000" or "[::1]:5000"; empty if there is none.
    std::string text() const;
};

/// What CLIENT LIST tells of a connection, but for what changes all the time.
struct ClientInfo {
    static constexpr size_t kNameBytes = 64;
    static constexpr size_t kLibraryBytes = 32;

    uint64_t id = 0;  ///< 0: the slot is free
    uint64_t connected_at_s = 0;
    int32_t fd = -1;
    uint8_t database = 0;
    uint8_t resp = 2;
    uint8_t unix_socket = 0;
    uint8_t flags = 0;  ///< client_flag
    ClientAddress address, local_address;  ///< the client's and ours
    char name[kNameBytes] = {};  ///< the first bytes of a long name
    char library[kLibraryBytes] = {};
    char library_version[kLibraryBytes] = {};
};
static_assert(sizeof(ClientInfo) == 192);

namespace client_flag {
inline constexpr uint8_t no_evict = 1, no_touch = 2, linked = 4;  ///< linked: to md_repl
}  // namespace client_flag

struct ClientRow {
    static constexpr size_t kWords = sizeof(ClientInfo) / sizeof(uint64_t);
    std::atomic<uint64_t> version;
    std::atomic<uint64_t> activity;  ///< time of the last request in seconds since 1970 << 16 | CommandId
    std::atomic<uint64_t> backlog;   ///< bytes not yet sent << 32 | bytes not yet executed
    std::atomic<uint64_t> transaction;  ///< commands queued since MULTI, + 1; 0 = no transaction
    std::atomic<uint64_t> words[kWords];
};
static_assert(sizeof(ClientRow) == 224);

/// What stands before the rows: orders of this io_conn to the others, and how far it has carried out theirs.
struct ClientOrderWords {
    static constexpr unsigned kOrders = 256;
    std::atomic<uint64_t> issued;                           ///< orders ever issued
    std::array<std::atomic<uint64_t>, kOrders> close;       ///< order n, at n % kOrders: the id of a client whose connection is to be closed
    std::array<std::atomic<uint64_t>, kMaxIoConns> carried_out;  ///< of each io_conn's orders
};
inline constexpr uint64_t kClientRowsAt = round_up(sizeof(ClientOrderWords), kCacheLineDistance);
inline constexpr uint64_t kClientsLayout =
    layout_hash("clients-3", {sizeof(ClientRow), sizeof(ClientInfo), sizeof(ClientOrderWords), kClientRowsAt});

/// The writing side: this process's own rows.
class ClientRows {
  public:
    ClientRows() = default;
    ClientRows(const std::string& path, uint64_t instance, uint64_t generation, uint64_t rows);

    /// False when shared memory for the slot cannot be had.
    bool grow_to(uint32_t slot);
    void write(uint32_t slot, const ClientInfo& info);
    void clear(uint32_t slot) { write(slot, ClientInfo{}); }
    ClientRow& row(uint32_t slot) { return *segment_.payload<ClientRow>(kClientRowsAt + slot * sizeof(ClientRow)); }
    ClientOrderWords& orders() { return *segment_.payload<ClientOrderWords>(); }

  private:
    Segment segment_;
};

/// Calls `visit(const ClientInfo&, const ClientRow&)` for each connection in the segment at `path`. A row that keeps changing is
/// left out. Throws Error when the segment is not there or not valid.
template <class Visit>
void for_each_client(const std::string& path, uint64_t instance, Visit&& visit);

/// A consistent copy of a row, if it is in use and holds still.
std::optional<ClientInfo> read_row(const ClientRow& row);

template <class Visit>
void for_each_client(const std::string& path, uint64_t instance, Visit&& visit) {
    const Segment segment = Segment::attach({path, kClientsLayout, instance}, Access::read_only);
    const uint64_t rows = (segment.grown() - kSegmentPayload - kClientRowsAt) / sizeof(ClientRow);
    for (uint64_t i = 0; i < rows; ++i) {
        const ClientRow& row = *segment.payload<ClientRow>(kClientRowsAt + i * sizeof(ClientRow));
        if (const auto info = read_row(row)) visit(*info, row);
    }
}

}  // namespace millrace
