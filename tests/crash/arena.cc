// See arena.h. Used by tests/crash.
#include "tests/crash/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "common/check.h"
#include "tests/crash/stepper.h"

namespace millrace::crash {

namespace {

std::byte* map(int file, uint64_t bytes, int flags) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
    CHECK(at != MAP_FAILED);
    return static_cast<std::byte*>(at);
}

}  // namespace

Arena::Arena(uint64_t pages) : bytes_(pages << md::st::kPageShift), file_(memfd_create("store", MFD_CLOEXEC)) {
    CHECK(file_ >= 0 && ftruncate(file_, static_cast<off_t>(bytes_)) == 0);
    shared_ = map(file_, bytes_, MAP_SHARED);
    private_ = map(file_, bytes_, MAP_PRIVATE | MAP_NORESERVE);
}

Arena::~Arena() {
    munmap(shared_, bytes_);
    munmap(private_, bytes_);
    close(file_);
}

md::StoreMemory Arena::live() const {
    return {shared_, bytes_, [](uint64_t, uint64_t) { return true; },
            [this](uint64_t offset, uint64_t length) {
                constexpr int kHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
                CHECK(fallocate(file_, kHole, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0);
                show_image(offset);
            }};
}

md::StoreMemory Arena::image() const {
    return {private_, bytes_, [](uint64_t, uint64_t) { return true; },
            [this](uint64_t offset, uint64_t length) { std::memset(private_ + offset, 0, length); }};
}

void Arena::forget() const { CHECK(madvise(private_, bytes_, MADV_DONTNEED) == 0); }

void Arena::copy_from(const Arena& other) const {
    CHECK(bytes_ == other.bytes_);
    std::memcpy(shared_, other.shared_, bytes_);
    forget();
}

}  // namespace millrace::crash
