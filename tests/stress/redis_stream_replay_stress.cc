// Runs tests/fuzz/redis_stream_fuzz.cc for some seconds without libFuzzer; see tests/fuzz/replay.h.
#include "tests/fuzz/replay.h"

int main(int argc, char** argv) { return millrace::fuzz::replay(argc, argv); }
