"""stop, restart, status and scale: each asks the running supervisor; what must work without one works without one."""

import json
import os
import select
import signal
import subprocess
import sys
import time

from . import config, control, leftovers, privileges, procfs, state
from .errors import Failure, not_saved
from .eventlog import EventLog, InPlace, say
from .instance import Instance, is_locked, take_lock
from .limits import ANSWER_S, KILL_S, READY_S, STOP_PATIENCE_S, STOP_S, STOP_TOTAL_S


def status(args):
    """Prints what runs. Needs no answer from anybody: it reads status.json and looks at /proc."""
    instance = _instance(args)
    supervised = is_locked(instance)
    answer = state.report(instance, supervised)
    if args.json:
        say(json.dumps(answer))
    else:
        say(state.table(answer, instance.dir if os.path.isdir(instance.dir) else f"{instance.dir} (no such folder)"))
    return 0


def restart(args):
    """Replaces every process."""
    instance = _running(args)
    answer = _ask(instance, {"op": "restart"}, 4 * (STOP_S + KILL_S) + 2 * READY_S + ANSWER_S)
    _check(answer)
    say("millrace: every process was restarted; the data stayed in shared memory")
    return 0


def scale(args):
    """Changes the number of io_conn."""
    instance = _running(args)
    answer = _ask(instance, {"op": "scale", "io_conns": args.count}, READY_S + STOP_S + KILL_S + ANSWER_S)
    _check(answer)
    draining = f", {answer['draining']} draining" if answer["draining"] else ""
    say(f"millrace: {answer['serving']} io_conn serving{draining}")
    return 0


def verify_replicas(args):
    """Has the server and its followers compare their data; a program of its own asks, and tells what was found."""
    instance = _running(args)
    return subprocess.run([config.program("verify-replicas"), instance.dir, str(args.timeout)], stdin=subprocess.DEVNULL, check=False).returncode and 1


def _instance(args):
    """The instance that a command is for, and this process becomes its account where it may."""
    privileges.act_for(Instance(args.dir))
    return control.instance_of(args.dir)


def _running(args):
    instance = _instance(args)
    if not is_locked(instance):
        raise Failure(f"{instance.dir} is not running: start it with 'millrace start'")
    return instance


def _ask(instance, message, limit_s):
    # A short question first: a supervisor that hangs should not cost the time that the work itself may take.
    alive = control.request(instance, {"op": "status"}, ANSWER_S) is not None
    answer = control.request(instance, message, limit_s) if alive else None
    if answer is None:
        raise Failure(f"the supervisor of {instance.dir} (pid {holder(instance) or '?'}) does not answer: see "
                      f"{instance.supervisor_log}; 'millrace stop' ends it in any case")
    return answer


def _check(answer):
    if not answer.get("ok"):
        raise Failure(answer.get("error", "the supervisor gave no reason"))


# --- stop -----------------------------------------------------------------------------------------------------------

def stop(args):
    """Ends everything, with the supervisor, without it, or against it. Data that cannot be saved stays, unless --force gives it up."""
    instance = _instance(args)
    if not os.path.isdir(instance.dir):
        say(f"millrace: nothing to stop: {instance.dir} does not exist")
        return 0
    if is_locked(instance) and (outcome := _stop_through_supervisor(instance, args.force)) is not None:
        reason = outcome.get("not_saved")
        if reason is not None and not outcome.get("given_up"):
            raise not_saved(reason)
        say(f"millrace: stopped{_given_up(reason)}")
        return 0
    return _stop_alone(instance, args.force)


def _given_up(reason):
    return f"; the data was given up: {reason}" if reason is not None else ""


