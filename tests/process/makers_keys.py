"""Makers of random commands about keys and strings, and of transactions."""

from makers import COUNTS, FLOATS, FRACTIONS, KEYS, LETTERS, ODD_FLOATS, PATTERNS, SKETCHES, TIMED, Conversation, crc64, makes

FIELDS = [b"u8", b"i8", b"u1", b"i1", b"u63", b"i64", b"i5", b"u13"]
ODD_FIELDS = [b"u64", b"i65", b"i0", b"x8", b"u", b"U8"]
# What DUMP has given for 1, -70000, "" and a text of 40 letters; and things that are none.
DUMPS = [dump + crc64(dump) for dump in (b"\0\xc0\x01\n\0", b"\0\xc2\x90\xee\xfe\xff\n\0", b"\0\0\n\0", b"\0\xc3\t\x28\x01aa\xe0\x1a\0\x01aa\n\0")]
ODD_DUMPS = [dump + crc64(dump) for dump in (b"\1\xc0\x01\n\0", b"\0\xc0\x01\n\1")] + [b"", b"short", b"\0" * 20]


# --- strings ----------------------------------------------------------------------------------------------------------

def _set_option(words):
    name = words.one_of(b"EX", b"PX", b"EXAT", b"PXAT", b"KEEPTTL", b"NX", b"XX", b"GET", b"NX", b"XX", b"GET")
    if name in (b"EX", b"PX"):
        return [name, words.lifetime()]
    return [name, words.moment(name == b"EXAT")] if name in (b"EXAT", b"PXAT") else [name]


@makes("set", weight=10)
def _set(words, _name):
    kind = words.random.randrange(20)
    if kind < 3:
        return [b"SET", words.key(COUNTS), words.number(0.05)]
    if kind < 4:
        return [b"SET", words.key(FRACTIONS), words.usual(FLOATS, ODD_FLOATS)]
    if kind < 6:
        return [b"SET", words.key(LETTERS), bytes(words.random.choices(b"acgt", k=words.one_of(0, 3, 40, 300)))]
    if kind < 7:
        return [b"SET", words.key(TIMED), words.value(), *words.one_of([], [b"KEEPTTL"], [b"EXAT", words.moment(True)], [b"PXAT", words.moment(False)])]
    if kind < 8:
        return _expired(words)
    return [b"SET", words.key(), words.value(), *words.some(lambda: _set_option(words), (0, 0, 0, 1, 1, 1, 2, 3))]


def _expired(words):
    """A value that is gone at once. DEL follows, since until then DBSIZE may count it or not."""
    key = words.key()
    return [b"SET", key, words.value(), words.one_of(b"EXAT", b"PXAT"), b"1"], [b"GET", key], [b"DEL", key]


@makes("get", weight=8)
@makes("strlen", "getdel", "type", "dump", "ttl", "pttl", "persist", "expiretime", "pexpiretime")
def _of_a_key(words, name):
    return [name.upper().encode(), words.any_key()]


@makes("incr", "decr", weight=1.5)
def _incr(words, name):
    return [name.upper().encode(), words.key(COUNTS)]


@makes("incrby", "decrby", weight=1.5)
def _incrby(words, name):
    return [name.upper().encode(), words.key(COUNTS), words.number()]


@makes("incrbyfloat", weight=1.5)
def _incrbyfloat(words, _name):
    return [b"INCRBYFLOAT", words.key(FRACTIONS), words.usual(FLOATS, ODD_FLOATS) if words.chance(0.7) else words.number()]


@makes("mset", weight=2)
def _mset(words, _name):
    some = [argument for key in words.keys() for argument in (key, words.value())]
    return [b"MSET", *some, *([words.key(COUNTS), words.integer(), words.key(FRACTIONS), words.integer()] if words.chance(0.3) else [])]


@makes("msetnx")
def _msetnx(words, _name):
    return [b"MSETNX"] + [argument for _ in range(words.one_of(1, 1, 2)) for argument in (words.one_of(*KEYS, b"fresh%d" % words.random.randrange(30)), words.value())]


@makes("mget", "del", "exists", "touch", "unlink", weight=2)
def _of_keys(words, name):
    return [name.upper().encode(), *(words.keys() if words.chance(0.7) else [words.any_key()])]


@makes("append")
def _append(words, _name):
    return [b"APPEND", words.key(), words.one_of(b"", b"1", b"abc", b"\0" * 50, b"5", words.value())]


@makes("getset", "setnx")
def _with_value(words, name):
    return [name.upper().encode(), words.key(), words.value()]


@makes("getrange", "substr")
def _getrange(words, name):
    return [name.upper().encode(), words.any_key(), words.index(), words.index()]


