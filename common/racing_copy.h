// Bytes in shared memory that one process changes while others read them. Used by md (writes) and io_conn (direct reads).
//
// Under C++20's rules a byte that is written while it is read must be read and written atomically. So bytes that somebody may be
// reading go word by word: every word is stored and loaded whole, in relaxed order, and what orders them is the bucket's
// version (store_layout.h, T3 and T8). A reader may well copy a mixture of old and new words; it finds that out afterwards.
// Words are aligned: the first and the last may hold bytes besides those that are meant. A writer leaves these as they are;
// there is one writer, so it may read them first.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace millrace {

static_assert(std::endian::native == std::endian::little);

inline constexpr size_t kRacingWord = sizeof(uint64_t);

inline uint64_t racing_load(const std::byte* word) { return __atomic_load_n(reinterpret_cast<const uint64_t*>(word), __ATOMIC_RELAXED); }
inline void racing_store(std::byte* word, uint64_t value) { __atomic_store_n(reinterpret_cast<uint64_t*>(word), value, __ATOMIC_RELAXED); }

/// How a reader loads a word. A parameter only so that a test can stop a reader at each of its loads.
struct RacingLoad {
    static uint64_t load(const std::byte* word) { return racing_load(word); }
};

/// Copies `bytes` from memory that may change meanwhile; `to` is the caller's own.
template <class Load = RacingLoad>
inline void racing_copy_out(void* to, const std::byte* from, size_t bytes) {
    auto* out = static_cast<std::byte*>(to);
    if (const size_t skip = reinterpret_cast<uintptr_t>(from) % kRacingWord; skip != 0 && bytes != 0) {
        const uint64_t word = Load::load(from - skip) >> 8 * skip;
        const size_t count = bytes < kRacingWord - skip ? bytes : kRacingWord - skip;
        std::memcpy(out, &word, count);
        out += count;
        from += count;
        bytes -= count;
    }
#pragma GCC unroll 4
    for (; bytes >= kRacingWord; bytes -= kRacingWord, from += kRacingWord, out += kRacingWord) {
        const uint64_t word = Load::load(from);
        std::memcpy(out, &word, kRacingWord);
    }
    if (bytes == 0) return;
    const uint64_t word = Load::load(from);
    std::memcpy(out, &word, bytes);
}

/// Copies whole aligned words, as many as are known when this is compiled.
template <class Load, size_t kWords>
inline void racing_copy_words(uint64_t* to, const std::byte* from) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kWords; ++i) to[i] = Load::load(from + i * kRacingWord);
}

/// Whether these bytes, as they are read now, equal `bytes` at `other`.
template <class Load = RacingLoad>
inline bool racing_equal(const std::byte* from, const char* other, size_t bytes) {
    uint64_t theirs, ours;
    if (reinterpret_cast<uintptr_t>(from) % kRacingWord == 0)
        for (; bytes >= kRacingWord; bytes -= kRacingWord, from += kRacingWord, other += kRacingWord) {
            std::memcpy(&ours, other, kRacingWord);
            if (Load::load(from) != ours) return false;
        }
    while (bytes != 0) {
        const size_t skip = reinterpret_cast<uintptr_t>(from) % kRacingWord;
        const size_t count = bytes < kRacingWord - skip ? bytes : kRacingWord - skip;
        theirs = Load::load(from - skip) >> 8 * skip;
        if (count < kRacingWord) theirs &= (1ull << 8 * count) - 1;
        ours = 0;
        std::memcpy(&ours, other, count);
        if (theirs != ours) return false;
        from += count;
        other += count;
        bytes -= count;
    }
    return true;
}

/// Writes bytes into memory that others may be reading. Only its one writer calls this.
inline void racing_copy_in(std::byte* to, const void* from, size_t bytes) {
    const auto* in = static_cast<const std::byte*>(from);
    while (bytes != 0) {
        const size_t skip = reinterpret_cast<uintptr_t>(to) % kRacingWord;
        const size_t count = bytes < kRacingWord - skip ? bytes : kRacingWord - skip;
        uint64_t word;
        if (count == kRacingWord) {
            std::memcpy(&word, in, kRacingWord);
        } else {
            word = racing_load(to - skip);
            std::memcpy(reinterpret_cast<std::byte*>(&word) + skip, in, count);
        }
        racing_store(to - skip, word);
        to += count;
        in += count;
        bytes -= count;
    }
}

}  // namespace millrace
