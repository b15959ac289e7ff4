// See daemon.h. Runs in every daemon.
#include "common/daemon.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <exception>
#include <string_view>
#include <utility>

#include "common/check.h"
#include "common/log.h"
#include "common/version.h"
#include "common/wakeup.h"

namespace millrace {

volatile std::sig_atomic_t Daemon::stop_requested = 0;
volatile std::sig_atomic_t Daemon::retire_requested = 0;
volatile std::sig_atomic_t Daemon::roll_call_requested = 0;
volatile std::sig_atomic_t Daemon::signal_fifo = -1;

namespace {

uint64_t parse_instance(const std::string& text) {
    size_t used = 0;
    const uint64_t instance = std::stoull(text, &used, 16);
    if (used != text.size() || instance == 0) throw CLI::ValidationError("--instance", "16 hex digits, not zero");
    return instance;
}

/// Fills `arguments`; returns the exit status to end with, or -1 to go on.
int read_command_line(int argc, char** argv, const char* role, DaemonArguments& arguments) {
    CLI::App app{fmt::format("{} of millrace; started by `millrace start`, not by hand.", role)};
    std::string instance;
    app.set_version_flag("--version", fmt::format("millrace {}", kVersion));
    app.add_option("--dir", arguments.dir, "Instance folder")->required();
    app.add_option("--config", arguments.config, "File with all options (millrace-conf --effective)")->required();
    app.add_option("--instance", instance, "Id of the instance, 16 hex digits")->required();
    app.add_option("--index", arguments.index, "Which of its role");
    app.add_option("--generation", arguments.generation, "Number of this process in its instance, > 0")->required();
    app.add_option("--restarts", arguments.restarts, "How often this role and index was restarted");
    app.add_flag("--repair", arguments.repair, "Cut off what is damaged at the end of the data files (md)");
    app.add_option("--ready-fd", arguments.ready_fd, "Descriptor for the word 'ready'");
    app.add_option("--listen-fd", arguments.listen_fds, "Inherited listening socket");
    try {
        app.parse(argc, argv);
        arguments.instance = parse_instance(instance);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception&) {
        fmt::print(stderr, "{}: --instance takes 16 hex digits\n", role);
        return 2;
    }
    return -1;
}

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
