// Bytes that one process writes and others read while they change, kept as words behind a version (seqlock, after Boehm 2012): the writer
// makes the version odd, stores the words, makes it even; a reader takes the words with relaxed loads and keeps them only if the version
// was even and the same before and after. A version that a killed writer left odd is made even by the next one that writes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace millrace {

/// Stores words.size() words from `bytes`. REQUIRES: this is the only writer.
inline void write_versioned(std::atomic<uint64_t>& version, std::span<std::atomic<uint64_t>> words, const void* bytes) {
    const uint64_t odd = version.load(std::memory_order_relaxed) | 1;
    version.store(odd, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (size_t i = 0; i < words.size(); ++i) {
        uint64_t word;
        std::memcpy(&word, static_cast<const char*>(bytes) + i * sizeof word, sizeof word);
        words[i].store(word, std::memory_order_relaxed);
    }
    version.store(odd + 1, std::memory_order_release);
}

/// Copies the words to `bytes`. False: they did not hold still for any of a few looks.
inline bool read_versioned(const std::atomic<uint64_t>& version, std::span<const std::atomic<uint64_t>> words, void* bytes) {
    constexpr int kTries = 8;
    for (int attempt = 0; attempt < kTries; ++attempt) {
        const uint64_t before = version.load(std::memory_order_acquire);
        if (before % 2 != 0) continue;
        for (size_t i = 0; i < words.size(); ++i) {
            const uint64_t word = words[i].load(std::memory_order_relaxed);
            std::memcpy(static_cast<char*>(bytes) + i * sizeof word, &word, sizeof word);
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        if (version.load(std::memory_order_relaxed) == before) return true;
    }
    return false;
}

}  // namespace millrace
