// See snapshot_output.h. Runs in millrace-convert.
#include "tools/convert/snapshot_output.h"

#include <fmt/format.h>

#include "common/check.h"
#include "common/disk/data_folder.h"
#include "common/disk/snapshot_reader.h"
#include "common/disk/snapshot_writer.h"
#include "tools/convert/digest.h"
#include "tools/convert/progress.h"

namespace millrace::convert {

namespace {

Digest write(const disk::DataImage& image, disk::SnapshotWriter& writer, uint64_t number) {
    Progress progress("writing the snapshot");
    Digest digest;
    bool fine = writer.begin();
    for (uint8_t database = 0; database < kEffectDatabases; ++database)
        for (const auto& [key, entry] : image.databases()[database]) {
            fine = fine && writer.add(database, key, entry.value, entry.expire_at_ms, number);
            digest.add(database, key, entry.value, entry.expire_at_ms);
            progress.show(writer.items(), image.keys());
        }
    if (!fine || !writer.finish(number)) throw Error(writer.sentence());
    return digest;
}

Digest read_back(const std::string& path, uint64_t items) {
    Progress progress("reading the snapshot back");
    disk::SnapshotReader reader(path);
    disk::SnapshotReader::Item item{};
    disk::SnapshotReader::Outcome outcome = disk::SnapshotReader::Outcome::damage;
    Digest digest;
    if (reader.open())
        while ((outcome = reader.next(item)) == disk::SnapshotReader::Outcome::item) {
            digest.add(item.database, item.key, item.value, item.expire_at_ms);
            progress.show(reader.items_read(), items);
        }
    if (outcome != disk::SnapshotReader::Outcome::end) throw Error(reader.sentence());
    return digest;
}

}  // namespace

void write_snapshot(const disk::DataImage& image, const std::string& folder, uint64_t instance, uint64_t number) {
    disk::SnapshotWriter writer(folder, instance, number, true);
    const Digest written = write(image, writer, number);
    const std::string path = disk::snapshot_path(folder, number);
    if (read_back(path, image.keys()) != written) throw Error(fmt::format("{} does not hold what was written into it: look after the disk", path));
}

}  // namespace millrace::convert
