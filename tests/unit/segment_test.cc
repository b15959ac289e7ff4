// Segments: made, published, attached, grown; and every kind of damage refused with the sentence that names it.
#include "common/segment.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include <functional>

#include "common/version.h"
#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

constexpr uint64_t kLayout = layout_hash("unit", {1});
constexpr uint64_t kPages = 5;

struct SegmentFile {
    Folder folder;
    SegmentSpec spec{folder.file("segment"), kLayout, 0x1111, 7, kPages * kPageSize, 0};

    Segment made() {
        Segment segment = Segment::create(spec);
        *segment.payload<uint64_t>() = 42;
        segment.publish();
        return segment;
    }
    std::string refusal() const {
        return error_of([&] { Segment::attach(spec, Access::read_only); });
    }
};

/// A tmpfs of 64 KiB. Where that is not allowed, its tests are skipped: doctest's summary counts them.
struct TinyFileSystem {
    Folder folder;
    bool mounted = mount("none", folder.path().c_str(), "tmpfs", 0, "size=64k") == 0;
    ~TinyFileSystem() {
        if (mounted) umount2(folder.path().c_str(), MNT_DETACH);
    }
};

}  // namespace

TEST_CASE("segment: what was published is attached with its payload and header") {
    SegmentFile file;
    file.made();
    const Segment segment = Segment::attach(file.spec, Access::read_only);
    CHECK(*segment.payload<uint64_t>() == 42);
    CHECK(segment.header().generation == 7);
    CHECK(segment.size() == kPages * kPageSize);
    CHECK(segment.grown() == kPages * kPageSize);
}

TEST_CASE("segment S3: it has no name before it is published") {
    SegmentFile file;
    Segment segment = Segment::create(file.spec);
    CHECK(contains(file.refusal(), "No such file"));
    segment.publish();
    CHECK(file.refusal() == "");
    CHECK_FALSE(std::filesystem::exists(file.spec.path + ".new"));
}

TEST_CASE("segment: a new one under the same name leaves the attached old one unharmed") {
    SegmentFile file;
    file.made();
    const Segment old = Segment::attach(file.spec, Access::read_only);
    Segment fresh = Segment::create(file.spec);
    *fresh.payload<uint64_t>() = 43;
    fresh.publish();
    CHECK(*old.payload<uint64_t>() == 42);
    CHECK(*Segment::attach(file.spec, Access::read_only).payload<uint64_t>() == 43);
}

TEST_CASE("segment: what a dead creator left unfinished is replaced") {
    SegmentFile file;
    file.folder.write("segment.new", "rubbish");
    file.made();
    CHECK(file.refusal() == "");
}

