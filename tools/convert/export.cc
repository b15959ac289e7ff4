// See export.h. Runs in millrace-convert.
#include "tools/convert/export.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/check.h"
#include "common/redis/file_input.h"
#include "common/redis/rdb_reader.h"
#include "tools/convert/digest.h"
#include "tools/convert/progress.h"
#include "tools/convert/rdb_writer.h"

namespace millrace::convert {

namespace {

Digest write(const disk::DataImage& image, RdbWriter& writer) {
    Progress progress("writing the RDB");
    Digest digest;
    uint64_t done = 0;
    for (uint64_t number = 0; number < kEffectDatabases; ++number) {
        const disk::DataImage::Database& database = image.databases()[number];
        if (database.empty()) continue;
        writer.begin_database(number, database.size(),
                              static_cast<uint64_t>(std::count_if(database.begin(), database.end(), [](const auto& item) { return item.second.expire_at_ms != -1; })));
        for (const auto& [key, entry] : database) {
            writer.add(key, entry.value, entry.expire_at_ms);
            digest.add(number, key, entry.value, entry.expire_at_ms);
            progress.show(++done, image.keys());
        }
    }
    writer.finish();
    return digest;
}

Digest read_back(const std::string& path) {
    Progress progress("reading the RDB back");
    redis::FileInput in(path, [&](uint64_t done, uint64_t total) { progress.show(done, total); });
    Digest digest;
    redis::RdbReader(in, {[&](redis::RdbString&& item) { digest.add(item.database, item.key, item.value, item.expire_at_ms); }, [](const char*, uint64_t, std::string_view) {}}).read();
    return digest;
}

}  // namespace

void write_rdb(const disk::DataImage& image, const std::string& path) {
    RdbWriter writer(path);
    const Digest written = write(image, writer);
    if (read_back(writer.partial()) != written) throw Error(fmt::format("{} does not hold what was written into it: look after the disk", writer.partial()));
    writer.publish();
}

}  // namespace millrace::convert