@makes("setrange", weight=1.5)
def _setrange(words, _name):
    if words.chance(0.2):      # into a sketch, which mostly is none any more
        return [b"SETRANGE", words.key(SKETCHES), b"%d" % words.random.choice((0, 4, 5, 8, 15, 16, 17, 20, 40, 100)), words.random.randbytes(words.one_of(1, 1, 1, 2, 20))]
    offset = b"%d" % words.one_of(1048576, 1048575) if words.chance(0.004) else words.usual((b"0", b"1", b"5", b"100"), (b"-1", b"x", b"9223372036854775807", b""))
    return [b"SETRANGE", words.key(), offset, words.value()[:2000]]


@makes("lcs")
def _lcs(words, _name):
    options = words.one_of([], [], [b"LEN"], [b"IDX"], [b"IDX", b"MINMATCHLEN", words.one_of(b"2", b"4", b"-1", b"x")], [b"IDX", b"WITHMATCHLEN"], [b"LEN", b"IDX"],
                           [b"MINMATCHLEN"], [b"x"])
    return [b"LCS", words.random.choice(LETTERS), words.random.choice([*LETTERS, b"nosuch", *COUNTS]), *options]


@makes("getex")
def _getex(words, _name):
    option = words.one_of([], [b"PERSIST"], [b"EXAT", words.moment(True)], [b"PXAT", words.moment(False)], [b"PERSIST", b"EXAT", b"1"], [b"EX", words.lifetime()],
                          [b"KEEPTTL"], [b"x"])
    return [b"GETEX", words.key(TIMED), *option]


@makes("setex", "psetex")
def _setex(words, name):
    return [name.upper().encode(), words.key(), words.lifetime(), words.value()]


# --- bits -------------------------------------------------------------------------------------------------------------

def _unit(words):
    return words.one_of([], [b"BYTE"], [b"BIT"], [b"bit"]) if words.chance(0.93) else [b"x"]


def _bit(words):
    return words.usual((b"0", b"1", b"1"), (b"2", b"x", b""))


@makes("setbit")
def _setbit(words, _name):
    return [b"SETBIT", words.key(), words.offset(), _bit(words)]


@makes("getbit")
def _getbit(words, _name):
    return [b"GETBIT", words.any_key(), words.offset()]


@makes("bitcount")
def _bitcount(words, _name):
    return [b"BITCOUNT", words.any_key(), *words.one_of([], [], [words.index(), words.index(), *_unit(words)], [b"1", b"-2", *_unit(words)], [words.index()])]


@makes("bitpos")
def _bitpos(words, _name):
    return [b"BITPOS", words.any_key(), _bit(words), *words.one_of([], [words.index()], [b"2"], [words.index(), words.index(), *_unit(words)], [b"1", b"-1", *_unit(words)])]


@makes("bitop")
def _bitop(words, _name):
    operation = words.usual((b"AND", b"OR", b"XOR", b"NOT", b"xor"), (b"NAND",))
    return [b"BITOP", operation, words.key(), *([words.any_key()] if operation == b"NOT" and words.chance(0.8) else words.keys()[:4])]


def _field(words, kinds):
    kind = words.one_of(*kinds)
    if kind == b"OVERFLOW":
        return [kind, words.usual((b"WRAP", b"SAT", b"FAIL", b"sat"), (b"x",))]
    value = [] if kind.upper() == b"GET" else [words.number(0.06) if words.chance(0.5) else b"%d" % words.random.randint(-300, 300)]
    return [kind, words.usual(FIELDS, ODD_FIELDS, 0.06), words.one_of(b"#0", b"#1", b"#3", words.offset()), *value]


@makes("bitfield", weight=1.5)
def _bitfield(words, _name):
    return [b"BITFIELD", words.key(), *words.some(lambda: _field(words, (b"GET", b"SET", b"INCRBY", b"INCRBY", b"OVERFLOW", b"get")), (0, 1, 1, 2, 3))]


@makes("bitfield_ro")
def _bitfield_ro(words, _name):
    return [b"BITFIELD_RO", words.any_key(), *words.some(lambda: _field(words, (b"GET", b"get") if words.chance(0.9) else (b"SET", b"OVERFLOW")), (0, 1, 1, 2, 3))]


# --- expiry, other names and places ------------------------------------------------------------------------------------

@makes("expire", "pexpire")
def _expire(words, name):
    """Without GT and LT on keys that live for a time from now: two such times may be equal on one side only."""
    condition = words.one_of([], [], [], [b"NX"], [b"XX"], [b"x"], [b"GT", b"LT"], [b"NX", b"LT"])
    return [name.upper().encode(), words.key(), words.lifetime(), *condition]


@makes("expireat", "pexpireat")
def _expireat(words, name):
    condition = words.one_of([], [], [], [b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"gt"], [b"XX", b"GT"]) if words.chance(0.8) else words.one_of([b"NX", b"XX"], [b"GT", b"LT"], [b"x"])
    return [name.upper().encode(), words.key(TIMED), words.moment(name == "expireat"), *condition]


