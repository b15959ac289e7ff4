// The names of all files in an instance's data folder, spelled once, and lists of them. Throws Error for a folder that cannot be read.
//
//   log-<after>           what was done after the record of that number (log_format.h)
//   snapshot-<start>      the data at that number (snapshot_format.h)
//   NAME.partial          one of them while it is made; of no use once its maker is gone
// Numbers have 20 decimal digits, so names sort as the numbers do. Any other name is nobody's, and left alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::disk {

/// A file whose name carries a number.
struct NumberedFile {
    std::string path;
    uint64_t number = 0;
};

inline std::string data_folder(const std::string& dir) { return dir + "/data"; }
std::string log_path(const std::string& folder, uint64_t after);
std::string snapshot_path(const std::string& folder, uint64_t start);
std::string partial_path(const std::string& path);

/// Whether a file name, with or without a folder before it, is that of a log or a snapshot; then `number` is set.
bool is_log(std::string_view path, uint64_t& number);
bool is_snapshot(std::string_view path, uint64_t& number);

/// The log files, lowest number first.
std::vector<NumberedFile> numbered_logs(const std::string& folder);
/// The snapshots, newest (highest number) first; no partial ones.
std::vector<std::string> snapshot_files(const std::string& folder);
/// What was left half made.
std::vector<std::string> partial_files(const std::string& folder);

}  // namespace millrace::disk
