"""Makers of random commands about the server, its configuration and the connection."""

from command_rows import known_names, names_of_the_table
from makers import Conversation, makes

# What both have, with a value that a test may change and set back, and values that are refused.
OPTIONS_SET = {
    b"maxmemory-samples": ((b"1", b"5", b"10"), (b"0", b"-1", b"x", b"")),
    b"maxmemory-policy": ((b"noeviction", b"allkeys-lru", b"volatile-lru", b"volatile-ttl", b"allkeys-random", b"volatile-random"), (b"x", b"")),
    b"lfu-log-factor": ((b"0", b"10", b"100"), (b"-1", b"x")),
    b"lfu-decay-time": ((b"0", b"1", b"10"), (b"-1", b"x")),
    b"save": ((b"",), (b"x", b"10", b"0 1", b"10 -1")),        # with a rule redis-server's FLUSHALL saves as well
    b"appendfsync": ((b"always", b"everysec", b"NO"), (b"x", b"")),
    b"rdbcompression": ((b"yes", b"no"), (b"x", b"1")),
    b"stop-writes-on-bgsave-error": ((b"yes", b"no"), (b"x", b"")),
    b"auto-aof-rewrite-percentage": ((b"0", b"100"), (b"-1", b"x")),
    b"auto-aof-rewrite-min-size": ((b"64mb", b"1kb"), (b"x", b"-1")),
    b"maxmemory": ((b"0", b"100gb", b"107374182400", b"100GB"), (b"x", b"-1", b"1zb")),
}
OPTIONS_ASKED = [*OPTIONS_SET, b"maxclients", b"timeout", b"tcp-keepalive", b"proto-max-bulk-len", b"databases", b"appendonly", b"tcp-backlog", b"requirepass",
                 b"protected-mode", b"loglevel", b"MAXMEMORY", b"lfu-*", b"maxmem*", b"nosuch", b"*-policy", b"data[a-c]ases", b"", b"?", b"appendonl?"]
SECTIONS = [b"server", b"clients", b"memory", b"persistence", b"stats", b"replication", b"cpu", b"cluster", b"keyspace", b"Keyspace", b"nosuch", b"default", b"all", b"everything"]


# --- the connection -----------------------------------------------------------------------------------------------------

@makes("ping")
def _ping(words, _name):
    return [b"PING", *words.usual(([], [words.value()]), ([b"a", b"b"],))]


@makes("echo")
def _echo(words, _name):
    return [b"ECHO", words.value()]


@makes("select", weight=1.5)
def _select(words, _name):
    return [b"SELECT", words.database()]


@makes("hello", weight=0.8)
def _hello(words, _name):
    more = words.one_of([], [], [], [b"SETNAME", words.name_of_letters()], [b"AUTH", b"default", b"x"], [b"AUTH", b"nosuch", b"x"], [b"SETNAME"], [b"x"], [b"SETNAME", b"a b"])
    return [b"HELLO", *words.usual(([], [b"2", *more], [b"3", *more], [b"3"], [b"2"]), ([words.number()],), 0.15)]


@makes("auth")
def _auth(words, _name):
    return [b"AUTH", *words.one_of([b"default", b"x"], [b"default", words.value()[:100]], [b"default", b""], [words.value()[:100]], [b"nosuch", b"x"])]


@makes("reset", weight=0.8)
def _reset(_words, _name):
    return [b"RESET"]


@makes("quit", weight=0.7)
def _quit(_words, _name):
    return Conversation([b"QUIT"])


@makes("client|id", "client|getname", "client|info")
def _client(_words, name):
    return [word.encode() for word in name.upper().split("|")]


@makes("client|setname")
def _client_setname(words, _name):
    return [b"CLIENT", b"SETNAME", words.usual((words.name_of_letters(), b""), (b"a b", b"\n", b"\xff", words.value()[:100]))]


@makes("client|list", weight=0.8)
def _client_list(words, _name):
    return Conversation([b"CLIENT", b"LIST", *words.usual(([], [], [b"TYPE", b"normal"], [b"TYPE", b"pubsub"], [b"type", b"replica"], [b"ID", b"999999999"]),
                                             ([b"TYPE", b"x"], [b"x"], [b"ID", b"x"], [b"ID"], [b"ID", b"-1"]))])


@makes("client|getredir", "client|unblock", weight=0.8)
def _client_of_tracking(words, name):
    if name == "client|getredir":
        return [b"CLIENT", b"GETREDIR"]
    return [b"CLIENT", b"UNBLOCK", words.usual((b"999999999", b"0"), (b"x", b"")), *words.usual(([], [b"TIMEOUT"], [b"error"]), ([b"x"], [b"ERROR", b"x"]))]


