"""Every difference from redis-server that is allowed: what differs, why, and code that holds for exactly that and for nothing else.

At most LIMIT entries, none of which excuses a whole command: an error, or a reply of another shape, is never one but where the entry
says so. README.md shows the table (tests/style/differences.py). The random test takes differing replies for equal when one entry of the
command matches; entries that nothing has used are reported by its long runs.
"""

import collections

from command_rows import ALL_OF_REDIS, HELP_OF, name_of, newer_names, option_names, rows, top_names
from wire import Error, decode

LIMIT = 20
SECONDS_APART = 10      # between the two servers' executions of the same pipeline, on a machine that others use as well
SHARED_INTEGERS = 2147483647
NO_LRU_POLICY = (b"-ERR An LRU maxmemory policy is not selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU "
                 b"data will take some time to adjust.\r\n")
NOT_IN_MULTI = {"swapdb": b"-ERR SWAPDB is not possible inside MULTI in this version\r\n", "hello": b"-ERR Command not allowed inside a transaction\r\n",
                "client|reply": b"-ERR Command not allowed inside a transaction\r\n"}
EXECABORT = b"-EXECABORT Transaction discarded because of previous errors.\r\n"

# What is compared. `facts`: what the driver has found out, see pairs.py.
Call = collections.namedtuple("Call", "command want got facts", defaults=({},))

ENTRIES = []


class Entry:
    def __init__(self, names, what, why, function):
        self.names, self.what, self.why, self.matches, self.used = names, what, why, function, 0


def allowed(*names, what, why):
    """Notes a function as the code of an entry for commands of these names, or for all."""
    def note(function):
        ENTRIES.append(Entry(names, what, why, function))
        return function
    return note


def entry_for(call):
    """The entry that allows this difference, or None."""
    name = name_of(call.command)
    for entry in ENTRIES:
        if (name in entry.names or not entry.names) and entry.matches(call):
            return entry
    return None


def both(call):
    """Both replies as Python values, or (None, None) when one of them is an error or cannot be read."""
    try:
        values = decode(call.want), decode(call.got)
    except (ValueError, KeyError, IndexError):
        return None, None
    return (None, None) if any(isinstance(value, Error) for value in values) else values


def both_are(call, kind):
    values = both(call)
    return values if all(isinstance(value, kind) and not isinstance(value, bool) for value in values) else (None, None)


ERROR_BYTES = 16 * 1024     # of ReplyWriter


@allowed(what="an error that repeats a client's word ends after 16 KiB", why="md's replies have a bound, and nobody reads more")
def long_errors(call):
    return call.want.startswith(b"-") and len(call.got) >= ERROR_BYTES and len(call.want) > len(call.got) and call.want.startswith(call.got[:-2])


# --- order and chance ---------------------------------------------------------------------------------------------------

def _same_items(want, got):
    return isinstance(want, list) and isinstance(got, list) and sorted(want) == sorted(name for name in got if name not in NEWER)


@allowed("keys", "scan", what="KEYS and SCAN give the same keys in another order; SCAN's cursors are others, and how many keys a call gives",
         why="the order is that of the index, which is another data structure")
def order_of_keys(call):
    """A call of SCAN on its own has to give all; the random test goes from the first call to the last one otherwise."""
    want, got = both_are(call, list)
    if name_of(call.command) == "keys" or want is None:
        return want is not None and _same_items(want, got)
    return len(want) == len(got) == 2 and want[0] == got[0] == b"0" and _same_items(want[1], got[1])


@allowed("randomkey", what="RANDOMKEY gives another key of those that are there", why="it is random")
def random_key(call):
    """The driver has asked each server for the other's key."""
    want, got = both_are(call, bytes)
    return want is not None and call.facts.get("both keys exist on both sides", False)


@allowed("object|freq", what="OBJECT FREQ's counters grow by chance, so they are not equal", why="it is random")
def frequency(call):
    want, got = both_are(call, int)
    return want is not None and 0 <= want <= 255 and 0 <= got <= 255


# --- time and numbers of the machine ---------------------------------------------------------------------------------------

@allowed("ttl", "pttl", "expiretime", "pexpiretime", "time", "object|idletime", "lastsave", what="times from or to now differ by the time that passes between both servers",
         why="the clock goes on")
def time_passes(call):
    name = name_of(call.command)
    if name == "time":
        want, got = both_are(call, list)
        return want is not None and len(got) == 2 and len(want) == 2 and abs(int(want[0]) - int(got[0])) <= SECONDS_APART and 0 <= int(got[1]) < 1_000_000
    want, got = both_are(call, int)
    if want is None or min(want, got) < 0:
        return False
    return abs(want - got) <= SECONDS_APART * (1000 if name.startswith("p") else 1)


