// Whole reads and writes at an offset, and files that come to be all at once. All of it only returns errors.
#pragma once

#include <cstdint>
#include <string>
#include <sys/uio.h>

namespace millrace::disk {

/// Reads up to `count` bytes at `offset`; fewer only where the file ends. Returns how many, or -1 (errno).
int64_t read_at(int fd, char* bytes, uint64_t count, uint64_t offset);

/// Writes all of the parts, which it changes, at `offset`. False (errno) when it cannot; part of them may then be there.
bool write_at(int fd, iovec* parts, int count, uint64_t offset);
bool write_at(int fd, const char* bytes, uint64_t count, uint64_t offset);

/// Makes the names in a folder durable: creations, renames, removals. False: errno.
bool sync_folder(const std::string& folder);

/// Length of an open file in bytes, or -1 (errno).
int64_t length_of(int fd);

}  // namespace millrace::disk