@makes("client|no-evict")
def _client_no_evict(words, _name):
    return [b"CLIENT", b"NO-EVICT", words.usual((b"on", b"off", b"ON"), (b"x", b""))]


@makes("client|pause", "client|unpause", weight=0.7)
def _client_pause(words, name):
    """Short pauses, which are ended; mostly of writes, because redis-server lets the end of others wait for its next tenth of a second."""
    if name == "client|unpause":
        return [b"CLIENT", b"UNPAUSE"]
    return [b"CLIENT", b"PAUSE", words.usual((b"0", b"1"), (b"-1", b"x", b"")), *words.usual(([b"WRITE"], [b"write"]), ([], [b"ALL"], [b"x"]))], [b"CLIENT", b"UNPAUSE"]


@makes("client|reply")
def _client_reply(words, _name):
    return Conversation([b"CLIENT", b"REPLY", words.usual((b"ON", b"OFF", b"SKIP", b"skip"), (b"x", b""))])


@makes("client|kill", weight=0.7)
def _client_kill(words, _name):
    """Another connection by its number or address (a conversation), or nobody."""
    if words.chance(0.5):
        return Conversation([b"CLIENT", b"KILL", words.one_of(b"ID", b"ADDR", b"LADDR", b"old")])
    return [b"CLIENT", b"KILL", *words.usual(([b"ID", b"999999999"], [b"ADDR", b"1.2.3.4:5"], [b"TYPE", b"pubsub"], [b"USER", b"default", b"ID", b"999999999"]),
                                             ([b"1.2.3.4:5"], [b"ID", b"x"], [b"TYPE", b"x"], [b"USER", b"nosuch"], [b"SKIPME", b"x"], [b"ID"], [b"x", b"y"]), 0.3)]


# --- the configuration ----------------------------------------------------------------------------------------------------

@makes("config|get")
def _config_get(words, _name):
    return [b"CONFIG", b"GET", *[words.random.choice(OPTIONS_ASKED) for _ in range(words.one_of(1, 1, 1, 2, 3))]]


