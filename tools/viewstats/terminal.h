// The terminal under the live screen: alternate screen, keys without echo, size, signals. Used by viewstats.
//
// A Terminal is entered on construction and left on destruction, so whatever ends the program in order restores it. The
// signals that end a program, suspend it or tell of a new size only set flags; wait() returns for each of them.
#pragma once

#include <termios.h>

#include <string>
#include <vector>

namespace millrace::viewstats {

/// Catches SIGINT, SIGTERM, SIGHUP (ending), SIGTSTP (suspending) and SIGWINCH; they come through in wait_for_event()
/// only, so none is lost between a look at the flags and the wait.
void catch_signals();
/// Whether one of the ending signals has come.
bool end_requested();

enum class Event { time_over, key, signal };
/// Waits until the time is over, a signal has come, or (`keys`) standard input has something.
Event wait_for_event(int timeout_ms, bool keys);

/// Whether standard output is a terminal that can be drawn on.
bool can_draw();

class Terminal {
  public:
    Terminal();
    ~Terminal();
    Terminal(const Terminal&) = delete;

    struct Size {
        unsigned columns, rows;
    };
    Size size() const;
    /// Shows these lines from the top, cut to the size; what was there before disappears.
    void draw(const std::vector<std::string>& lines);
    /// The keys pressed, raw bytes; empty if there are none.
    std::string keys();
    bool has_keys() const { return has_keys_; }
    /// Does what Ctrl-Z asked for, if it did: leaves the screen, stops, and enters it again on continuing.
    void suspend_if_asked();

  private:
    void enter();
    void leave();

    termios before_{};
    bool has_keys_ = false;
};

}  // namespace millrace::viewstats
