// See import.h. Runs in millrace-convert.
#include "tools/convert/import.h"

#include <fmt/format.h>

#include <filesystem>
#include <vector>

#include "common/check.h"
#include "common/redis/file_input.h"
#include "common/redis/rdb_reader.h"
#include "tools/convert/aof_reader.h"
#include "tools/convert/progress.h"
#include "tools/convert/replay.h"

namespace millrace::convert {

namespace {

constexpr std::string_view kManifest = ".manifest";
constexpr uint64_t kManifestBytesMax = 1024 * 1024;

std::string manifest_in(const std::string& folder) {
    std::vector<std::string> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error))
        if (entry.path().string().ends_with(kManifest)) found.push_back(entry.path().string());
    if (error) throw Error(fmt::format("the folder {} cannot be read: {}", folder, error.message()));
    if (found.size() == 1) return found.front();
    throw Error(fmt::format("the folder {} holds {} manifests: name an RDB, an AOF, or the folder 'appendonlydir' of Redis 7", folder, found.empty() ? "no" : "several"));
}

/// The files to be read: one, or those of a manifest.
AofFiles files_of(std::string path) {
    if (std::filesystem::is_directory(path)) path = manifest_in(path);
    if (!path.ends_with(kManifest)) return {{path}, true};
    redis::FileInput in(path);
    std::string_view content;
    if (in.left() > kManifestBytesMax || !in.take(in.left(), content)) throw Error(fmt::format("{} is too long for a manifest", path));
    AofFiles files = read_manifest(path, content);
    if (files.paths.empty()) throw Error(fmt::format("{} names no file", path));
    return files;
}

void read_file(const std::string& path, AofReader& reader, bool alone, bool last) {
    Progress progress("reading " + path);
    redis::FileInput in(path, [&](uint64_t done, uint64_t total) { progress.show(done, total); });
    if (alone && in.ended()) throw Error(fmt::format("{} is empty", path));
    if (alone && !in.begins_with(redis::kRdbMagic) && !in.begins_with("*") && !in.begins_with("#")) in.fail(0, "it begins neither as an RDB nor as an AOF");
    reader.read(in, last);
}

}  // namespace

disk::DataImage read_redis(const std::string& path, int64_t now_ms, Tally& tally) {
    const AofFiles files = files_of(path);
    disk::DataImage image;
    Replay replay(image, tally, now_ms);
    AofReader reader(replay, tally,
                     {[&](redis::RdbString&& item) { image.databases()[item.database][std::move(item.key)] = {std::move(item.value), item.expire_at_ms, 0}; },
                      [&](const char* name, uint64_t, std::string_view) { ++tally.types[name]; }});
    const bool alone = files.paths.size() == 1 && files.base;
    for (const std::string& file : files.paths) read_file(file, reader, alone, &file == &files.paths.back());
    tally.expired = image.remove_expired(now_ms);
    return image;
}

}  // namespace millrace::convert
