// The main program of the unit tests: doctest's own. Tests are in <subject>_test.cc beside this file.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
