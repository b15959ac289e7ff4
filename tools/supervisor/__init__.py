"""The supervisor of a millrace group: one Python process that starts, watches, restarts, resizes and stops the daemons.

Reading order, from what the user types to what a daemon sees:

    cli.py        the command line, and the one place where errors become sentences and exit statuses
    commands.py   stop, restart, status, scale: each asks the running supervisor, or does the work when it is dead
    start.py      start: what is prepared before the first daemon (lock, options, shared memory folder, sockets)
    detach.py     start --daemon: leaving the terminal while the caller waits for the verdict
    check.py      check: what start would trip over, without starting anything
    migrate.py    import, export, backup, restore: what concerns the instance; millrace-convert does the work
    supervise.py  the life of the supervisor: signals, the control socket, start and stop of the group
    group.py      the group as a whole: order of start and stop, restart, scale, FIFOs
    slot.py       one place in the group (md 0, io_conn 3): keeps a process alive there
    pair.py       the two places of md: which one serves, how they appear in status, back-off that costs no service
    saving.py     the end of md_log, which saves: what cannot be saved stays in shared memory
    process.py    one operating-system process: how it is started, when it is ready, how it ended
    state.py      run/status.json: written by the supervisor, read by `status` even when the supervisor is dead
    heartbeat.py  which daemons hang
    leftovers.py  what a killed group leaves, and what the next start takes over of it
    saving_alone.py  the same as saving.py, for a stop without a supervisor
    listeners.py  the listening sockets
    notify.py     what systemd hears, and the sockets that it keeps over a restart of the service
    control.py    the socket between `millrace stop|restart|scale`, or an io_conn, and the supervisor
    instance.py   the instance folder: every file name is spelled there
    privileges.py the account that the group runs under; how root's start becomes that account's
    cgroup.py     how much memory the control group (container) may use
    rewrite.py    CONFIG REWRITE: the configuration file is made to say what holds
    config.py     options (millrace-conf reads them, never this package) and where the programs lie
    procfs.py     what /proc tells about a process
    eventlog.py   log/supervisor.log
    limits.py     every number: time limits, sizes, back-off

Children are watched through pidfds, everything else through descriptors in one event loop; only the look for
daemons that hang comes once a second.
Daemons go on serving when the supervisor dies; the next `start` guards them as before, the next `stop` ends them.
"""
