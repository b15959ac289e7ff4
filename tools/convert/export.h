// Export: an image of the data becomes an RDB. Used by millrace-convert. Throws Error.
#pragma once

#include <cstdint>
#include <string>

#include "common/disk/data_image.h"

namespace millrace::convert {

/// Writes the RDB, reads it back and gives it its name then.
void write_rdb(const disk::DataImage& image, const std::string& path);

}  // namespace millrace::convert
