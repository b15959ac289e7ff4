// Counter segments: they describe themselves, go on after a restart, and are read by a stranger without harm.
#include "common/counters.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/counter_reader.h"
#include "common/paths.h"
#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

constexpr uint64_t kInstance = 0xabc;

struct Instance {
    Instance() { std::filesystem::create_directories(paths::shm_folder(folder.path())); }

    std::string path(unsigned index = 0) const { return paths::counters(folder.path(), "md", index); }
    Counters<MdCounter> counters(unsigned index = 0, uint64_t instance = kInstance) const {
        return {path(index), "md", index, instance, 1};
    }
    std::vector<ProcessCounters> read() {
        problems.clear();
        return read_counters(folder.path(), problems);
    }
    /// The only process there is.
    ProcessCounters only() {
        const std::vector<ProcessCounters> all = read();
        REQUIRE(problems.empty());
        REQUIRE(all.size() == 1);
        return all[0];
    }
    /// Makes md's segment with one value of its payload overwritten.
    template <class Value>
    void damage(uint64_t payload_offset, const Value& value) const {
        counters();
        overwrite(path(), kSegmentPayload + payload_offset, value);
    }
    /// The one problem that reading finds, while nothing is read.
    std::string problem() {
        CHECK(read().empty());
        REQUIRE(problems.size() == 1);
        return problems[0];
    }

    Folder folder;
    std::vector<std::string> problems;
};

constexpr uint64_t descriptor_field(size_t field) { return sizeof(CounterPrologue) + field; }

}  // namespace

TEST_CASE("counters: a stranger reads every name, unit, kind and sentence") {
    Instance instance;
    instance.counters();
    const ProcessCounters process = instance.only();
    CHECK(process.role == "md");
    REQUIRE(process.samples.size() == kMdCounters.size());
    for (size_t i = 0; i < kMdCounters.size(); ++i) {
        CHECK(process.samples[i].name == kMdCounters[i].name);
        CHECK(process.samples[i].unit == kMdCounters[i].unit);
        CHECK(process.samples[i].help == kMdCounters[i].help);
        CHECK(process.samples[i].kind == kMdCounters[i].kind);
    }
}

TEST_CASE("counters: each word belongs to one counter") {
    Instance instance;
    Counters<MdCounter> counters = instance.counters();
    for (unsigned i = 0; i < kMdCounters.size(); ++i)
        if (kMdCounters[i].kind != CounterKind::histogram) counters.set(static_cast<MdCounter>(i), 1000 + i);
        else counters.record(static_cast<MdCounter>(i), 2000 + i);
    const ProcessCounters process = instance.only();
    for (unsigned i = 0; i < kMdCounters.size(); ++i) {
        CAPTURE(kMdCounters[i].name);
        const bool wide = kMdCounters[i].kind == CounterKind::histogram;
        CHECK(process.samples[i].value == (wide ? 1 : 1000 + i));
        if (wide) CHECK(process.samples[i].sum == 2000 + i);
    }
}

TEST_CASE("counters: names within a table are unique") {
    const auto unique = [](const auto& rows) {
        for (size_t i = 0; i < rows.size(); ++i)
            for (size_t j = 0; j < i; ++j) CHECK(std::string(rows[i].name) != rows[j].name);
    };
    unique(kMdCounters);
    unique(kIoCounters);
}

TEST_CASE("counters: what is added and recorded is read") {
    Instance instance;
    Counters<MdCounter> counters = instance.counters();
    counters.add(MdCounter::requests);
    counters.add(MdCounter::requests, 41);
    for (const uint64_t value : {10, 20, 30}) counters.record(MdCounter::batch, value);
    const ProcessCounters process = instance.only();
    CHECK(counters.get(MdCounter::requests) == 42);
    CHECK(process.value("requests") == 42);
    CHECK(process.value("batch") == 3);
    CHECK(process.value("no such counter") == 0);
}

TEST_CASE("counters: percentiles of a histogram never exceed its maximum") {
    Instance instance;
    Counters<MdCounter> counters = instance.counters();
    counters.record(MdCounter::batch, 1000);
    for (const CounterSample& sample : instance.only().samples) {
        if (sample.name != "batch") continue;
        CHECK(sample.max == 1000);
        CHECK(sample.percentile(0.99) == 1000);
    }
}

TEST_CASE("counters: a successor goes on counting, gauges begin anew") {
    Instance instance;
    {
        Counters<MdCounter> first = instance.counters();
        first.add(MdCounter::requests, 5);
        first.record(MdCounter::batch, 7);
        first.set(MdCounter::channels, 3);
    }
    Counters<MdCounter> second = instance.counters();
    second.add(MdCounter::requests);
    const ProcessCounters process = instance.only();
    CHECK(process.value("requests") == 6);
    CHECK(process.value("batch") == 1);
    CHECK(process.value("channels") == 0);
}

TEST_CASE("counters: another table or another instance begins from zero") {
    Instance instance;
    instance.counters().add(MdCounter::requests, 5);
    CHECK(instance.counters(0, kInstance + 1).get(MdCounter::requests) == 0);
    Counters<IoCounter>(instance.path(), "io_conn", 0, kInstance + 1, 1);
    CHECK(instance.only().role == "io_conn");
}

