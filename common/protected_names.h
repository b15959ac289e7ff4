// Names that a process goes on using after it has given up the right to open any other: what a filter on system calls (call_filter.h) can
// check of a name is the address of its bytes, so the bytes have to be where nobody can change them. Used by io_conn.
//
// Invariants:
//   Q1  [kProtectedBegin, kProtectedEnd) is mapped as a whole, lies below everything else that a program has mapped, and is read-only from
//       seal() on. The filter lets nobody change a mapping below kProtectedEnd, so it stays as it is until the process ends.
//   Q2  Each use has an area of its own, a power of two long and a multiple of that from zero on, in slots that are a power of two as well: one
//       comparison under a mask says whether an address is the beginning of a slot. A name never begins in the middle of another.
//   Q3  A slot without a name is an empty string, which names nothing.
// How a name gets to its slot's address is no secret and no matter of trust: whoever has taken the process over may call with any slot, and
// with nothing else.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

inline constexpr uintptr_t kProtectedBegin = 1u << 20;
inline constexpr uintptr_t kProtectedEnd = 4u << 20;

enum class NameUse : unsigned {
    look,     ///< files that are opened for reading, or looked at
    wake,     ///< FIFOs
    connect,  ///< addresses of sockets
};
inline constexpr unsigned kNameUses = 3;

/// Where the names of one use are (Q2), bytes.
struct NameArea {
    uintptr_t begin = 0;
    uint64_t bytes = 0, slot = 0;

    /// The bits of an address that have to be those of `begin`.
    uint64_t mask() const { return ~(bytes - 1) | (slot - 1); }
};

class ProtectedNames {
  public:
    void add(NameUse use, const std::string& path);
    void add(const sockaddr_un& address);
    /// Puts all names where they stay, for the rest of the process's life. Throws Error when the addresses are not free.
    void seal();
    const NameArea& area(NameUse use) const { return areas_[static_cast<unsigned>(use)]; }

  private:
    std::array<std::vector<std::string>, kNameUses> names_;
    std::array<NameArea, kNameUses> areas_;
};

/// What to hand to the system instead of this path: the protected copy, or the path itself where there is none.
const char* name_to_open(const std::string& path);
const sockaddr* name_to_connect(const sockaddr_un& address);

}  // namespace millrace