def _stop_through_supervisor(instance, force):
    """Gives the outcome when the supervisor has stopped everything, None when it is dead (now)."""
    pid, outcome = _order_stop(instance, force)
    if pid is None:
        if is_locked(instance):     # else it died, or somebody else stopped it meanwhile
            _kill_supervisor(instance, holder(instance))
        return None
    if procfs.has_open(pid, instance.lock) and not _wait_gone(pid):
        raise Failure(f"the supervisor (pid {pid}) is still stopping after {STOP_TOTAL_S:.0f} s: see "
                      f"{instance.supervisor_log} for the process that does not end")
    return outcome if not is_locked(instance) else None


def _order_stop(instance, force):
    """Gets the order through within ANSWER_S; gives the supervisor's pid, and the outcome if it lived to tell it.

    One that is just starting may not listen yet.
    """
    deadline = time.monotonic() + ANSWER_S
    while (left := deadline - time.monotonic()) > 0 and is_locked(instance):
        words = control.conversation(instance, {"op": "stop", "follow": True, "force": force}, left, STOP_TOTAL_S)
        answer = next(words, None)
        if answer is not None and answer.get("ok"):
            return answer["pid"], _follow(words, answer["pid"])
        time.sleep(0.05)
    return None, None


def _follow(words, pid):
    """Waits for the outcome of the stop, and shows a terminal how it goes on."""
    in_place, since = InPlace(sys.stderr), time.monotonic()
    for word in words:
        if "not_saved" in word:
            in_place.clear()
            return word
        if word.get("saving") is not None:
            in_place.show(f"millrace: md_log is saving {word['saving']} ...")
        elif time.monotonic() - since >= STOP_PATIENCE_S:
            in_place.show(f"millrace: waiting for the daemons to end (supervisor {pid}) ...")
    in_place.clear()
    return None


def _wait_gone(pid):
    """Waits until the supervisor is gone."""
    pidfd = _open_pidfd(pid)
    if pidfd is None:
        return True
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    try:
        return bool(poller.poll(STOP_TOTAL_S * 1000))
    finally:
        os.close(pidfd)


def holder(instance):
    """The pid of the process that has the lock file open: the one in supervisor.pid, else found by a search."""
    written = instance.read_pid()
    if written is not None and procfs.has_open(written, instance.lock):
        return written
    return next((pid for pid in procfs.all_pids() if pid != os.getpid() and procfs.has_open(pid, instance.lock)), None)


def _open_pidfd(pid):
    try:
        return os.pidfd_open(pid) if pid else None
    except OSError:
        return None


def _kill_supervisor(instance, pid):
    """Ends a supervisor that does not answer, so that the stop can be done without it."""
    pidfd = _open_pidfd(pid)
    if pidfd is None or not procfs.has_open(pid, instance.lock):
        raise Failure(f"the supervisor of {instance.dir} does not answer and cannot be found: "
                      f"see who holds {instance.lock} (fuser), and end that process")
    say(f"millrace: the supervisor (pid {pid}) does not answer; it is killed and the stop done without it", sys.stderr)
    EventLog(instance.supervisor_log).event("supervisor_killed", pid=pid, reason=f"no answer within {ANSWER_S:g} s")
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.poll(KILL_S * 1000)
    os.close(pidfd)


def _stop_alone(instance, force):
    """Without a supervisor: what is left is ended, saved and removed."""
    if not os.path.isdir(instance.run):
        say(f"millrace: not running: {instance.dir}")
        return 0
    try:
        lock = take_lock(instance)
    except OSError as error:
        raise Failure(f"{instance.lock} cannot be opened: {error.strerror}") from None
    if lock is None:
        raise Failure(f"{instance.dir} is being started or stopped by somebody else: try again")
    try:
        ended, given_up = leftovers.remove_all(instance, EventLog(instance.supervisor_log, progress_on=sys.stderr), force)
    finally:
        os.close(lock)
    if ended:
        say(f"millrace: stopped ({ended} daemon{'s' if ended > 1 else ''} without a supervisor ended){_given_up(given_up)}")
    else:
        say(f"millrace: not running: {instance.dir}{_given_up(given_up)}")
    return 0