TEST_CASE("counters: after a damaged segment they begin from zero") {
    Instance instance;
    instance.counters().add(MdCounter::requests, 5);
    std::filesystem::resize_file(instance.path(), 100);
    CHECK(instance.counters().get(MdCounter::requests) == 0);
    CHECK(instance.only().value("requests") == 0);
}

TEST_CASE("reading counters: this process is up, one that ended is dead, its numbers stay") {
    Instance instance;
    instance.counters(0);
    const pid_t child = fork();
    if (child == 0) {
        instance.counters(1).add(MdCounter::requests, 9);
        _exit(0);
    }
    waitpid(child, nullptr, 0);
    const std::vector<ProcessCounters> processes = instance.read();
    REQUIRE(processes.size() == 2);
    CHECK(processes[0].state == ProcessState::up);
    CHECK(processes[0].pid == getpid());
    CHECK(processes[1].state == ProcessState::dead);
    CHECK(processes[1].value("requests") == 9);
}

TEST_CASE("reading counters: a process that stands still is stopped") {
    Instance instance;
    const pid_t child = fork();
    if (child == 0) {
        instance.counters();
        raise(SIGSTOP);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, WUNTRACED);
    CHECK(instance.only().state == ProcessState::stopped);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    CHECK(instance.only().state == ProcessState::dead);
}

TEST_CASE("reading counters: a pid that another process has got since is dead") {
    Instance instance;
    instance.damage(offsetof(CounterPrologue, process_start), uint64_t{1});
    CHECK(instance.only().state == ProcessState::dead);
}

TEST_CASE("reading counters: no folder, no processes, no problem") {
    std::vector<std::string> problems;
    CHECK(read_counters("/nonexistent", problems).empty());
    CHECK(problems.empty());
}

TEST_CASE("reading counters: md first, then by role and index; unfinished and other segments are not looked at") {
    Instance instance;
    Counters<IoCounter>(paths::counters(instance.folder.path(), "io_conn", 10), "io_conn", 10, kInstance, 1);
    Counters<IoCounter>(paths::counters(instance.folder.path(), "io_conn", 9), "io_conn", 9, kInstance, 1);
    instance.counters();
    for (const std::string name : {"run/shm/counters-md-1.new", "run/shm/rings-0"}) instance.folder.write(name, "rubbish");
    const std::vector<ProcessCounters> processes = instance.read();
    CHECK(instance.problems.empty());
    REQUIRE(processes.size() == 3);
    CHECK(processes[0].role == "md");
    CHECK(processes[1].index == 9);
    CHECK(processes[2].index == 10);
}

TEST_CASE("reading counters: a damaged segment is a problem and hides no other") {
    Instance instance;
    instance.counters(0);
    instance.folder.write("run/shm/counters-md-1", "rubbish");
    CHECK(instance.read().size() == 1);
    REQUIRE(instance.problems.size() == 1);
    CHECK(contains(instance.problems[0], "counters-md-1"));
}

TEST_CASE("reading counters: a table longer than the segment is refused") {
    for (const uint32_t count : {1000u, 4096u, 4097u, 0x7fffffffu, 0xffffffffu}) {
        CAPTURE(count);
        Instance instance;
        instance.damage(offsetof(CounterPrologue, count), count);
        CHECK(contains(instance.problem(), "is damaged"));
    }
}

TEST_CASE("reading counters: a value outside of the segment is refused") {
    const uint64_t size = std::filesystem::file_size([] {
        static Instance instance;
        instance.counters();
        return instance.path();
    }());
    for (const uint64_t offset : {size, size - kSegmentPayload, uint64_t{1}, ~uint64_t{7}, uint64_t{1} << 63}) {
        CAPTURE(offset);
        Instance instance;
        instance.damage(descriptor_field(offsetof(CounterDescriptor, offset)), offset);
        CHECK(contains(instance.problem(), "lies outside"));
    }
}

TEST_CASE("reading counters: a histogram that begins at the end of the segment is refused") {
    Instance instance;
    instance.counters();
    const uint64_t room = std::filesystem::file_size(instance.path()) - kSegmentPayload;
    instance.damage(descriptor_field(offsetof(CounterDescriptor, kind)), CounterKind::histogram);
    overwrite(instance.path(), kSegmentPayload + descriptor_field(offsetof(CounterDescriptor, offset)), room - 8);
    CHECK(contains(instance.problem(), "lies outside"));
}

TEST_CASE("reading counters: texts without an end and kinds unknown do no harm") {
    Instance instance;
    instance.damage(descriptor_field(offsetof(CounterDescriptor, kind)), uint32_t{77});
    const std::string name(sizeof(CounterDescriptor::name), 'n');
    std::array<char, sizeof(CounterDescriptor::name)> field;
    std::copy(name.begin(), name.end(), field.begin());
    overwrite(instance.path(), kSegmentPayload + descriptor_field(0), field);
    CHECK(instance.only().samples[0].name == name);
}

/// Takes single pages that nobody may touch until the next mapping comes to lie right before one of them.
void forbid_neighbours() {
    for (int page = 0; page < 2000; ++page) mmap(nullptr, kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

TEST_CASE("reading counters: a segment without room for the prologue is refused") {
    Instance instance;
    Segment::create({instance.path(), kCountersLayout, kInstance, 1, kSegmentPayload}).publish();
    CHECK(survives([&] {
        forbid_neighbours();
        instance.read();
    }));
}
