// Buffers of connections: a contiguous range of bytes that grows at the end and is taken away at the front, with memory
// from a pool. Runs in io_conn. An idle connection holds none: an emptied buffer goes back to the pool at once.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::io_conn {

/// Recycles blocks of the usual size; counts all bytes that buffers hold.
class BufferPool {
  public:
    static constexpr size_t kBlockBytes = 16 * 1024;
    /// Of connections that say little.
    static constexpr size_t kSmallBlockBytes = 1024;
    /// Blocks of each size kept for reuse; more are given back to the system.
    static constexpr size_t kBlocksKept = 64, kSmallBlocksKept = 512;

    ~BufferPool() {
        for (std::vector<char*>* blocks : {&free_, &free_small_})
            for (char* block : *blocks) std::free(block);
    }
    char* take(size_t bytes) {
        held_ += bytes;
        std::vector<char*>& blocks = bytes == kSmallBlockBytes ? free_small_ : free_;
        if (bytes <= kBlockBytes && !blocks.empty()) {
            char* block = blocks.back();
            blocks.pop_back();
            return block;
        }
        char* block = static_cast<char*>(std::malloc(bytes));
        if (block == nullptr) throw std::bad_alloc();
        return block;
    }
    void give_back(char* block, size_t bytes) {
        held_ -= bytes;
        if (bytes == kBlockBytes && free_.size() < kBlocksKept) free_.push_back(block);
        else if (bytes == kSmallBlockBytes && free_small_.size() < kSmallBlocksKept) free_small_.push_back(block);
        else {
            freed_ += bytes;
            std::free(block);
        }
    }
    uint64_t held_bytes() const { return held_; }
    /// Bytes given to malloc again, ever. What malloc does with them is for the owner to see to.
    uint64_t freed_bytes() const { return freed_; }

  private:
    std::vector<char*> free_, free_small_;
    uint64_t held_ = 0, freed_ = 0;
};

class Buffer {
  public:
    explicit Buffer(BufferPool& pool) : pool_(&pool) {}
    ~Buffer() { clear(); }
    Buffer(Buffer&& other) noexcept
        : pool_(other.pool_),
          block_(std::exchange(other.block_, nullptr)),
          capacity_(std::exchange(other.capacity_, 0)),
          begin_(std::exchange(other.begin_, 0)),
          end_(std::exchange(other.end_, 0)) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    std::string_view bytes() const { return {block_ + begin_, end_ - begin_}; }
    size_t size() const { return end_ - begin_; }
    bool empty() const { return begin_ == end_; }
    size_t capacity() const { return capacity_; }

    /// At least `room` free bytes at the end; valid until the next call.
    char* reserve(size_t room) {
        if (capacity_ - end_ < room) make_room(room);
        return block_ + end_;
    }
    /// Where the next byte goes: what reserve() has given last.
    char* end() { return block_ + end_; }
    size_t room() const { return capacity_ - end_; }
    /// Says that `count` of the reserved bytes are filled.
    void commit(size_t count) { end_ += static_cast<uint32_t>(count); }
    void append(std::string_view bytes) {
        if (bytes.empty()) return;
        std::memcpy(reserve(bytes.size()), bytes.data(), bytes.size());
        commit(bytes.size());
    }
    /// Takes `count` bytes away at the front.
    void consume(size_t count) {
        begin_ += static_cast<uint32_t>(count);
        if (begin_ == end_) clear();
    }
    /// Takes away at the end what is beyond `count` bytes.
    void truncate(size_t count) {
        end_ = begin_ + static_cast<uint32_t>(count);
        if (count == 0) clear();
    }
    void clear() {
        if (block_ != nullptr) {
            pool_->give_back(block_, capacity_);
            says_little_ = end_ <= BufferPool::kSmallBlockBytes;
        }
        block_ = nullptr;
        capacity_ = begin_ = end_ = 0;
    }

  private:
    void make_room(size_t room) {
        const size_t used = size();
        if (block_ != nullptr && begin_ >= capacity_ / 2 && used + room <= capacity_) {  // cheap: move at most half
            std::memmove(block_, block_ + begin_, used);
        } else {
            // One that has said more before begins with room for it, and need not be copied.
            size_t capacity = says_little_ && used + room <= BufferPool::kSmallBlockBytes ? BufferPool::kSmallBlockBytes : BufferPool::kBlockBytes;
            while (capacity < used + room) capacity *= 2;
            char* block = pool_->take(capacity);
            if (used != 0) std::memcpy(block, block_ + begin_, used);
            if (block_ != nullptr) pool_->give_back(block_, capacity_);
            block_ = block;
            capacity_ = static_cast<uint32_t>(capacity);
        }
        begin_ = 0;
        end_ = static_cast<uint32_t>(used);
    }

    BufferPool* pool_;
    char* block_ = nullptr;
    uint32_t capacity_ = 0, begin_ = 0, end_ = 0;
    bool says_little_ = true;
};

}  // namespace millrace::io_conn
