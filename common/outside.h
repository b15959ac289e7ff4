// Headers from outside of the tree that most files include, compiled once for all of them (Makefile: PREPARED). A file includes what it uses all the
// same: sanitizer builds and fuzz targets are compiled without this.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <boost/interprocess/mapped_region.hpp>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>
