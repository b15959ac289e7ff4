// What daemons note about commands: buckets, counts over a restart, the slow log's slots, latency series.
#include "common/diagnostics.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "common/paths.h"
#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

constexpr uint64_t kInstance = 0xabc;

struct Fixture {
    Folder folder;
    std::unique_ptr<Roster> roster = std::make_unique<Roster>();
    std::string dir = folder.file("");

    Fixture() { std::filesystem::create_directories(paths::shm_folder(dir)); }
    Diagnostics open(const char* role = "md", unsigned index = 0) { return {paths::diagnostics(dir, role, index), kInstance, 1, *roster}; }
    std::vector<SlowCommand> slow(uint64_t limit = ~uint64_t{0}) const { return slow_commands(dir, kInstance, *roster, limit); }
    uint64_t calls(CommandId id) const {
        uint64_t sum = 0;
        for_each_diagnostics(dir, kInstance, [&](const DiagnosticsHead& head) { sum += head.commands[static_cast<unsigned>(id)].calls; });
        return sum;
    }
};

SlowCommand command_of(const std::string& word, uint64_t us = 5) {
    SlowCommand command;
    command.duration_us = us;
    command.address = "1.2.3.4:5";
    command.name = "somebody";
    command.arguments = {"get", word};
    return command;
}

}  // namespace