@allowed("hello", "client|id", what="numbers of connections are others", why="several processes accept them")
def numbers_of_connections(call):
    """Of HELLO nothing else differs."""
    if name_of(call.command) == "client|id":
        want, got = both_are(call, int)
        return want is not None and got > 0
    want, got = both(call)
    if isinstance(want, list) and isinstance(got, list):
        want, got = (dict(zip(value[::2], value[1::2])) for value in (want, got))
    if not isinstance(want, dict) or not isinstance(got, dict) or list(want) != list(got):
        return False
    return [key for key in want if want[key] != got[key]] == [b"id"] and isinstance(got[b"id"], int)


# Of each connection; the rest are sizes of buffers, descriptors and times.
CLIENT_FIELDS = (b"name", b"flags", b"db", b"sub", b"psub", b"ssub", b"user", b"redir", b"resp", b"cmd")
NAME_BYTES = 63             # that other connections see of a name
DIRTY = b"d"                # flags: a watched key has changed
LIBRARY = [b"lib-name", b"lib-ver"]


def _client_rows(text):
    return [[field.split(b"=", 1) for field in line.split(b" ")] for line in text.split(b"\n") if line]


def _client_facts(row):
    facts = {name: value for name, value in row if name in CLIENT_FIELDS}
    facts[b"flags"] = facts.get(b"flags", b"").translate(None, DIRTY) or b"N"
    facts[b"name"] = facts.get(b"name", b"")[:NAME_BYTES]
    if facts.get(b"cmd", b"").startswith(b"debug|"):    # DEBUG has no subcommands in Redis's table
        facts[b"cmd"] = b"debug"
    return tuple(facts.values())


@allowed("client|list", "client|info",
         what="CLIENT LIST and CLIENT INFO: numbers, addresses, descriptors, times and sizes of buffers; of a name the first 63 bytes; no flag d; at the end the "
         "client's library, as later versions have it",
         why="both have other connections and buffers; what is watched is its connection's own affair")
def connections(call):
    """The same fields in the same order; all else that a client has set or done is equal."""
    want, got = both_are(call, bytes)
    if want is None:
        return False
    theirs, ours = _client_rows(want), _client_rows(got)
    if any(len(field) != 2 for row in theirs + ours for field in row):
        return False
    names = [[[field[0] for field in row] for row in side] for side in (theirs, ours)]
    theirs_too = [row[:-2] if row[-2:] == LIBRARY else row for row in names[1]]
    return names[0] in (names[1], theirs_too) and sorted(map(_client_facts, theirs)) == sorted(map(_client_facts, ours))


# What INFO has to tell as Redis does, wherever both tell it.
INFO_FIELDS = {b"redis_version", b"redis_mode", b"os", b"arch_bits", b"maxclients", b"maxmemory", b"maxmemory_human", b"maxmemory_policy", b"loading", b"rdb_bgsave_in_progress",
               b"aof_enabled", b"aof_rewrite_in_progress", b"role", b"connected_slaves", b"cluster_enabled", b"blocked_clients", b"evicted_keys"}
OWN_SECTION = b"# Millrace"


def _info(text):
    """{field: value} and the headings in order."""
    lines = text.split(b"\r\n")
    return dict(line.split(b":", 1) for line in lines if b":" in line), [line for line in lines if line.startswith(b"#")]


@allowed("info", what="INFO has fewer fields than Redis's, a section of its own, and what the processes measure", why="it tells about other processes")
def information(call):
    """No section that was asked for is missing, the numbers of keys are equal, and so is what is no measurement."""
    want, got = both_are(call, bytes)
    if want is None:
        return False
    (theirs, headings), (ours, our_headings) = _info(want), _info(got)
    keyspace = [{name: value.rsplit(b",avg_ttl=", 1)[0] for name, value in side.items() if name.startswith(b"db") and name[2:].isdigit()} for side in (theirs, ours)]
    whole = len(call.command) == 1 or any(word.lower() in (b"default", b"all", b"everything") for word in call.command[1:])
    headings_fit = [heading for heading in headings if heading in our_headings] == [heading for heading in our_headings if heading != OWN_SECTION]
    needed = set(headings) <= {*our_headings, b"# Modules", b"# Errorstats", b"# Commandstats", b"# Latencystats"} or not whole
    own = whole or OWN_SECTION not in our_headings
    equal = all(theirs[name] == ours[name] for name in INFO_FIELDS if name in theirs and name in ours)
    return headings_fit and needed and own and equal and keyspace[0] == keyspace[1]


