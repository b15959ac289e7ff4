// The store segment's memory as md sees it: words, and backing by the system. Runs in md, `millrace check` and tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string_view>

#include "common/racing_copy.h"
#include "common/store_layout.h"

namespace millrace::md {

namespace st = millrace::store;

/// A mapped store segment. Words are loaded and stored whole, because other processes read them at any time.
class StoreMemory {
  public:
    /// Takes memory from the system for bytes [offset, offset + length), or gives it back. False: there is none.
    using Back = std::function<bool(uint64_t offset, uint64_t length)>;
    using GiveBack = std::function<void(uint64_t offset, uint64_t length)>;

    StoreMemory() = default;
    StoreMemory(std::byte* base, uint64_t bytes, Back back, GiveBack give_back)
        : base_(base), bytes_(bytes), back_(std::move(back)), give_back_(std::move(give_back)) {}

    std::byte* at(uint64_t offset) const { return base_ + offset; }
    template <class T>
    T* as(uint64_t offset) const {
        return reinterpret_cast<T*>(base_ + offset);
    }
    st::Root& root() const { return *as<st::Root>(st::kRootAt); }
    uint64_t load(uint64_t offset) const { return racing_load(at(offset)); }
    void store(uint64_t offset, uint64_t value) const { racing_store(at(offset), value); }
    void store(const uint64_t* word, uint64_t value) const { store(offset_of(word), value); }
    /// Offset of a word of the root, or of any mapped object.
    uint64_t offset_of(const void* word) const { return static_cast<uint64_t>(static_cast<const std::byte*>(word) - base_); }
    uint64_t bytes() const { return bytes_; }
    uint64_t pages() const { return bytes_ >> st::kPageShift; }

    bool back(uint64_t offset, uint64_t length) const { return back_(offset, length); }
    void give_back(uint64_t offset, uint64_t length) const { give_back_(offset, length); }

  private:
    std::byte* base_ = nullptr;
    uint64_t bytes_ = 0;
    Back back_;
    GiveBack give_back_;
};

}  // namespace millrace::md
