// Whether a store and a data folder belong together: by whose the newest files are, and how far they go.
#include "common/disk/data_owner.h"
#include "common/disk/snapshot_writer.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::disk;
using namespace millrace::unit;

namespace {

constexpr uint64_t kOwn = 0xabc, kOther = 0xdef;

void write_log(const Folder& folder, uint64_t instance, uint64_t after, uint64_t last) {
    LogWriter writer(folder.path(), {instance, 1 << 20, false});
    REQUIRE(writer.open_new(after, after > 0));
    for (uint64_t number = after + 1; number <= last; ++number) {
        add(writer, number, effects_of(number, 50));
        REQUIRE(writer.write());
    }
}

void write_snapshot(const Folder& folder, uint64_t instance, uint64_t start, uint64_t end) {
    SnapshotWriter writer(folder.path(), instance, start, false);
    REQUIRE(writer.begin());
    REQUIRE(writer.finish(end));
}

std::string judged(const Folder& folder, uint64_t number, uint64_t loaded) { return why_not_its_data(folder.path(), kOwn, number, loaded); }

}  // namespace

TEST_CASE("data owner: an empty folder, and files that go as far as the store or less") {
    const Folder folder;
    CHECK(judged(folder, 0, 0).empty());
    write_log(folder, kOwn, 0, 7);
    write_snapshot(folder, kOwn, 5, 7);
    for (const uint64_t number : {7, 8, 1000}) CHECK(judged(folder, number, 0).empty());
}

TEST_CASE("data owner: a log or a snapshot that goes further than the store") {
    const Folder with_log, with_snapshot;
    write_log(with_log, kOwn, 0, 3);
    write_log(with_log, kOwn, 3, 7);
    CHECK(contains(judged(with_log, 6, 6), "log-00000000000000000003 goes up to record 7, and the data in shared memory only to 6"));
    write_snapshot(with_snapshot, kOwn, 5, 7);
    CHECK(contains(judged(with_snapshot, 6, 6), "snapshot-00000000000000000005 goes up to record 7"));
}

TEST_CASE("data owner: another instance's files are what the store was loaded from, or strangers") {
    const Folder with_log, with_snapshot, with_both;
    write_log(with_log, kOther, 0, 7);
    write_snapshot(with_snapshot, kOther, 5, 7);
    write_snapshot(with_both, kOther, 5, 7);
    write_log(with_both, kOwn, 7, 20);
    for (const Folder* folder : {&with_log, &with_snapshot}) {
        CHECK(judged(*folder, 30, 7).empty());
        CHECK(contains(judged(*folder, 30, 6), "is of another instance (0000000000000def) than the data in shared memory (0000000000000abc)"));
        CHECK(contains(judged(*folder, 30, 0), "another instance"));
    }
    CHECK(judged(with_both, 30, 7).empty());
}

TEST_CASE("data owner: what is damaged counts as far as it is whole") {
    const Folder folder;
    write_log(folder, kOwn, 0, 7);
    const std::string path = log_path(folder.path(), 0);
    const std::vector<KnownFrame> frames = frames_of(path);
    overwrite(path, frames[frames.size() - 3].begin + 10, uint64_t{0x5555555555555555});  // of record 6
    CHECK(judged(folder, 5, 0).empty());
    CHECK(contains(judged(folder, 4, 0), "goes up to record 5"));
    overwrite(path, 0, uint64_t{0});
    CHECK(judged(folder, 0, 0).empty());
    write_log(folder, kOwn, 9, 9);
    CHECK(contains(judged(folder, 8, 0), "goes up to record 9"));
}
