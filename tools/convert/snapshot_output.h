// Writes an image of the data as a snapshot, and reads it back. Used by millrace-convert. Throws Error.
#pragma once

#include <cstdint>
#include <string>

#include "common/disk/data_image.h"

namespace millrace::convert {

/// Makes snapshot-<number> in a folder: what has expired is in it, every stamp, its start and its end are `number`. Durable when it returns.
void write_snapshot(const disk::DataImage& image, const std::string& folder, uint64_t instance, uint64_t number);

}  // namespace millrace::convert