@makes("rename", "renamenx", weight=1.2)
def _rename(words, name):
    family = TIMED if words.chance(0.3) else KEYS
    one, other = words.key(family), words.key(family)
    return ([b"SET", one, words.value()], [name.upper().encode(), one, other]) if words.chance(0.3) else [name.upper().encode(), one, other]


@makes("move")
def _move(words, _name):
    return [b"MOVE", words.any_key(), words.database()]


@makes("copy")
def _copy(words, _name):
    family = TIMED if words.chance(0.3) else KEYS
    options = words.one_of([], [b"REPLACE"], [b"REPLACE"], [b"DB", words.database()], [b"DB", words.database(), b"REPLACE"], [b"DB"], [b"x"])
    return [b"COPY", words.key(family), words.key(family), *options]


@makes("restore", weight=1.5)
def _restore(words, _name):
    """What some value's DUMP was, or something like it."""
    dump = words.usual(DUMPS, ODD_DUMPS)
    if dump and words.chance(0.08):
        place = words.random.randrange(len(dump))
        dump = dump[:place] + bytes([words.random.randrange(256)]) + dump[place + 1:]
    options = words.some(lambda: words.usual(([b"REPLACE"], [b"ABSTTL"], [b"IDLETIME", b"5"], [b"FREQ", b"7"]),
                                             ([b"IDLETIME", b"-1"], [b"FREQ", b"256"], [b"FREQ", b"x"], [b"FREQ"], [b"x"])), (0, 0, 1, 2))
    lifetime = words.usual((b"0", b"0", b"10000000000", b"33177117420000"), (b"-1", b"x"))
    return [b"RESTORE", words.key(), lifetime, dump, *([b"REPLACE"] if words.chance(0.8) else []), *options]


# --- looking for keys, whole databases -----------------------------------------------------------------------------------

@makes("keys")
def _keys(words, _name):
    return [b"KEYS", words.random.choice(PATTERNS)]


@makes("scan")
def _scan(words, _name):
    """All in one call, or a conversation from the first call to the last one."""
    options = words.some(lambda: words.one_of([b"MATCH", words.random.choice(PATTERNS)], [b"TYPE", b"string"], [b"TYPE", b"list"], [b"match", b"*"]), (0, 0, 1, 2))
    if words.chance(0.1):
        return [b"SCAN", *words.one_of([b"x"], [b"1 "], [b"0", b"COUNT"], [b"0", b"COUNT", b"0"], [b"0", b"COUNT", b"x"], [b"0", b"x", b"1"], [b"99999999999999999999999"])]
    if words.chance(0.5):
        return [b"SCAN", b"0", *options, b"COUNT", b"100000"]
    return Conversation([b"SCAN", words.one_of(b"0", b"0", b""), *options, *words.one_of([], [b"COUNT", b"1"], [b"COUNT", b"3"], [b"COUNT", b"50"])])


@makes("randomkey")
def _randomkey(_words, _name):
    return Conversation([b"RANDOMKEY"])


@makes("dbsize")
def _dbsize(_words, _name):
    return [b"DBSIZE"]


@makes("flushdb", "flushall", weight=0.8)
def _flush(words, name):
    return [name.upper().encode(), *words.usual(([], [], [b"ASYNC"], [b"SYNC"], [b"async"]), ([words.value()[:50]],), 0.15)]


@makes("swapdb")
def _swapdb(words, _name):
    return [b"SWAPDB", words.database(), words.database()]


# --- sketches -----------------------------------------------------------------------------------------------------------

def _elements(words):
    return [b"e%d" % words.random.randrange(words.one_of(20, 3000, 10**9)) for _ in range(words.one_of(0, 1, 1, 2, 5, 50) if words.chance(0.98) else 2500)]


def _good_sketch(words):
    """One that nothing but these commands has made."""
    key, other = words.random.sample(SKETCHES, 2)
    return [b"DEL", key], [b"PFADD", key, *_elements(words)], [b"GET", key], [b"PFCOUNT", key], [b"DEL", other], [b"PFMERGE", other, key], [b"DUMP", other]


@makes("pfadd", weight=3)
def _pfadd(words, _name):
    key = words.random.choice(SKETCHES)
    kind = words.random.random()
    if kind < 0.25:
        return _good_sketch(words)
    if kind < 0.3:
        return [b"SET", key, words.one_of(b"HYLL" + words.random.randbytes(12), b"HYLL\1\0\0\0" + words.random.randbytes(8) + words.random.randbytes(words.one_of(0, 2, 20)),
                                          b"HYLL\0\0\0\0" + b"\0" * 8 + words.random.randbytes(12288), b"HYLL\1\0\0\0" + b"\0" * 8 + b"\x7f\xff" * words.one_of(1, 2, 3), b"HYLL")]
    return [b"PFADD", words.any_key() if words.chance(0.02) else key, *_elements(words)]


