// The prologue that all daemons share, and the protocol between the supervisor and a daemon.
//
// The supervisor (tools/millrace) starts a daemon with
//     --dir DIR            the instance folder
//     --config FILE        all options, as written by `millrace-conf --effective`
//     --instance HEX       the instance's id, 16 hex digits
//     --index I            which of its role; md 0 and md 1 are two equal places
//     --generation G       rises with every process started in this instance; > 0
//     --restarts R         how often this role and index had to be restarted
//     --repair             md may cut off what is damaged at the end of the data files; others ignore it
//     --ready-fd N         a FIFO, in which the daemon writes "ready\n" once it serves, or "error: SENTENCE\n" before it exits;
//                          an md whose turn it is not writes "standby\n" when it waits for it, and "ready\n" when it has
//                          taken over; one that has found a store from before writes "kept: SENTENCE\n"; one that has to load data
//                          before it serves writes "loading: SENTENCE\n", some times a second, and the first one as soon as the
//                          shared segments exist, because io_conn and md_log are started then; a retired io_conn "draining\n"; an
//                          md_log that saves before it ends "saving: SENTENCE\n". The prologue writes "ended\n" before status 0
//     --listen-fd N ...    io_conn only: inherited listening sockets, non-blocking
// with standard error as its log. The FIFOs (one for both md), DIR/data and DIR/run/shm exist before any daemon starts. md 1 is started
// when md 0 has said that it serves, so only one process ever makes the segments.
// Signals: SIGTERM and SIGINT end it in order, md_log after it has saved, for which it has all the time that it needs; SIGUSR1 tells an
// io_conn to retire (no new connections, exit when the last one has closed), and md_log to end at once, because the data stays in
// shared memory; SIGUSR2 is a roll call, by which a new supervisor learns what each daemon does: it says its last word again, and
// an io_conn hands over its listening sockets; SIGHUP and SIGPIPE are ignored. Exit status: 0 ordered end, 1 failed (the sentence says why), 2 bad
// usage, a signal = our bug.
#pragma once

#include <atomic>
#include <csignal>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/heartbeat.h"
#include "common/options.h"

namespace millrace {

struct DaemonArguments {
    std::string dir;
    std::string config;
    uint64_t instance = 0;
    unsigned index = 0;
    uint64_t generation = 0;
    unsigned restarts = 0;
    bool repair = false;
    int ready_fd = -1;
    std::vector<int> listen_fds;
};

/// What a daemon's body gets: its arguments, the options, and the word of the supervisor.
class Daemon {
  public:
    const DaemonArguments& arguments() const { return arguments_; }
    const Options& options() const { return options_; }
    const std::string& dir() const { return arguments_.dir; }

    /// Tells the supervisor that clients can be served.
    void report_ready();
    /// Tells the supervisor, once, that this md has everything mapped and waits for its turn. One that has served (amnesia mode) does not.
    void report_standby();
    /// Whether report_standby() was called.
    bool was_standby() const { return standby_reported_; }
    /// Says that the loop turns (heartbeat.h).
    void beat() { heartbeat_.beat(); }
    /// Tells the supervisor that no more clients are taken.
    void report_draining() { report("draining"); }
    /// Tells the supervisor, in a sentence, what was there before this group.
    void report_kept(const std::string& sentence);
    /// Tells the supervisor, in a few words, how far the loading of data has come. Not after report_ready().
    void report_loading(const std::string& sentence);
    /// Tells the supervisor, in a few words, how far the last save has come.
    void report_saving(const std::string& sentence) { write_if_room("saving: " + sentence + '\n'); }
    /// Says the last word again if there was a roll call since the last look; true then.
    bool answer_roll_call();
    /// SIGTERM or SIGINT has come.
    bool stopping() const { return stop_requested != 0; }
    /// SIGUSR1 has come.
    bool retiring() const { return retire_requested != 0; }
    /// The FIFO that a signal handler wakes, so that a parked loop sees the request at once.
    void wake_on_signal(int fifo_descriptor) { signal_fifo = fifo_descriptor; }

  private:
    friend int run_daemon(int, char**, const char*, const std::function<void(Daemon&)>&);
    static void on_signal(int signal);
    void report(const std::string& word);
    void write_line(const std::string& line);
    void write_if_room(const std::string& line);

    DaemonArguments arguments_;
    Options options_;
    Heartbeat heartbeat_;
    bool standby_reported_ = false, ready_reported_ = false;
    std::string last_word_;
    static volatile std::sig_atomic_t stop_requested;
    static volatile std::sig_atomic_t retire_requested;
    static volatile std::sig_atomic_t roll_call_requested;
    static volatile std::sig_atomic_t signal_fifo;
};

/// The common main(): reads the command line and the configuration, opens the log, sets up signals, runs `body`, and
/// turns an Error into the sentence for log and supervisor. `role` is the program's name. Returns the exit status.
int run_daemon(int argc, char** argv, const char* role, const std::function<void(Daemon&)>& body);

}  // namespace millrace
