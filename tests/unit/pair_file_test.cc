// The file of a strict pair (common/disk/pair_file.h): what is written is read, nothing is no file, and half a file is said.
#include "common/disk/pair_file.h"

#include <fstream>

#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;
using store::PairEpoch;

TEST_CASE("pair file: what is written is read") {
    const Folder folder;
    std::string fault;
    CHECK_FALSE(disk::read_pair(folder.path(), fault).has_value());
    disk::PairFile pair;
    pair.role = store::PairRole::fenced;
    pair.epoch = {3, 2, ~uint64_t{0}};
    pair.heard = 7;
    pair.void_epoch = {3, 1, 5};
    pair.void_cut = 1ull << 50;
    REQUIRE(disk::write_pair(folder.path(), pair));
    const auto found = disk::read_pair(folder.path(), fault);
    REQUIRE(found.has_value());
    CHECK(fault.empty());
    CHECK(found->role == pair.role);
    CHECK(found->epoch == pair.epoch);
    CHECK(found->heard == 7);
    CHECK(found->void_epoch == pair.void_epoch);
    CHECK(found->void_cut == pair.void_cut);
    CHECK(disk::remove_pair(folder.path()));
    CHECK_FALSE(disk::read_pair(folder.path(), fault).has_value());
}

TEST_CASE("pair file: one that ends early is no file without a record") {
    const Folder folder;
    REQUIRE(disk::write_pair(folder.path(), {}));
    std::ofstream(disk::pair_path(folder.path())) << "role primary\nepoch 1 0\n";
    std::string fault;
    disk::read_pair(folder.path(), fault);
    CHECK(contains(fault, "cannot be understood"));
}
