// See live.h. Runs in viewstats.
#include "tools/viewstats/live.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <utility>

#include "common/check.h"
#include "common/clock.h"
#include "tools/viewstats/columns.h"
#include "tools/viewstats/format.h"
#include "tools/viewstats/terminal.h"

namespace millrace::viewstats {

namespace {

/// The time until the next look at the group, in steps of the interval from the first one.
class Pace {
  public:
    explicit Pace(int interval_ms) : interval_us_(uint64_t{1000} * interval_ms), next_us_(monotonic_us() + interval_us_) {}

    bool is_due() {
        const uint64_t now = monotonic_us();
        if (now < next_us_) return false;
        next_us_ = std::max(next_us_ + interval_us_, now);  // missed looks are not made up for
        return true;
    }
    int left_ms() const {
        const uint64_t now = monotonic_us();
        return now >= next_us_ ? 0 : static_cast<int>((next_us_ - now + 999) / 1000);
    }

  private:
    uint64_t interval_us_, next_us_;
};

/// What the screen shows: the last look, the one before, and how far it is scrolled.
class View {
  public:
    View(const std::string& dir, int interval_ms) : dir_(dir), interval_ms_(interval_ms), now_(take_snapshot(dir)) {}

    void look() {
        before_ = std::move(now_);
        now_ = take_snapshot(dir_);
    }
    void draw(Terminal& terminal) {
        const size_t rows = terminal.size().rows;
        const std::vector<std::string> body = to_columns(now_, before_ ? &*before_ : nullptr);
        const size_t body_rows = rows > 2 ? rows - 2 : 0;
        page_ = std::max<size_t>(body_rows, 1);
        top_ = std::min(top_, body.size() > body_rows ? body.size() - body_rows : 0);
        const size_t below = body.size() - std::min(body.size(), top_ + body_rows);
        std::vector<std::string> lines{heading(below)};
        if (rows > 1) lines.push_back("");
        for (size_t i = top_; i < body.size() - below; ++i) lines.push_back(body[i]);
        terminal.draw(lines);
    }
    /// False when the keys ask for the end.
    bool obey(std::string_view keys) {
        while (!keys.empty()) {
            if (keys[0] == 'q' || keys[0] == 'Q' || keys[0] == 3) return false;
            keys.remove_prefix(scroll(keys));
        }
        return true;
    }

  private:
    std::string heading(size_t below) const {
        const std::string more = below == 0 && top_ == 0 ? "" : fmt::format("   {} lines above, {} below (arrows)", top_, below);
        return fmt::format("{}   every {:g} s   q ends{}   millrace in {}", time_of_day(now_.wall_clock_s),
                           interval_ms_ / 1000.0, more, dir_);
    }
    /// Obeys the key that `keys` starts with; returns its length.
    size_t scroll(std::string_view keys) {
        static constexpr struct { std::string_view key; int lines, pages; } kMoves[] = {
            {"\x1b[A", -1, 0}, {"\x1b[B", 1, 0}, {"\x1bOA", -1, 0}, {"\x1bOB", 1, 0},
            {"\x1b[5~", 0, -1}, {"\x1b[6~", 0, 1}, {"k", -1, 0}, {"j", 1, 0}, {" ", 0, 1}};
        for (const auto& [key, lines, pages] : kMoves) {
            if (!keys.starts_with(key)) continue;
            const auto page = static_cast<int64_t>(page_);
            top_ = static_cast<size_t>(std::max<int64_t>(static_cast<int64_t>(top_) + lines + pages * page, 0));
            return key.size();
        }
        return 1;
    }

    std::string dir_;
    int interval_ms_;
    Snapshot now_;
    std::optional<Snapshot> before_;
    size_t top_ = 0;   ///< first line of the body that is shown
    size_t page_ = 1;  ///< lines of the body that fit
};

}  // namespace

void show_screen(const std::string& dir, int interval_ms) {
    catch_signals();
    Terminal terminal;
    View view(dir, interval_ms);
    Pace pace(interval_ms);
    while (!end_requested()) {
        view.draw(terminal);
        const Event event = wait_for_event(pace.left_ms(), terminal.has_keys());
        if (event == Event::key && !view.obey(terminal.keys())) return;
        terminal.suspend_if_asked();
        if (pace.is_due()) view.look();
    }
}

void print(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
        throw Error(fmt::format("cannot write to standard output: {}", errno_text(errno)));
}

void print_repeatedly(const std::string& dir, int interval_ms, const Printer& printer) {
    catch_signals();
    Pace pace(interval_ms);
    Snapshot now = take_snapshot(dir);
    print(printer(now, nullptr));
    while (!end_requested()) {
        wait_for_event(pace.left_ms(), false);
        if (end_requested() || !pace.is_due()) continue;
        Snapshot before = std::exchange(now, take_snapshot(dir));
        print(printer(now, &before));
    }
}

}  // namespace millrace::viewstats
