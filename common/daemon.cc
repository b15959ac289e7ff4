// See daemon.h. Runs in every daemon.
#include "common/daemon.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <string_view>
#include <utility>

#include "common/check.h"
#include "common/command_line.h"
#include "common/log.h"
#include "common/wakeup.h"

namespace millrace {

volatile std::sig_atomic_t Daemon::stop_requested = 0;
volatile std::sig_atomic_t Daemon::retire_requested = 0;
volatile std::sig_atomic_t Daemon::roll_call_requested = 0;
volatile std::sig_atomic_t Daemon::signal_fifo = -1;

namespace {

/// md_log has no place among the heartbeats: on a slow disk it may stand still for long, and nobody is to end it for that.
bool has_heartbeat(std::string_view role) { return role == "md" || role == "io_conn"; }

void handle(int signal, void (*handler)(int)) {
    struct sigaction action {};
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, nullptr);
}

}  // namespace

void Daemon::on_signal(int signal) {
    const int saved = errno;
    (signal == SIGUSR1 ? retire_requested : signal == SIGUSR2 ? roll_call_requested : stop_requested) = 1;
    const char byte = 's';
    if (signal_fifo >= 0) {
        [[maybe_unused]] ssize_t written = write(signal_fifo, &byte, 1);
    }
    errno = saved;
}

/// If no supervisor lives, nobody hears it.
void Daemon::write_line(const std::string& line) {
    if (arguments_.ready_fd < 0) return;
    [[maybe_unused]] ssize_t written = write(arguments_.ready_fd, line.data(), line.size());
}

/// For what may be missed: a supervisor that stands still, and does not empty the FIFO, is not to hold up a daemon that works.
void Daemon::write_if_room(const std::string& line) {
    pollfd room{arguments_.ready_fd, POLLOUT, 0};
    if (poll(&room, 1, 0) == 1) write_line(line);
}

void Daemon::report(const std::string& word) {
    last_word_ = word;
    write_line(word + '\n');
}

void Daemon::report_standby() {
    if (!ready_reported_ && !std::exchange(standby_reported_, true)) report("standby");
}

void Daemon::report_ready() {
    if (!std::exchange(ready_reported_, true)) report("ready");
}

void Daemon::report_loading(const std::string& sentence) {
    last_word_ = "loading: " + sentence;
    write_if_room(last_word_ + '\n');
}

void Daemon::report_kept(const std::string& sentence) { write_line("kept: " + sentence + '\n'); }

bool Daemon::answer_roll_call() {
    if (roll_call_requested == 0) return false;
    roll_call_requested = 0;
    if (!last_word_.empty()) write_line(last_word_ + '\n');
    return true;
}

int run_daemon(int argc, char** argv, const char* role, const std::function<void(Daemon&)>& body) {
    Daemon daemon;
    if (const int status = read_command_line(argc, argv, role, daemon.arguments_); status >= 0) return status;
    const std::string name = fmt::format("{}-{}", role, daemon.arguments_.index);
    log::open(name, "notice");
    for (int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) handle(signal, Daemon::on_signal);
    for (int signal : {SIGHUP, SIGPIPE}) handle(signal, SIG_IGN);
    try {
        daemon.options_.read_file(daemon.arguments_.config);
        log::open(name, daemon.options_.text(OptionId::loglevel));
        if (has_heartbeat(role)) daemon.heartbeat_ = Heartbeat(daemon.dir(), daemon.arguments_.index + (std::string_view(role) == "md" ? 0 : kMdPlaces));
        body(daemon);
        log::notice("ended in order");
        daemon.write_if_room("ended\n");
        return 0;
    } catch (const std::exception& error) {
        log::warning("cannot go on: {}", error.what());
        daemon.write_line(fmt::format("error: {}\n", error.what()));
        return 1;
    }
}

}  // namespace millrace