@allowed("memory|usage", "memory|stats", "memory|doctor", "memory|malloc-stats", what="MEMORY: sizes, and texts about the allocator",
         why="values are kept in another way by another allocator")
def sizes(call):
    want, got = both(call)
    if name_of(call.command) == "memory|usage":
        return all(isinstance(value, int) and value > 0 for value in (want, got))
    return want is not None and type(want) is type(got) and bool(got)


@allowed("lolwut", "latency|doctor", what="LOLWUT draws something else, LATENCY DOCTOR and HELP say it in other words", why="texts for people are our own")
def drawings(call):
    want, got = both_are(call, bytes)
    if name_of(call.command) == "latency|doctor":
        return want is not None and bool(got) and (b"disabled" in want) == (b"not noted" in got)
    return want is not None and b"Redis ver." in want and b"millrace ver." in got


# --- commands and options -----------------------------------------------------------------------------------------------------

# Flags that only one of both has: EXEC's own is for the slow log, and ROLE is an administrator's by its category in Redis.
FLAGS_APART = {b"exec": {"skip_slowlog"}, b"role": {"admin"}}


NEWER = {name.encode() for name in newer_names()}     # redis-server 7.0 has not heard of them


def _described(value):
    """{name: row} of COMMAND or COMMAND INFO; None where there was no such command."""
    return {row[0]: row for row in value if row}


def _agree(theirs, ours):
    """Name, arity, keys, and the same flags in any order, but for FLAGS_APART; the same of each subcommand that there is."""
    subcommands = _described(theirs[9] or [])
    return (theirs[:2] == ours[:2] and theirs[3:6] == ours[3:6] and set(theirs[2]) ^ set(ours[2]) <= FLAGS_APART.get(ours[0], set())
            and all(name in subcommands and _agree(subcommands[name], row) for name, row in _described(ours[9] or []).items() if name not in NEWER))


def _descriptions(call):
    """Of the commands that there are: name, arity, flags and keys; categories, tips and key specifications are not compared."""
    want, got = both_are(call, list)
    if want is None or any(row is not None and (not isinstance(row, list) or len(row) != 10) for row in want + got):
        return False
    theirs, ours = _described(want), _described(got)
    if len(call.command) > 2:
        known = [row if row is None or ALL_OF_REDIS or row[0].decode() in rows() else None for row in want]
        got = [None if row is not None and row[0] in NEWER else row for row in got]
        return len(want) == len(got) and all((one is None) == (other is None) and (one is None or _agree(one, other)) for one, other in zip(known, got))
    here = set(ours) if ALL_OF_REDIS else {name.encode() for name in top_names()}
    return set(ours) == here and all(name in theirs and _agree(theirs[name], row) for name, row in ours.items())


def _documentation(call):
    """Of each command that there is, the same group and version."""
    sides = []
    for value in both(call):
        if isinstance(value, list):
            value = {name: dict(zip(facts[::2], facts[1::2])) for name, facts in zip(value[::2], value[1::2])}
        if not isinstance(value, dict):
            return False
        sides.append({name: facts for name, facts in value.items() if name not in NEWER})
    theirs = {name: facts for name, facts in sides[0].items() if ALL_OF_REDIS or name.decode() in rows()}
    return set(theirs) == set(sides[1]) and all(theirs[name].get(field) == facts.get(field) for name, facts in sides[1].items() for field in (b"since", b"group"))


def _fewer_commands(call):
    if name_of(call.command) == "command|count":
        return call.got == b":%d\r\n" % len(top_names())
    want, got = both_are(call, list)
    return want is not None and sorted(name for name in want if ALL_OF_REDIS or name.decode() in rows()) == sorted(name for name in got if name not in NEWER)


def _help_text(call):
    """The same first line; a line for each subcommand of the table, each of which Redis's text has as well."""
    want, got = both_are(call, list)
    if want is None or want[0] != got[0]:
        return False
    theirs, ours = ({line.split(" ")[0] for line in lines[1:] if not line.startswith(" ")} for lines in (want, got))
    container = call.command[0].decode().lower()
    here = {name.split("|")[1].upper() for name in rows() if name.startswith(container + "|")}
    known = here - {name.split("|")[1].upper() for name in newer_names()}
    return here <= ours and known <= theirs and ours <= theirs | here


ABOUT_COMMANDS = {"command": _descriptions, "command|info": _descriptions, "command|docs": _documentation, "command|count": _fewer_commands, "command|list": _fewer_commands,
                  **{container + "|help": _help_text for container in HELP_OF}}


