// Crash test of the store: operations run one instruction at a time, and after every instruction that changed the segment
// the question is asked what a crash right there would leave (judge.h), to md and to readers beside it (reader.h).
//
//     store_steps [--scenario NAME] [--list] [--budget-seconds N] [--first-failure]
//
// Nothing is random: two runs of one build see the same images. Needs x86-64 and the right to trace its own children.
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/check.h"
#include "common/clock.h"
#include "tests/crash/judge.h"

using namespace millrace;
using namespace millrace::crash;

namespace {

constexpr unsigned kScenarioSeconds = 120;  ///< a scenario that takes longer hangs

struct Options {
    std::string scenario;
    bool list = false;
    bool first_failure = false;  ///< ends after the first scenario that fails
    unsigned budget_seconds = 120;
};

/// What is being looked at, for the handler of signals.
char current[128];

/// Recovery that crashes or hangs on an image is a finding like others, only the last one.
void die_of(int number) {
    const char* what = number == SIGALRM ? " hangs\n" : " leads to a crash of the next md\n";
    for (const char* part : {"FAIL: an image of ", static_cast<const char*>(current), what})
        if (write(STDOUT_FILENO, part, std::strlen(part)) < 0) break;
    _exit(1);
}

void prepare(const Scenario& scenario, const Arena& arena) {
    md::Store::format(arena.live(), kHashSeed, scenario.oplog_bytes);
    md::Store store(arena.live());
    base(store);
    scenario.prepare(store);
    store.set_oplog_on(true);
    store.begin_checksum_walk();
    while (!store.walk_checksums(0)) {}
    store.keep_checksums();  // T10 is looked at with the rest of every image
}

/// What the store holds before and after each operation, from a run without steps.
std::vector<Contents> states_of(const Scenario& scenario, const Arena& arena) {
    md::Store store(arena.image());
    std::vector<Contents> states = {read_contents(store.memory())};
    for (const Operation& operation : scenario.operations) {
        operation(store);
        states.push_back(read_contents(store.memory()));
    }
    arena.forget();
    return states;
}

void run(const Scenario& scenario, Tally& tally) {
    std::snprintf(current, sizeof current, "%s", scenario.name.c_str());
    alarm(kScenarioSeconds);
    const uint64_t began = monotonic_us(), stores = tally.stores, checked = tally.checked;
    const Arena arena(scenario.pages);
    prepare(scenario, arena);
    Judge judge(scenario, arena, states_of(scenario, arena), tally);
    Stepper stepper(arena);
    const std::string trouble = stepper.run(
        [&] {
            md::Store store(arena.live());
            for (size_t i = 0; i < scenario.operations.size(); ++i) {
                tell_operation(static_cast<unsigned>(i));
                if (scenario.steps_all && i == 0) toggle_stepping();
                scenario.operations[i](store);
            }
            if (scenario.steps_all) toggle_stepping();
        },
        [&](const Change& change) { return judge.look(change); });
    tally.stores += stepper.stores();
    ++tally.scenarios;
    judge.end(trouble);
    std::printf("%-22s %7llu stores, %6llu images checked, %.2f s%s\n", scenario.name.c_str(),
                static_cast<unsigned long long>(tally.stores - stores), static_cast<unsigned long long>(tally.checked - checked),
                static_cast<double>(monotonic_us() - began) / 1e6, judge.failures() == 0 ? "" : "  FAILED");
}

Options options_from(int count, char** arguments) {
    Options options;
    for (int i = 1; i < count; ++i) {
        const std::string name = arguments[i];
        if (name == "--list") options.list = true;
        else if (name == "--first-failure") options.first_failure = true;
        else if (name == "--scenario" && i + 1 < count) options.scenario = arguments[++i];
        else if (name == "--budget-seconds" && i + 1 < count) options.budget_seconds = static_cast<unsigned>(std::atoi(arguments[++i]));
        else throw Error("usage: store_steps [--scenario NAME] [--list] [--budget-seconds N] [--first-failure]");
    }
    return options;
}

int run_all(const Options& options) {
    for (const int number : {SIGSEGV, SIGBUS, SIGABRT, SIGALRM}) signal(number, die_of);
    setvbuf(stdout, nullptr, _IOLBF, 0);
    Tally tally;
    unsigned left_out = 0;
    const uint64_t began = monotonic_us();
    for (const Scenario& scenario : all_scenarios()) {
        if (!options.scenario.empty() && scenario.name != options.scenario) continue;
        if (options.list) std::printf("%s\n", scenario.name.c_str());
        else if (monotonic_us() - began > uint64_t{options.budget_seconds} * 1'000'000) ++left_out;
        else run(scenario, tally);
        if (options.first_failure && tally.failures != 0) break;
    }
    if (options.list) return 0;
    if (tally.scenarios == 0) throw Error("there is no scenario " + options.scenario);
    const double seconds = static_cast<double>(monotonic_us() - began) / 1e6;
    const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
    if (left_out != 0) std::printf("%u scenarios left out: the time is over\n", left_out);
    std::printf("%s: %llu scenarios, %llu instructions that stored, %llu images, %llu checked, %llu of them recovered from a list, "
                "%llu crashes inside recovery, %llu finished by the next md, %llu answers to readers and %llu to direct readers, %llu failures, %.1f s\n",
                tally.failures == 0 ? "PASS" : "FAIL", number(tally.scenarios), number(tally.stores), number(tally.images),
                number(tally.checked), number(tally.redone), number(tally.nested), number(tally.finished), number(tally.answers), number(tally.direct_answers),
                number(tally.failures), seconds);
    return tally.failures == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
    try {
        return run_all(options_from(count, arguments));
    } catch (const Error& error) {
        std::fprintf(stderr, "store_steps: %s\n", error.what());
        return 2;
    }
}
