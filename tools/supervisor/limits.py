"""Every limit of the supervisor, in one place. Seconds unless the name says otherwise."""

import os


def _seconds(variable, default):
    """A time limit that the environment may change: tests shorten it, a slow host lengthens it."""
    try:
        value = float(os.environ.get(variable, ""))
    except ValueError:
        return default
    return value if 0 < value <= 86400 else default


READY_S = _seconds("MILLRACE_READY_TIMEOUT", 30.0)      # from exec to `ready`
LOADING_S = _seconds("MILLRACE_LOADING_TIMEOUT", 60.0)  # from one word of an md about its loading to the next, or `ready`
STOP_S = _seconds("MILLRACE_STOP_TIMEOUT", 5.0)         # from SIGTERM to SIGKILL, for each step of a stop but that of md_log
ANSWER_S = _seconds("MILLRACE_ANSWER_TIMEOUT", 10.0)    # `stop` kills a supervisor that is silent for so long
KILL_S = 5.0                # from SIGKILL to giving up on a process that the kernel cannot end
STOP_TOTAL_S = 40.0         # `stop` waits so long for a further word of a supervisor that has said yes
STOP_PATIENCE_S = 2.0       # after so long `stop` tells a terminal that it is waiting
FOLLOW_S = 0.2              # between two looks how far a stop has come, for who waits for it
REQUEST_S = 5.0             # a client of the control socket has so long to send its line
PROGRAM_S = 10.0            # millrace-conf and `md --version` have so long to answer

PROGRESS_S = _seconds("MILLRACE_PROGRESS_INTERVAL", 10.0)   # between two lines about what takes long, where they are not written in place
NOTIFY_S = 5.0              # the service manager has so long to make room for a message that must not be lost
EXTEND_S = 1.0              # between two messages that the start or the stop goes on
HEARTBEAT_S = 1.0           # between two looks for daemons that hang
EARLY_DEATH_S = 10.0        # a process that lived longer than this is restarted at once again
SERVED_S = 0.1              # a process that served for longer than this has its place filled (almost) at once if no other serves
BACKOFF_FIRST_S = 0.020
BACKOFF_MAX_S = 1.0
BACKOFF_ALONE_S = 0.020     # for an io_conn that has served for SERVED_S, when no other one does

LISTENERS_S = 2.0           # io_conn without a supervisor have so long to give one their listening sockets
LISTENERS_MAX = 64          # sockets
KNOCK_S = 2.0               # a supervisor whose lock file is missing has so long to answer
IO_CONN_MAX = 64            # indices 0..63
FILES_BESIDE_CLIENTS = 64   # descriptors that a daemon needs apart from its clients
REQUEST_BYTES_MAX = 32768
ANSWER_BYTES_MAX = 65536
READY_WORD_BYTES_MAX = 4096
PROGRESS_BYTES_MAX = 200
LOG_TAIL_BYTES = 4096
SHM_BESIDE_RINGS_BYTES = 4 << 20    # counters, client tables, control words