@allowed(*ABOUT_COMMANDS,
         what="COMMAND and its subcommands, and HELP: only the commands that there are, in any order; texts, arguments, categories, tips and key "
         "specifications in our own words",
         why="they are made from a table of our own, and Redis's texts are not ours")
def about_commands(call):
    return ABOUT_COMMANDS[name_of(call.command)](call)


@allowed("config|get", what="CONFIG GET: only the options that there are, those of our own, and in another order",
         why="options that would do nothing are not offered")
def options(call):
    """The same value of every option that both have."""
    sides = []
    for value in both(call):
        value = dict(zip(value[::2], value[1::2])) if isinstance(value, list) else value
        if not isinstance(value, dict):
            return False
        sides.append(value)
    theirs, ours = sides
    here = {name.lower() for name in ours} if ALL_OF_REDIS else {name.encode() for name in option_names()}
    theirs_here = {name: value for name, value in theirs.items() if name.lower() in here}
    return all(name.lower() in here for name in ours) and theirs_here == {name: value for name, value in ours.items() if name in theirs}


# --- what a value is kept as ------------------------------------------------------------------------------------------------------

@allowed("object|encoding", what="OBJECT ENCODING tells what a value of these bytes would be kept as, not how it came about (by APPEND, SETRANGE, INCRBYFLOAT, …)",
         why="a value is its bytes, and nothing keeps more")
def encoding(call):
    """The driver has set a new key of redis-server to the same bytes and asked for that."""
    return call.want in (b"$3\r\nraw\r\n", b"$6\r\nembstr\r\n") and call.got == call.facts.get("encoding of a new value")


@allowed("object|refcount", what="OBJECT REFCOUNT is always 1", why="small integers are not shared objects")
def reference_count(call):
    return call.want == b":%d\r\n" % SHARED_INTEGERS and call.got == b":1\r\n"


@allowed("object|idletime", what="OBJECT IDLETIME needs an LRU policy", why="without one nobody notes when keys are used")
def idle_time(call):
    return call.want[:1] == b":" and call.want != b":-1\r\n" and call.got == NO_LRU_POLICY


@allowed("pfadd", "pfcount", "pfmerge", "pfdebug", what="a HyperLogLog that ends in the middle of a run is corrupt", why="Redis reads, and writes, the byte behind the value")
def broken_off(call):
    return call.got == b"-INVALIDOBJ Corrupted HLL object detected\r\n" and call.want != call.got and call.facts.get("a sketch breaks off", False)


# --- transactions ------------------------------------------------------------------------------------------------------------------

NIL = (b"*-1\r\n", b"_\r\n")


@allowed("exec", "watch",
         what="a watched key that has changed and has the same value and expiry again counts as unchanged, one that a failing BITFIELD has made longer as changed, "
         "one of more than 32 KiB as changed when a "
         "key in the same bucket of the index has; at most 10,000 watched keys a connection",
         why="a watch is a look at the value, which nobody has to remember when md dies")
def watched(call):
    if name_of(call.command) == "watch":
        return call.want == b"+OK\r\n" and call.got == b"-ERR too many watched keys\r\n"
    if call.want in NIL and call.got.startswith(b"*"):
        return call.facts.get("watched keys are as they were", False)
    # BITFIELD with OVERFLOW FAIL makes a value longer and changes nothing else: redis-server does not count that.
    changed = call.facts.get("watched keys are as they were", True) is False
    return call.got in NIL and call.want.startswith(b"*") and (changed or call.facts.get("a watched key is large", False))


@allowed("swapdb", "hello", "client|reply", "exec", "config|get",
         what="in a transaction no SWAPDB, no HELLO, no CLIENT REPLY, and no FLUSHDB of more than 100,000 keys; CONFIG GET in one shows what was before EXEC",
         why="a transaction is one commit, whose size is bounded; HELLO and CLIENT REPLY change how its own reply would be written; io_conn answers CONFIG GET")
def transactions(call):
    """What is queued by one server and refused by the other makes EXEC differ as well."""
    name = name_of(call.command)
    if name == "exec":
        return call.got == EXECABORT and call.want.startswith((b"*", b"_")) and call.facts.get("a queued command was refused", False)
    if name == "config|get":
        want, got = both(call)
        return call.facts.get("EXEC changes the configuration", False) and isinstance(want, (list, dict)) and list(want)[::2] == list(got)[::2]
    return call.want == b"+QUEUED\r\n" and call.got == NOT_IN_MULTI[name]
