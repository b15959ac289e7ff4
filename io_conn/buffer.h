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
    /// Blocks kept for reuse; more are given back to the system.
    static constexpr size_t kBlocksKept = 256;

    ~BufferPool() {
        for (char* block : free_) std::free(block);
    }
    char* take(size_t bytes) {
        held_ += bytes;
        if (bytes == kBlockBytes && !free_.empty()) {
            char* block = free_.back();
            free_.pop_back();
            return block;
        }
        char* block = static_cast<char*>(std::malloc(bytes));
        if (block == nullptr) throw std::bad_alloc();
        return block;
    }
    void give_back(char* block, size_t bytes) {
        held_ -= bytes;
        if (bytes == kBlockBytes && free_.size() < kBlocksKept) free_.push_back(block);
        else std::free(block);
    }
    uint64_t held_bytes() const { return held_; }

  private:
    std::vector<char*> free_;
    uint64_t held_ = 0;
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
    void commit(size_t count) { end_ += count; }
    void append(std::string_view bytes) {
        if (bytes.empty()) return;
        std::memcpy(reserve(bytes.size()), bytes.data(), bytes.size());
        end_ += bytes.size();
    }
    /// Takes `count` bytes away at the front.
    void consume(size_t count) {
        begin_ += count;
        if (begin_ == end_) clear();
    }
    /// Takes away at the end what is beyond `count` bytes.
    void truncate(size_t count) {
        end_ = begin_ + count;
        if (count == 0) clear();
    }
    void clear() {
        if (block_ != nullptr) pool_->give_back(block_, capacity_);
        block_ = nullptr;
        capacity_ = begin_ = end_ = 0;
    }

  private:
    void make_room(size_t room) {
        const size_t used = size();
        if (block_ != nullptr && begin_ >= capacity_ / 2 && used + room <= capacity_) {  // cheap: move at most half
            std::memmove(block_, block_ + begin_, used);
        } else {
            size_t capacity = BufferPool::kBlockBytes;
            while (capacity < used + room) capacity *= 2;
            char* block = pool_->take(capacity);
            if (used != 0) std::memcpy(block, block_ + begin_, used);
            if (block_ != nullptr) pool_->give_back(block_, capacity_);
            block_ = block;
            capacity_ = capacity;
        }
        begin_ = 0;
        end_ = used;
    }

    BufferPool* pool_;
    char* block_ = nullptr;
    size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace millrace::io_conn
