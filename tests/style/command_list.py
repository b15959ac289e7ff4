"""The README's table of Redis 7.0's commands, here or not here yet, is the one that the command table makes.

    tests/style/command_list.py --write      puts it into the README
"""

import re
import unittest

from readme_section import Section
from source_tree import lines_of

# The names of Redis 7.0's commands by its groups; those that only its own tests and its cluster's nodes use are left out.
REDIS_7_0 = {
    "string": "append decr decrby get getdel getex getrange getset incr incrby incrbyfloat lcs mget mset msetnx psetex set setex setnx setrange strlen substr",
    "bitmap": "bitcount bitfield bitfield_ro bitop bitpos getbit setbit",
    "hyperloglog": "pfadd pfcount pfdebug pfmerge pfselftest",
    "generic": "copy del dump exists expire expireat expiretime keys migrate move object persist pexpire pexpireat pexpiretime pttl randomkey rename"
               " renamenx restore scan sort sort_ro touch ttl type unlink wait",
    "connection": "auth client echo hello ping quit reset select",
    "server": "acl bgrewriteaof bgsave command config dbsize debug failover flushall flushdb info lastsave latency lolwut memory module monitor psync"
              " replicaof role save shutdown slaveof slowlog swapdb sync time",
    "transactions": "discard exec multi unwatch watch",
    "pubsub": "psubscribe publish pubsub punsubscribe spublish ssubscribe subscribe sunsubscribe unsubscribe",
    "scripting": "eval eval_ro evalsha evalsha_ro fcall fcall_ro function script",
    "hash": "hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx hstrlen hvals",
    "list": "blmove blmpop blpop brpop brpoplpush lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset ltrim rpop rpoplpush rpush rpushx",
    "set": "sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop srandmember srem sscan sunion sunionstore",
    "sorted set": "bzmpop bzpopmax bzpopmin zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore zpopmax zpopmin"
                  " zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex zremrangebyrank zremrangebyscore zrevrange"
                  " zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion zunionstore",
    "stream": "xack xadd xautoclaim xclaim xdel xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange xsetid xtrim",
    "geo": "geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro geosearch geosearchstore",
    "cluster": "asking cluster readonly readwrite",
}


def names_here():
    """{command: [subcommands]} of common/commands.def, but for commands that are no clients' business."""
    here = {}
    for name, flags in re.findall(r'^MR_COMMAND\(\w+, "([^"]+)", -?\d+, ([^,]+),', "\n".join(lines_of("common/commands.def")), re.MULTILINE):
        command, _, subcommand = name.partition("|")
        if "internal" in flags and not subcommand:
            continue
        here.setdefault(command, [])
        if subcommand and subcommand != "help":
            here[command].append(subcommand)
    return here


def shown(name, subcommands):
    return "%s (%s)" % (name, " ".join(subcommands)) if subcommands else name


def table():
    here = names_here()
    rows = ["| group | here | not here yet |", "|---|---|---|"]
    for group, names in REDIS_7_0.items():
        have = [shown(name, here[name]) for name in names.split() if name in here]
        miss = [name for name in names.split() if name not in here]
        rows.append("| %s | %s | %s |" % (group, " ".join(have), " ".join(miss)))
    return "".join(row + "\n" for row in rows)


SECTION = Section("commands", "tests/style/command_list.py", table)


class CommandList(unittest.TestCase):
    def test_the_readme_has_it(self):
        SECTION.check(self)

    def test_every_command_is_in_it(self):
        known = {name for names in REDIS_7_0.values() for name in names.split()}
        self.assertEqual(set(names_here()) - known, set())


if __name__ == "__main__":
    SECTION.main()
