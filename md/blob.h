// Blob: bytes of a value on md's heap, counted by reference, so that a large reply can be sent in parts from the value
// itself while the key already holds another. The visible length stands beside the reference (Value), so an append may
// write behind it without disturbing whoever still sends the shorter one. Runs in md, one thread: the count is plain.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace millrace::md {

class Blob {
  public:
    Blob() = default;
    /// Room for `capacity` bytes.
    static Blob with_capacity(uint32_t capacity) {
        void* memory = std::malloc(sizeof(Header) + capacity);
        if (memory == nullptr) throw std::bad_alloc();
        Blob blob;
        blob.header_ = new (memory) Header{1, capacity, 0};
        return blob;
    }
    static Blob of(std::string_view bytes) {
        Blob blob = with_capacity(static_cast<uint32_t>(bytes.size()));
        blob.append(0, bytes);
        return blob;
    }
    Blob(const Blob& other) : header_(other.header_) {
        if (header_ != nullptr) ++header_->references;
    }
    Blob(Blob&& other) noexcept : header_(std::exchange(other.header_, nullptr)) {}
    Blob& operator=(Blob other) noexcept {
        std::swap(header_, other.header_);
        return *this;
    }
    ~Blob() {
        if (header_ != nullptr && --header_->references == 0) std::free(header_);
    }

    const char* data() const { return header_ == nullptr ? nullptr : reinterpret_cast<const char*>(header_ + 1); }
    uint32_t capacity() const { return header_ == nullptr ? 0 : header_->capacity; }
    /// Whether `length` more bytes can be written behind `visible` bytes: there is room and nobody has written there.
    bool can_append(uint32_t visible, size_t length) const {
        return header_ != nullptr && header_->used == visible && length <= header_->capacity - visible;
    }
    /// REQUIRES: can_append(visible, bytes.size()).
    void append(uint32_t visible, std::string_view bytes) {
        if (!bytes.empty()) std::memcpy(reinterpret_cast<char*>(header_ + 1) + visible, bytes.data(), bytes.size());
        header_->used = visible + static_cast<uint32_t>(bytes.size());
    }
    uint64_t heap_bytes() const { return header_ == nullptr ? 0 : sizeof(Header) + header_->capacity; }

  private:
    struct Header {
        uint32_t references;
        uint32_t capacity;
        uint32_t used;
    };
    Header* header_ = nullptr;
};

}  // namespace millrace::md
