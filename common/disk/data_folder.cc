// See data_folder.h. Used by the processes that keep files, and by tools.
#include "common/disk/data_folder.h"

#include <dirent.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "common/check.h"

namespace millrace::disk {

namespace {

constexpr std::string_view kLog = "log-";
constexpr std::string_view kSnapshot = "snapshot-";
constexpr std::string_view kPartial = ".partial";
constexpr size_t kDigits = 20;

std::string_view name_of(std::string_view path) {
    return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

bool is_numbered(std::string_view name, std::string_view prefix, uint64_t& number) {
    if (!name.starts_with(prefix) || name.size() != prefix.size() + kDigits) return false;
    const char* const end = name.data() + name.size();
    const auto [at, error] = std::from_chars(name.data() + prefix.size(), end, number);
    return error == std::errc() && at == end;
}

bool is_partial(std::string_view name) {
    uint64_t number;
    if (!name.ends_with(kPartial)) return false;
    name.remove_suffix(kPartial.size());
    return is_log(name, number) || is_snapshot(name, number);
}

/// Every file name of a folder, in order. Throws Error.
std::vector<std::string> names_in(const std::string& folder) {
    DIR* const stream = opendir(folder.c_str());
    if (stream == nullptr) throw Error(fmt::format("cannot read the folder {}: {}", folder, errno_text(errno)));
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* const entry = readdir(stream)) names.emplace_back(entry->d_name);
    const int error_number = errno;
    closedir(stream);
    if (error_number != 0) throw Error(fmt::format("cannot read the folder {}: {}", folder, errno_text(error_number)));
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace

std::string log_path(const std::string& folder, uint64_t after) { return fmt::format("{}/{}{:020}", folder, kLog, after); }

std::string snapshot_path(const std::string& folder, uint64_t start) { return fmt::format("{}/{}{:020}", folder, kSnapshot, start); }

std::string partial_path(const std::string& path) { return path + std::string(kPartial); }

bool is_log(std::string_view path, uint64_t& number) { return is_numbered(name_of(path), kLog, number); }

bool is_snapshot(std::string_view path, uint64_t& number) { return is_numbered(name_of(path), kSnapshot, number); }

std::vector<NumberedFile> numbered_logs(const std::string& folder) {
    std::vector<NumberedFile> files;
    uint64_t number = 0;
    for (const std::string& name : names_in(folder))
        if (is_log(name, number)) files.push_back({folder + "/" + name, number});
    return files;
}

std::vector<std::string> snapshot_files(const std::string& folder) {
    std::vector<std::string> paths;
    uint64_t number = 0;
    for (const std::string& name : names_in(folder))
        if (is_snapshot(name, number)) paths.insert(paths.begin(), folder + "/" + name);
    return paths;
}

std::vector<std::string> partial_files(const std::string& folder) {
    std::vector<std::string> paths;
    for (const std::string& name : names_in(folder))
        if (is_partial(name)) paths.push_back(folder + "/" + name);
    return paths;
}

}  // namespace millrace::disk
