// Copies of an instance's data: of a running one (backup), and back (restore). Used by millrace-convert. Throws Error: one sentence.
//
// A backup is a folder with the newest snapshot, the files of the log that it needs, and the instance's id; or the log alone, if that reaches
// back to the beginning. Others write to the files meanwhile: a snapshot is whole as soon as it has its name, and of the log that what its reader takes for
// whole is copied, the last file up to the last whole frame. What is cleaned up while it is copied makes the copy start over.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/disk/data_image.h"

namespace millrace::convert {

/// Copies a data folder, which may be in use, into `into`, which is there and empty. Durable and verified when it returns; gives the number
/// of the last record that is in it.
uint64_t copy_live(const std::string& data, const std::string& into);

/// Copies all data files of a folder that nobody writes to into `into`, after they were verified, and verifies the copies.
void copy_verified(const std::string& data, const std::string& into);

/// "2026-11-26T14:00:00", with .123 or not; with Z it is UTC, else local time. In ms since the Unix epoch, the last one of a second that is
/// given without. Nothing: it is no time.
std::optional<int64_t> parse_time(const std::string& text);

}  // namespace millrace::convert