TEST_CASE("diagnostics: a duration's bucket holds it and the one before does not") {
    for (const uint64_t ns : {0ull, 1ull, 1023ull, 1024ull, 1025ull, 2048ull, 2049ull, 1'000'000ull, 1'000'000'000ull}) {
        const unsigned bucket = duration_bucket(ns);
        CHECK(ns <= duration_bucket_ns(bucket));
        if (bucket > 0) CHECK(ns > duration_bucket_ns(bucket - 1));
    }
    CHECK(duration_bucket(~uint64_t{0}) == kDurationBuckets - 1);
}

TEST_CASE("diagnostics: counts go on with a successor and are those of all processes together") {
    Fixture fixture;
    {
        Diagnostics first = fixture.open();
        first.record(CommandId::get, 3000, 1, true);
        first.record(CommandId::get, 30'000, 10, true);
    }
    Diagnostics successor = fixture.open();
    successor.record(CommandId::get, 1, 1, false);
    fixture.open("io_conn", 3).record(CommandId::get, 1, 5, true);
    CHECK(fixture.calls(CommandId::get) == 17);
    CHECK(fixture.calls(CommandId::set) == 0);
}

TEST_CASE("diagnostics: a reset is carried out once, also by a successor that has not seen it") {
    Fixture fixture;
    Diagnostics notes = fixture.open();
    notes.record(CommandId::get, 1, 1, true);
    CHECK(!notes.follow_resets(0));
    CHECK(fixture.calls(CommandId::get) == 1);
    Diagnostics successor = fixture.open();
    CHECK(successor.follow_resets(1));
    CHECK(fixture.calls(CommandId::get) == 0);
    successor.record(CommandId::get, 1, 1, true);
    CHECK(!successor.follow_resets(1));
    CHECK(fixture.calls(CommandId::get) == 1);
}

TEST_CASE("diagnostics: errors are counted by their first word, and more kinds than there is room for in the last one") {
    Fixture fixture;
    Diagnostics notes = fixture.open();
    for (int i = 0; i < 3; ++i) notes.count_error("ERR syntax error");
    notes.count_error("WRONGTYPE");
    for (unsigned i = 0; i < 100; ++i) notes.count_error("CODE" + std::to_string(i) + " text");
    notes.count_error(std::string(1000, 'x'));
    uint64_t total = 0, first = 0;
    for_each_diagnostics(fixture.dir, kInstance, [&](const DiagnosticsHead& head) {
        first = head.errors[0].count;
        for (const ErrorRecord& record : head.errors) total += record.count;
    });
    CHECK(first == 3);
    CHECK(total == 105);
}

TEST_CASE("slow log: the newest come first, over all processes, and those before a reset not at all") {
    Fixture fixture;
    Diagnostics one = fixture.open("md", 0), other = fixture.open("io_conn", 1);
    for (int i = 0; i < 10; ++i) (i % 2 == 0 ? one : other).note_slow(command_of(std::to_string(i)));
    REQUIRE(fixture.slow().size() == 10);
    for (unsigned i = 0; i < 10; ++i) CHECK(fixture.slow()[i].arguments[1] == std::to_string(9 - i));
    CHECK(fixture.slow(3).size() == 3);
    CHECK(fixture.slow()[0].address == "1.2.3.4:5");
    CHECK(fixture.slow()[0].name == "somebody");
    fixture.roster->slow_forgotten = fixture.roster->slow_commands.load();
    CHECK(fixture.slow().empty());
    one.note_slow(command_of("after"));
    REQUIRE(fixture.slow().size() == 1);
    CHECK(fixture.slow()[0].number == 10);
}

TEST_CASE("diagnostics: each process counts once, while an md takes its predecessor's file over") {
    Fixture fixture;
    Diagnostics md = fixture.open();
    for (int i = 0; i < 10; ++i) md.note_slow(command_of(std::to_string(i)));
    std::atomic<bool> over = false;
    std::jthread mover([&] {
        for (unsigned at = 0; !over; at = 1 - at) {
            std::filesystem::rename(paths::diagnostics(fixture.dir, "md", at), paths::diagnostics(fixture.dir, "md", 1 - at));
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
    });
    size_t wrong = 0;
    for (int i = 0; i < 3000; ++i) wrong += fixture.slow().size() != 10;
    over = true;
    CHECK(wrong == 0);
}

TEST_CASE("slow log: a process keeps a bounded number, and its successor goes on") {
    Fixture fixture;
    for (unsigned round = 0; round < 2; ++round) {
        Diagnostics notes = fixture.open();
        for (unsigned i = 0; i < kSlowSlots; ++i) notes.note_slow(command_of(std::to_string(i)));
    }
    CHECK(fixture.slow().size() == kSlowSlots);
    CHECK(fixture.slow()[0].number == 2 * kSlowSlots - 1);
    CHECK(fixture.slow().back().number == kSlowSlots);
}

TEST_CASE("slow log: long and many arguments are cut and fit") {
    std::vector<std::string> texts(100, std::string(1000, 'x'));
    const std::vector<std::string_view> words(texts.begin(), texts.end());
    const std::vector<std::string> shown = slow_words(words);
    REQUIRE(shown.size() == SlowCommand::kArgumentsMax);
    CHECK(shown[0] == std::string(128, 'x') + "... (872 more bytes)");
    CHECK(shown.back() == "... (69 more arguments)");
    CHECK(slow_words(std::span(words).first(32)).back().starts_with("xxx"));
    Fixture fixture;
    SlowCommand command = command_of("");
    command.arguments = shown;
    command.address = command.name = std::string(500, 'y');
    fixture.open().note_slow(command);
    REQUIRE(fixture.slow().size() == 1);
    CHECK(fixture.slow()[0].arguments == shown);
}

TEST_CASE("slow log: passwords are left out, and nothing else") {
    const auto shown = [](std::vector<std::string_view> words) { return slow_words(words); };
    using Words = std::vector<std::string>;
    CHECK(shown({"auth", "secret"}) == Words{"auth", "(redacted)"});
    CHECK(shown({"AUTH", "user", "secret"}) == Words{"AUTH", "(redacted)", "(redacted)"});
    CHECK(shown({"HELLO", "3", "AUTH", "user", "secret", "SETNAME", "me"}) == Words{"HELLO", "3", "AUTH", "(redacted)", "(redacted)", "SETNAME", "me"});
    CHECK(shown({"hello", "3", "setname", "auth"}) == Words{"hello", "3", "setname", "auth"});
    CHECK(shown({"config", "set", "timeout", "1", "requirepass", "secret", "port", "2"}) == Words{"config", "set", "timeout", "1", "requirepass", "(redacted)", "port", "2"});
    CHECK(shown({"config", "get", "requirepass", "x"}) == Words{"config", "get", "requirepass", "x"});
    CHECK(shown({"set", "auth", "value"}) == Words{"set", "auth", "value"});
}

TEST_CASE("slow log: what another process writes all the time is never read torn, nor what a killed one left") {
    Fixture fixture;
    const pid_t writer = fork();
    if (writer == 0) {
        Diagnostics notes = fixture.open();
        for (uint64_t i = 0;; ++i) {
            SlowCommand command = command_of(std::to_string(i), i);
            command.arguments.resize(20, std::to_string(i));
            notes.note_slow(command);
        }
    }
    unsigned read = 0, torn = 0;
    for (unsigned round = 0; round < 300 && read < 20'000; ++round) {
        for (const SlowCommand& command : fixture.slow()) {
            ++read;
            for (size_t i = 1; i < command.arguments.size(); ++i) torn += command.arguments[i] != std::to_string(command.duration_us);
        }
        if (read == 0) usleep(1000);
    }
    kill(writer, SIGKILL);
    waitpid(writer, nullptr, 0);
    CHECK(read >= 1000);
    CHECK(torn == 0);
    Diagnostics successor = fixture.open();
    for (unsigned i = 0; i < kSlowSlots; ++i) successor.note_slow(command_of("whole"));
    CHECK(fixture.slow().size() >= kSlowSlots - 1);
}

TEST_CASE("latency: one sample a second, the highest of it, and a reset forgets the highest") {
    Fixture fixture;
    Diagnostics notes = fixture.open();
    notes.note_latency(LatencyEvent::command, 100, 5);
    notes.note_latency(LatencyEvent::command, 100, 9);
    notes.note_latency(LatencyEvent::command, 100, 7);
    notes.note_latency(LatencyEvent::command, 101, 2);
    const auto series = [&](const std::function<void(const LatencySeries&)>& look) {
        for_each_diagnostics(fixture.dir, kInstance, [&](const DiagnosticsHead& head) { look(head.latency[static_cast<unsigned>(LatencyEvent::command)]); });
    };
    series([](const LatencySeries& found) {
        CHECK(found.written == 2);
        CHECK(found.samples[0].value == (100ull << 32 | 9));
        CHECK(found.highest_ms == 9);
    });
    fixture.roster->latency_forgotten[static_cast<unsigned>(LatencyEvent::command)] = fixture.roster->latency_samples.load();
    notes.note_latency(LatencyEvent::command, 101, 1);
    series([](const LatencySeries& found) {
        CHECK(found.written == 3);
        CHECK(found.highest_ms == 1);
    });
}

TEST_CASE("ticks: their scale is that of the system's clock") {
    TickScale scale;
    const uint64_t began_us = monotonic_us(), began = ticks();
    usleep(50'000);
    scale.adjust();
    const uint64_t took_us = monotonic_us() - began_us, measured_us = scale.nanoseconds(ticks() - began) / 1000;
    CHECK(measured_us > took_us * 9 / 10);
    CHECK(measured_us < took_us * 11 / 10 + 100);
    CHECK(scale.nanoseconds(scale.ticks_of(1'000'000)) > 990'000);
    CHECK(scale.ticks_of(~uint64_t{0}) > 0);
}

TEST_CASE("meter: brief commands of one kind share their time, and every one is counted") {
    Fixture fixture;
    Diagnostics notes = fixture.open();
    CommandMeter meter;
    meter.set_limits(10'000, 0, true);
    CHECK(meter.lets_share());
    meter.start();
    for (unsigned i = 0; i < 40; ++i) meter.end_brief(notes, CommandId::set, i == 7);
    for (unsigned i = 0; i < 3; ++i) meter.end_brief(notes, CommandId::incr, false);
    meter.end_shared(notes);
    CHECK(!meter.end_shared(notes));
    CHECK(fixture.calls(CommandId::set) == 40);
    CHECK(fixture.calls(CommandId::incr) == 3);
    for_each_diagnostics(fixture.dir, kInstance, [](const DiagnosticsHead& head) { CHECK(head.commands[static_cast<unsigned>(CommandId::set)].failed == 1); });
    meter.end_brief(notes, CommandId::set, false);
    usleep(15'000);
    CHECK(meter.end_shared(notes));  // one of them was slow
    for (const int64_t slower_than_us : {0, 1000}) {
        meter.set_limits(slower_than_us, 0, true);
        CHECK(!meter.lets_share());
    }
    meter.set_limits(-1, 1, true);
    CHECK(!meter.lets_share());
}
