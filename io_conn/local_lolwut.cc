// LOLWUT: a small drawing. Runs in io_conn; see local.h.
#include <fmt/format.h>

#include <cmath>
#include <ctime>
#include <numbers>
#include <string>

#include "common/text.h"
#include "common/version.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

namespace {

constexpr int kRadius = 7;    ///< of the wheel, lines
constexpr int kSpokes = 6;
constexpr double kTurnsPerSecond = 1.0 / 60;

/// A mill wheel, turned by an angle, above the water that drives it. A character is twice as high as it is wide.
std::string draw_wheel(double angle) {
    std::string picture;
    for (int y = -kRadius; y <= kRadius; ++y) {
        std::string line;
        for (int x = -2 * kRadius - 8; x <= 2 * kRadius + 8; ++x) {
            const double across = x / 2.0, radius = std::hypot(across, y);
            const double turn = (std::atan2(y, across) - angle) * kSpokes / (2 * std::numbers::pi);
            const double beside_spoke = std::abs(turn - std::round(turn)) * 2 * std::numbers::pi * radius / kSpokes;
            const bool water = y >= kRadius - 1;
            if (radius < 1) line += 'O';
            else if (radius > kRadius - 1 && radius < kRadius + 0.3) line += beside_spoke < 0.8 ? '#' : '*';
            else if (radius < kRadius && beside_spoke < 0.35) line += '+';
            else line += water ? '~' : ' ';
        }
        picture += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
    }
    return picture;
}

}  // namespace

/// The version that is asked for makes no difference.
void local_lolwut(const LocalCall& call) {
    int64_t version;
    if (call.words.size() >= 3 && equals_ignoring_case(call.words[1], "VERSION") && !parse_integer(call.words[2], version))
        return call.out.error("ERR value is not an integer or out of range");
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const double seconds = static_cast<double>(now.tv_sec % 60) + static_cast<double>(now.tv_nsec) / 1e9;
    call.out.verbatim(fmt::format("{}\nmillrace ver. {}\n", draw_wheel(seconds * kTurnsPerSecond * 2 * std::numbers::pi), kVersion));
}

}  // namespace millrace::io_conn