@makes("pfcount", weight=1.5)
def _pfcount(words, _name):
    return [b"PFCOUNT", *[words.any_key() if words.chance(0.03) else words.random.choice(SKETCHES) for _ in range(words.one_of(1, 1, 1, 2, 3))]]


@makes("pfmerge")
def _pfmerge(words, _name):
    return [b"PFMERGE", *[words.random.choice(SKETCHES) for _ in range(words.one_of(1, 2, 2, 3))]]


@makes("pfdebug")
def _pfdebug(words, _name):
    """GETREG gives 16384 numbers, so it is asked for seldom."""
    kind = b"GETREG" if words.chance(0.03) else words.usual((b"DECODE", b"ENCODING", b"encoding", b"TODENSE"), (b"x", b""), 0.05)
    key = words.random.choice(SKETCHES)
    command = [b"PFDEBUG", kind, key, *([b"x"] if words.chance(0.03) else [])]
    return ([b"DEL", key], [b"PFADD", key, *_elements(words)], command) if words.chance(0.5) else command


# --- about keys -----------------------------------------------------------------------------------------------------------

@makes("object|encoding")
def _object_encoding(words, _name):
    return Conversation([b"OBJECT", b"ENCODING", words.any_key()])


@makes("object|refcount")
def _object_refcount(words, _name):
    return [b"OBJECT", b"REFCOUNT", words.any_key()]


@makes("object|freq")
def _object_freq(words, _name):
    """Of a key that was just made while the policy keeps frequencies, mostly; else an error."""
    key, more = words.key(), [[b"GET", b"a"]] * words.one_of(0, 0, 3)
    asked = [b"OBJECT", b"FREQ", key]
    if words.chance(0.3):
        return asked
    return [b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lfu"], [b"DEL", key], [b"SET", key, b"v"], *more, asked, [b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction"]


@makes("object|idletime")
def _object_idletime(words, _name):
    key = words.key()
    asked = [b"OBJECT", b"IDLETIME", key]
    if words.chance(0.3):
        return asked
    return [b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"], [b"DEL", key], [b"SET", key, b"v"], asked, [b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction"]


# --- transactions -------------------------------------------------------------------------------------------------------

IN_TRANSACTIONS = ("set", "get", "incr", "decrby", "mset", "mget", "append", "del", "exists", "setbit", "bitfield", "bitop", "expireat", "persist", "getex", "rename", "move",
                   "copy", "setrange", "incrbyfloat", "msetnx", "getset", "getdel", "strlen", "type", "keys", "dbsize", "select", "restore",
                   "dump", "ping", "echo", "client|getname", "pexpiretime", "touch", "flushdb")


@makes("multi", weight=1.2)
def _multi(words, _name):
    """A transaction; now and then a command in it is refused."""
    from makers import MAKERS
    commands = []
    for _ in range(words.one_of(0, 1, 2, 5, 12)):
        name = words.one_of(*IN_TRANSACTIONS)
        made = MAKERS[name][1](words, name) if words.chance(0.95) else _good_sketch(words)
        commands += made if isinstance(made, tuple) else [made]
    if words.chance(0.1):
        commands.append(words.one_of([b"nonsense"], [b"MULTI"], [b"GET"], [b"WATCH", b"a"], [b"FLUSHALL"], [b"EXEC", b"x"]))
        commands += [[b"SET", words.key(), words.value()], [b"DBSIZE"]]
    if words.chance(0.002):
        commands.append(words.one_of([b"SWAPDB", b"0", b"1"], [b"HELLO", b"2"], [b"CONFIG", b"GET", b"maxmemory-samples"]))
    return [b"MULTI"], *commands, [b"EXEC"]


@makes("exec", "discard")
def _end_of_transaction(words, name):
    """Mostly of one that was begun, also without one."""
    begin = [[b"MULTI"], [b"SET", words.key(), words.value()], [b"GET", words.key()]] if words.chance(0.7) else []
    return *begin, [name.upper().encode()]


@makes("watch")
def _watch(words, _name):
    """Left in place for a transaction of this connection that comes some time later, or with one at once."""
    keys = words.keys()[:3]
    watch = [b"WATCH", *keys]
    if words.chance(0.5):
        return watch
    change = words.one_of([], [], [[b"SET", words.key(), words.fresh_value()]], [[b"DEL", words.key()]], [[b"UNWATCH"]])
    return watch, *change, [b"MULTI"], [b"SET", keys[0], words.fresh_value()], [b"GET", keys[0]], [b"EXEC"]


@makes("unwatch")
def _unwatch(_words, _name):
    return [b"UNWATCH"]