TEST_CASE("segment: only its owner may open it") {
    SegmentFile file;
    file.made();
    struct stat info {};
    REQUIRE(stat(file.spec.path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("segment S2: every damaged field of the header is refused by its own sentence") {
    struct Damage {
        std::string_view what;
        std::function<void(SegmentHeader&)> inflict;
        const char* sentence;
    };
    const Damage damages[] = {
        {"magic", [](auto& h) { h.magic ^= 1; }, "not a millrace segment"},
        {"ready", [](auto& h) { h.ready = 0; }, "never finished"},
        {"layout", [](auto& h) { h.layout_hash ^= 1; }, "another layout"},
        {"size larger", [](auto& h) { h.size += kPageSize; }, "its header says"},
        {"size smaller", [](auto& h) { h.size -= kPageSize; }, "its header says"},
        {"grown too far", [](auto& h) { h.grown = kPages * kPageSize + 1; }, "growth mark is out of range"},
        {"grown to nothing", [](auto& h) { h.grown = kSegmentPayload - 1; }, "growth mark is out of range"},
        {"instance", [](auto& h) { h.instance = 0x2222; }, "belongs to instance 0000000000002222, not to 0000000000001111"},
    };
    for (const Damage& damage : damages) {
        CAPTURE(damage.what);
        SegmentFile file;
        damage.inflict(file.made().header());
        CHECK(contains(file.refusal(), damage.sentence));
        CHECK(contains(file.refusal(), file.spec.path));
    }
}

TEST_CASE("segment S2: another layout is refused by a sentence that names both builds") {
    SegmentFile file;
    file.made();
    std::string build = "9.9.9-strange";
    build.resize(sizeof(SegmentHeader::build));
    std::memcpy(file.made().header().build, build.data(), build.size());
    file.spec.layout_hash ^= 1;
    CHECK(contains(file.refusal(), "build 9.9.9-strange "));
    CHECK(contains(file.refusal(), std::string("this build ") + kVersion));
}

TEST_CASE("segment S2: a build name without an end is read no further than its field") {
    SegmentFile file;
    std::memset(file.made().header().build, 'b', sizeof(SegmentHeader::build));
    file.spec.layout_hash ^= 1;
    CHECK(contains(file.refusal(), "build " + std::string(sizeof(SegmentHeader::build), 'b') + " with"));
}

TEST_CASE("segment S2: a truncated or stretched file is refused") {
    for (const uint64_t length : {uint64_t{0}, uint64_t{1}, uint64_t{95}, kPageSize - 1, kPageSize, kPageSize + 1,
                                  (kPages - 1) * kPageSize, kPages * kPageSize - 1, (kPages + 1) * kPageSize}) {
        CAPTURE(length);
        SegmentFile file;
        file.made();
        std::filesystem::resize_file(file.spec.path, length);
        CHECK(contains(file.refusal(), "is refused"));
    }
}

TEST_CASE("segment: instance 0 accepts any instance") {
    SegmentFile file;
    file.made();
    file.spec.instance = 0;
    CHECK(file.refusal() == "");
}

TEST_CASE("segment: a folder in its place is refused") {
    SegmentFile file;
    std::filesystem::create_directory(file.spec.path);
    CHECK(file.refusal() != "");
}

TEST_CASE("segment: a missing folder is an error that names the file") {
    SegmentFile file;
    file.spec.path = file.folder.file("absent/segment");
    const std::string sentence = error_of([&] { Segment::create(file.spec); });
    CHECK(contains(sentence, file.spec.path));
    CHECK(contains(sentence, "No such file"));
}

TEST_CASE("segment S1: it grows in pages, keeps its content, and never beyond its size") {
    SegmentFile file;
    file.spec.grown = 2 * kPageSize;
    Segment segment = file.made();
    CHECK(segment.grown() == 2 * kPageSize);
    CHECK(segment.grow(2 * kPageSize + 1));
    CHECK(segment.grown() == 3 * kPageSize);
    CHECK(segment.grow(kPageSize));  // smaller: nothing to do
    CHECK(segment.grown() == 3 * kPageSize);
    CHECK_FALSE(segment.grow(kPages * kPageSize + 1));
    CHECK(segment.grow(kPages * kPageSize));
    CHECK(*segment.payload<uint64_t>() == 42);
    CHECK(Segment::attach(file.spec, Access::read_only).grown() == kPages * kPageSize);
}

TEST_CASE("segment S1: a mark beyond the mapping that comes later is not believed") {
    SegmentFile file;
    Segment writer = file.made();
    const Segment reader = Segment::attach(file.spec, Access::read_only);
    writer.header().grown = ~0ull;
    CHECK(reader.grown() == kPages * kPageSize);
}

TEST_CASE("segment S1: a full file system is an error with a cure, and nothing is left" *
          doctest::skip(!TinyFileSystem().mounted)) {
    TinyFileSystem tiny;
    const SegmentSpec spec{tiny.folder.file("large"), kLayout, 1, 1, 1024 * 1024, 0};
    const std::string sentence = error_of([&] { Segment::create(spec); });
    CHECK(contains(sentence, "the file system is full"));
    CHECK(contains(sentence, "ring-size"));
    CHECK(std::filesystem::is_empty(tiny.folder.path()));
}

TEST_CASE("segment S1: growing on a full file system fails and moves no mark" *
          doctest::skip(!TinyFileSystem().mounted)) {
    TinyFileSystem tiny;
    Segment segment = Segment::create({tiny.folder.file("sparse"), kLayout, 1, 1, 1024 * 1024, 2 * kPageSize});
    segment.publish();
    CHECK_FALSE(segment.grow(512 * 1024));
    CHECK(segment.grown() == 2 * kPageSize);
    CHECK(segment.grow(4 * kPageSize));
}

TEST_CASE("mirror map: both halves are the same bytes") {
    Folder folder;
    std::filesystem::resize_file(folder.write("data", ""), 3 * kPageSize);
    const MirrorMap map(folder.file("data"), kPageSize, 2 * kPageSize);
    std::memcpy(map.data() + 2 * kPageSize - 3, "across", 6);
    CHECK(std::memcmp(map.data(), "oss", 3) == 0);
    CHECK(std::memcmp(map.data() + 4 * kPageSize - 3, "acr", 3) == 0);
}
