// Rows about connections in shared memory: written, read by another process, grown, and read while they change.
#include "common/client_rows.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "common/clock.h"
#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

constexpr uint64_t kInstance = 0xabc, kRows = 10'000;

ClientInfo info_of(uint64_t id) {
    ClientInfo info;
    info.id = id;
    info.connected_at_s = id;
    info.fd = static_cast<int32_t>(id);
    std::snprintf(info.name, sizeof info.name, "client-%llu", static_cast<unsigned long long>(id));
    return info;
}

struct Fixture {
    Folder folder;
    std::string path = folder.file("clients-0");
    ClientRows rows{path, kInstance, 1, kRows};

    std::vector<uint64_t> ids(uint64_t instance = kInstance) const {
        std::vector<uint64_t> result;
        for_each_client(path, instance, [&](const ClientInfo& info, const ClientRow&) { result.push_back(info.id); });
        return result;
    }
};

}  // namespace

TEST_CASE("client rows: what was written is read, free slots are not") {
    Fixture fixture;
    fixture.rows.write(3, info_of(7));
    fixture.rows.write(5, info_of(8));
    fixture.rows.row(5).activity = 12;
    CHECK(fixture.ids() == std::vector<uint64_t>{7, 8});
    CHECK(std::string(read_row(fixture.rows.row(3))->name) == "client-7");
    fixture.rows.clear(3);
    CHECK(fixture.ids() == std::vector<uint64_t>{8});
    CHECK_FALSE(read_row(fixture.rows.row(3)));
}

TEST_CASE("client rows: they grow to the last slot and no further") {
    Fixture fixture;
    REQUIRE(fixture.rows.grow_to(kRows - 1));
    fixture.rows.write(kRows - 1, info_of(9));
    CHECK(fixture.ids() == std::vector<uint64_t>{9});
    CHECK_FALSE(fixture.rows.grow_to(kRows + 1000));
    CHECK_FALSE(fixture.rows.grow_to(~0u));
}

TEST_CASE("client rows: a row in the middle of a change is left out") {
    Fixture fixture;
    fixture.rows.write(0, info_of(7));
    fixture.rows.row(0).version += 1;  // as a writer leaves it that dies half-way
    CHECK(fixture.ids().empty());
    fixture.rows.row(0).version += 1;
    CHECK(fixture.ids().size() == 1);
}

TEST_CASE("client rows: texts without an end are ended") {
    Fixture fixture;
    ClientInfo info = info_of(7);
    std::memset(info.name, 'n', sizeof info.name);
    std::memset(info.library, 'l', sizeof info.library);
    fixture.rows.write(0, info);
    CHECK(std::strlen(read_row(fixture.rows.row(0))->name) == ClientInfo::kNameBytes - 1);
    CHECK(std::strlen(read_row(fixture.rows.row(0))->library) == ClientInfo::kLibraryBytes - 1);
}

TEST_CASE("client rows: addresses as people write them") {
    CHECK(ClientAddress{}.text().empty());
    CHECK(ClientAddress{4, 0, 5000, {127, 0, 0, 1}}.text() == "127.0.0.1:5000");
    CHECK(ClientAddress{6, 0, 65535, {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}.text() == "[fe80::1]:65535");
    CHECK(ClientAddress{99, 0, 1, {}}.text() == "[::]:1");  // whatever a faulty io_conn has written
}

TEST_CASE("client rows: another instance's, a missing and a damaged segment are errors") {
    Fixture fixture;
    CHECK(contains(error_of([&] { fixture.ids(kInstance + 1); }), "belongs to instance"));
    CHECK(error_of([&] { fixture.ids(); }) == "");
    std::filesystem::resize_file(fixture.path, 100);
    CHECK(error_of([&] { fixture.ids(); }) != "");
    std::filesystem::remove(fixture.path);
    CHECK(contains(error_of([&] { fixture.ids(); }), "No such file"));
}

TEST_CASE("client rows: a row that another process writes all the time is never read torn") {
    Fixture fixture;
    const pid_t writer = fork();
    if (writer == 0) {
        for (uint64_t id = 1;; ++id) fixture.rows.write(0, info_of(id));
    }
    unsigned read = 0, torn = 0;
    const uint64_t patience_us = monotonic_us() + 10'000'000;
    while (read < 20'000 && monotonic_us() < patience_us) {
        const std::optional<ClientInfo> info = read_row(fixture.rows.row(0));
        if (!info) continue;
        ++read;
        torn += info->connected_at_s != info->id || std::string(info->name) != "client-" + std::to_string(info->id);
    }
    kill(writer, SIGKILL);
    waitpid(writer, nullptr, 0);
    CHECK(read == 20'000);
    CHECK(torn == 0);
}
