// See terminal.h. Runs in viewstats.
#include "tools/viewstats/terminal.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "tools/viewstats/format.h"

namespace millrace::viewstats {

namespace {

constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[?7l";  // alternate screen, no cursor, no wrapping
constexpr std::string_view kLeave = "\x1b[?7h\x1b[?25h\x1b[?1049l";
constexpr std::string_view kHome = "\x1b[H";
constexpr std::string_view kClearToLineEnd = "\x1b[K";
constexpr std::string_view kClearBelow = "\x1b[J";

volatile std::sig_atomic_t ending = 0;
volatile std::sig_atomic_t suspending = 0;
sigset_t outside_mask;  ///< the signal mask while waiting

void on_signal(int signal) {
    if (signal == SIGTSTP) suspending = 1;
    else if (signal != SIGWINCH) ending = 1;
}

void write_all(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t written = write(STDOUT_FILENO, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            ending = 1;  // the terminal is gone
            return;
        }
        bytes.remove_prefix(static_cast<size_t>(written));
    }
}

}  // namespace

void catch_signals() {
    sigset_t caught;
    sigemptyset(&caught);
    struct sigaction action {};
    action.sa_handler = on_signal;
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH}) {
        sigaction(signal, &action, nullptr);
        sigaddset(&caught, signal);
    }
    sigprocmask(SIG_BLOCK, &caught, &outside_mask);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH}) sigdelset(&outside_mask, signal);
}

bool end_requested() { return ending != 0; }

Event wait_for_event(int timeout_ms, bool keys) {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    const timespec timeout{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000L};
    const int ready = ppoll(&input, keys ? 1 : 0, &timeout, &outside_mask);
    if (ready < 0) return Event::signal;
    return ready > 0 ? Event::key : Event::time_over;
}

bool can_draw() {
    const char* kind = std::getenv("TERM");
    return isatty(STDOUT_FILENO) != 0 && kind != nullptr && *kind != 0 && std::string_view(kind) != "dumb";
}

Terminal::Terminal() : has_keys_(isatty(STDIN_FILENO) != 0 && tcgetattr(STDIN_FILENO, &before_) == 0) { enter(); }

Terminal::~Terminal() { leave(); }

void Terminal::enter() {
    if (has_keys_) {
        termios raw = before_;
        raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        raw.c_cc[VMIN] = 0;
        raw.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    }
    write_all(kEnter);
}

void Terminal::leave() {
    write_all(kLeave);
    if (has_keys_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
}

Terminal::Size Terminal::size() const {
    winsize window{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0) return {80, 24};
    return {window.ws_col, window.ws_row};
}

void Terminal::draw(const std::vector<std::string>& lines) {
    const Size window = size();
    std::string frame(kHome);
    for (size_t i = 0; i < std::min<size_t>(lines.size(), window.rows); ++i) {
        if (i > 0) frame += "\r\n";
        // Cleared first: with a full line the cursor stands on its last column, and clearing would take that away.
        frame += kClearToLineEnd;
        frame += cut(lines[i], window.columns);
    }
    if (lines.size() < window.rows) (frame += "\r\n") += kClearBelow;
    write_all(frame);
}

std::string Terminal::keys() {
    char pressed[64];
    const ssize_t count = has_keys_ ? read(STDIN_FILENO, pressed, sizeof pressed) : 0;
    if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) has_keys_ = false;  // the keyboard is gone
    return count > 0 ? std::string(pressed, static_cast<size_t>(count)) : std::string();
}

void Terminal::suspend_if_asked() {
    if (!suspending) return;
    suspending = 0;
    leave();
    raise(SIGSTOP);
    enter();
}

}  // namespace millrace::viewstats
