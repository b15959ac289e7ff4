// Runs a fuzz target without libFuzzer: for some seconds on seeded random inputs and on mutations of its valid inputs, or on
// the files named on the command line. Used by tests/stress/*_replay_stress.cc, so that `make test` exercises every target.
//
//     PROGRAM [--seconds N] [--seed N]     the last line is PASS or FAIL; a crash prints the seed that leads to it
//     PROGRAM --write FOLDER               writes the valid inputs, as a first corpus
//     PROGRAM FILE...                      runs these inputs
#pragma once

#include <csignal>
#include <cinttypes>
#include <fstream>
#include <iterator>

#include "common/clock.h"
#include "tests/fuzz/target.h"
#include "tests/stress/stage.h"

namespace millrace::fuzz {

constexpr size_t kRandomBytesMax = 512;
constexpr uint64_t kPatienceS = 20;  ///< for one input

inline void run_input(const std::string& input) {
    alarm(kPatienceS);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

inline std::string random_bytes(stress::Random& random) {
    std::string bytes(random.below(kRandomBytesMax), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random.next() >> 56);
    return bytes;
}

/// Changes, cuts, repeats or inserts a few bytes.
inline void mutate(std::string& input, stress::Random& random) {
    for (uint64_t changes = 1 + random.below(4); changes > 0; --changes) {
        const size_t at = random.below(input.size() + 1), length = random.below(16);
        switch (random.below(4)) {
            case 0:
                if (at < input.size()) input[at] = static_cast<char>(random.next() >> 56);
                break;
            case 1: input.erase(at, length); break;
            case 2: input.insert(random.below(input.size() + 1), input.substr(at, 4 * length)); break;
            default: input.insert(at, random_bytes(random).substr(0, length)); break;
        }
    }
}

/// The input of one seed: the same again for the same seed.
inline std::string input_of(uint64_t seed, const std::vector<std::string>& valid) {
    stress::Random random(seed);
    if (random.below(4) == 0) return random_bytes(random);
    std::string input = valid[random.below(valid.size())];
    if (random.below(3) == 0) input += valid[random.below(valid.size())];
    mutate(input, random);
    return input;
}

inline void write_inputs(const std::string& folder) {
    std::filesystem::create_directories(folder);
    unsigned number = 0;
    for (const std::string& input : valid_inputs())
        std::ofstream(folder + "/valid-" + std::to_string(number++), std::ios::binary) << input;
}

inline uint64_t current_seed = 0;  ///< of the input that is being run

inline void on_crash(int signal_number) {
    char text[80];
    const int length = std::snprintf(text, sizeof text, "\nFAIL: signal %d in --seconds 0 --seed %" PRIu64 "\n", signal_number, current_seed);
    [[maybe_unused]] const ssize_t written = write(1, text, static_cast<size_t>(length));
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

inline int replay_random(uint64_t seed, uint64_t seconds) {
    const std::vector<std::string> valid = valid_inputs();
    current_seed = seed;
    for (const std::string& input : valid) run_input(input);
    const uint64_t until_us = monotonic_us() + seconds * 1'000'000;
    do run_input(input_of(current_seed, valid));
    while (++current_seed, monotonic_us() < until_us);
    std::printf("PASS: %zu valid inputs, %" PRIu64 " from seed %" PRIu64 " on\n", valid.size(), current_seed - seed, seed);
    return 0;
}

inline int replay(int argc, char** argv) {
    const std::string folder = stress::option(argc, argv, "--write", "");
    if (!folder.empty()) return write_inputs(folder), 0;
    for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) signal(number, on_crash);
    if (argc < 2 || argv[1][0] == '-')
        return replay_random(stress::number_option(argc, argv, "--seed", stress::fresh_seed()),
                             stress::number_option(argc, argv, "--seconds", 5));
    for (int i = 1; i < argc; ++i) {
        std::ifstream file(argv[i], std::ios::binary);
        run_input(std::string(std::istreambuf_iterator<char>(file), {}));
    }
    std::printf("PASS: %d inputs\n", argc - 1);
    return 0;
}

}  // namespace millrace::fuzz
