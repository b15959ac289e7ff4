// See protected_names.h. Runs in io_conn; every process asks for names.
#include "common/protected_names.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>

#include "common/check.h"

namespace millrace {

namespace {

/// No path is longer (PATH_MAX), so this is the largest slot.
constexpr uint64_t kSlotBytesMax = 4096, kSlotBytesMin = 64;
/// Slots and place of each use. With the largest slots each area still ends before the next one begins.
constexpr std::array<uint64_t, kNameUses> kSlots = {256, 128, 16};
constexpr std::array<uintptr_t, kNameUses> kBegins = {1u << 20, 2u << 20, 3u << 20};
static_assert(kBegins.front() == kProtectedBegin && kBegins.back() + kSlots.back() * kSlotBytesMax <= kProtectedEnd);
static_assert(kBegins[0] % (kSlots[0] * kSlotBytesMax) == 0 && kBegins[0] + kSlots[0] * kSlotBytesMax <= kBegins[1]);
static_assert(kBegins[1] % (kSlots[1] * kSlotBytesMax) == 0 && kBegins[1] + kSlots[1] * kSlotBytesMax <= kBegins[2]);

/// Name to slot; empty before seal().
std::map<std::string, const char*, std::less<>>& slots() {
    static std::map<std::string, const char*, std::less<>> slots;
    return slots;
}

std::string_view bytes_of(const sockaddr_un& address) { return {reinterpret_cast<const char*>(&address), sizeof address}; }

const char* slot_of(std::string_view name) {
    const auto found = slots().find(name);
    return found == slots().end() ? nullptr : found->second;
}

}  // namespace

void ProtectedNames::add(NameUse use, const std::string& path) { names_[static_cast<unsigned>(use)].push_back(path); }

void ProtectedNames::add(const sockaddr_un& address) { names_[static_cast<unsigned>(NameUse::connect)].emplace_back(bytes_of(address)); }

void ProtectedNames::seal() {
    auto* const wanted = reinterpret_cast<char*>(kProtectedBegin);
    constexpr size_t kBytes = kProtectedEnd - kProtectedBegin;
    void* const mapped = mmap(wanted, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (mapped == MAP_FAILED) throw Error(fmt::format("the addresses for protected names are not to be had: {}", errno_text(errno)));
    if (mapped != wanted) {  // a kernel that does not know MAP_FIXED_NOREPLACE
        munmap(mapped, kBytes);
        throw Error("the addresses for protected names are in use");
    }
    for (unsigned use = 0; use < kNameUses; ++use) {
        uint64_t longest = 0;
        for (const std::string& name : names_[use]) longest = std::max<uint64_t>(longest, name.size() + 1);
        const uint64_t slot = std::bit_ceil(std::max(longest, kSlotBytesMin));
        CHECK(names_[use].size() <= kSlots[use]);
        if (slot > kSlotBytesMax) throw Error(fmt::format("a name of {} bytes is too long to be protected", longest));
        areas_[use] = {kBegins[use], kSlots[use] * slot, slot};
        for (size_t i = 0; i < names_[use].size(); ++i) {
            auto* const at = reinterpret_cast<char*>(areas_[use].begin + i * slot);
            std::memcpy(at, names_[use][i].data(), names_[use][i].size());
            slots()[names_[use][i]] = at;
        }
    }
    if (mprotect(wanted, kBytes, PROT_READ) != 0) throw Error(fmt::format("names cannot be protected: {}", errno_text(errno)));
}

const char* name_to_open(const std::string& path) {
    const char* const slot = slot_of(path);
    return slot == nullptr ? path.c_str() : slot;
}

const sockaddr* name_to_connect(const sockaddr_un& address) {
    const char* const slot = slot_of(bytes_of(address));
    return reinterpret_cast<const sockaddr*>(slot == nullptr ? reinterpret_cast<const char*>(&address) : slot);
}

}  // namespace millrace