@makes("config|set")
def _config_set(words, _name):
    """Where it changes something that other replies depend on, it is set back."""
    pairs = []
    for _ in range(words.one_of(1, 1, 1, 2, 3)):
        name = words.random.choice(list(OPTIONS_SET))
        pairs += [words.usual((name,), (name.upper(), b"nosuch", b""), 0.05), words.usual(*OPTIONS_SET[name], 0.1)]
    pairs = pairs[:-1] if words.chance(0.03) else pairs
    return [b"CONFIG", b"SET", *pairs], [b"CONFIG", b"GET", b"maxmemory", b"lfu-decay-time"], [b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction", b"maxmemory", b"0"]


@makes("config|resetstat")
def _config_resetstat(_words, _name):
    return [b"CONFIG", b"RESETSTAT"]


# --- the server -------------------------------------------------------------------------------------------------------------

@makes("info", weight=0.8)
def _info(words, _name):
    return [b"INFO", *words.one_of([], [words.random.choice(SECTIONS)], [words.random.choice(SECTIONS), words.random.choice(SECTIONS)])]


@makes("time", "role", "lastsave")
def _without_arguments(_words, name):
    return [name.upper().encode()]


@makes("command", weight=0.6)
def _command(_words, _name):
    return [b"COMMAND"]


@makes("command|count")
def _command_count(_words, _name):
    return [b"COMMAND", b"COUNT"]


@makes("command|info", "command|docs")
def _command_info(words, name):
    """Of some commands; of all only now and then, since that is long."""
    if words.chance(0.01):
        return [b"COMMAND", name.split("|")[1].upper().encode()]
    names = words.random.choices(names_of_the_table(), k=words.one_of(1, 1, 2, 5))
    return [b"COMMAND", name.split("|")[1].upper().encode(),
            *[words.usual((about.encode(), about.upper().encode()), (b"nosuch", b"", b"get|x")) for about in names]]


@makes("command|list")
def _command_list(words, _name):
    return [b"COMMAND", b"LIST", *words.usual(([b"FILTERBY", b"PATTERN", b"get*"], [b"FILTERBY", b"PATTERN", b"*bit*"], [b"FILTERBY", b"ACLCAT", b"nosuch"],
                                               [b"FILTERBY", b"MODULE", b"nosuch"], [b"FILTERBY", b"ACLCAT", b"string"], []), ([b"x"], [b"FILTERBY"], [b"FILTERBY", b"x", b"y"]))]


@makes("command|getkeys", "command|getkeysandflags")
def _command_getkeys(words, name):
    """Of a command as the other makers make it; some have no keys, which is an error."""
    from makers import MAKERS
    about = words.one_of("set", "mset", "mget", "bitop", "rename", "copy", "get", "pfcount", "pfmerge", "getex", "lcs", "object|refcount", "restore", "ping", "watch")
    if about == "watch" or about == "object|refcount":
        made = [b"WATCH", b"a", b"b"]
    else:
        made = MAKERS[about][1](words, about)
    made = made[-1] if isinstance(made, tuple) else made
    return [b"COMMAND", name.split("|")[1].upper().encode(), *(made[:words.random.randrange(1, len(made) + 1)] if words.chance(0.1) else made)]


@makes("slowlog|len", "slowlog|reset", "slowlog|get")
def _slowlog(words, name):
    """Emptied first: what is in it depends on how slow the machine is."""
    more = words.usual(([], [b"10"], [b"-1"]), ([b"x"], [b"-2"])) if name == "slowlog|get" else []
    return [b"SLOWLOG", b"RESET"], [b"SLOWLOG", name.split("|")[1].upper().encode(), *more]


@makes("latency|latest", "latency|reset", "latency|history", "latency|histogram", "latency|doctor", "latency|graph")
def _latency(words, name):
    """The monitor is off, so there are no events; the histogram only of what was not called."""
    more = {"history": [b"nosuch"], "histogram": [b"nosuch"], "graph": [b"nosuch"], "reset": words.one_of([], [b"nosuch"])}.get(name.split("|")[1], [])
    return [b"LATENCY", name.split("|")[1].upper().encode(), *more]


@makes("memory|usage")
def _memory_usage(words, _name):
    return [b"MEMORY", b"USAGE", words.any_key(), *words.usual(([], [b"SAMPLES", b"0"], [b"samples", b"5"]), ([b"SAMPLES", b"-1"], [b"SAMPLES", b"x"], [b"SAMPLES"], [b"x"]))]


@makes("memory|doctor", "memory|malloc-stats", "memory|purge", "memory|stats")
def _memory(_words, name):
    return [b"MEMORY", name.split("|")[1].upper().encode()]


@makes("lolwut")
def _lolwut(words, _name):
    return [b"LOLWUT", *words.one_of([], [b"VERSION", b"9"], [b"VERSION", b"x"], [b"VERSION"], [b"x"])]


@makes("replicaof", "slaveof", weight=0.5)
def _replicaof(words, name):
    """z_replication_test.py has the rest."""
    return [name.upper().encode(), *words.one_of([b"NO", b"ONE"], [b"no", b"one"], [b"127.0.0.1", b"x"], [b"127.0.0.1", b"70000"], [b"127.0.0.1", b"-1"])]


@makes("failover", weight=0.5)
def _failover(words, _name):
    """z_failover_test.py has the rest."""
    return [b"FAILOVER", *words.one_of([], [b"ABORT"], [b"abort", b"x"], [b"TO"], [b"TO", b"127.0.0.1", b"x"], [b"TO", b"127.0.0.1", b"1"], [b"TIMEOUT", b"0"], [b"TIMEOUT", b"x"],
                                      [b"TIMEOUT", b"5", b"TIMEOUT", b"5"], [b"TO", b"127.0.0.1", b"1", b"FORCE"], [b"FORCE"])]


@makes("wait", weight=0.5)
def _wait(words, _name):
    return [b"WAIT", *words.one_of([b"0", b"0"], [b"1", b"3"], [b"x", b"0"], [b"0", b"x"], [b"0", b"-1"], [b"-1", b"0"])]


@makes("save", "bgsave", "bgrewriteaof", weight=0)
def _snapshots(_words, name):
    """u_save_test.py has them; what they answer depends on the snapshot before."""
    return [name.upper().encode()]


@makes("config|rewrite", "shutdown", weight=0)
def _through_the_supervisor(_words, name):
    """The process tests of the link to the supervisor have them; redis-server would end, or has no file."""
    return [word.encode() for word in name.upper().split("|")]


@makes("debug|digest", "debug|digest-value", "debug|populate", "debug|sleep", "debug|object", "debug|jmap", "debug|set-active-expire", "debug|stringmatch-len", "debug|change-repl-id", "debug")
def _debug(words, name):
    """Both refuse it unless the configuration allows it."""
    return [word.encode() for word in name.upper().split("|")] + words.one_of([], [b"0"])


@makes(*[name for name in known_names() if name.endswith("|help")], weight=0.7)
def _help(_words, name):
    return [word.encode() for word in name.upper().split("|")]


@makes("pfselftest", weight=0)
def _pfselftest(_words, _name):
    return [b"PFSELFTEST"]
