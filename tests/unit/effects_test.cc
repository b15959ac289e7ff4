// Replaying what the oplog says of a command on the keys before it gives the keys after it: every command of md, with random
// arguments, alone and in transactions. The seed is printed when something differs; SEED=n repeats a run.
#include <cstdlib>
#include <map>
#include <random>

#include "common/message.h"
#include "md/dump_format.h"
#include "md/handlers.h"
#include "tests/crash/contents.h"
#include "tests/unit/channel_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

using Words = std::vector<std::string>;

constexpr int64_t kNow = 1'700'000'000'000;

/// Arguments by example: K a key, V a value, N a number, S a small number, F a float, T a time in ms to come, P one that is over, L a list of keys, D a database, H
/// a sketch's key, B the bytes of a DUMP.
const std::map<std::string, std::vector<const char*>> kExamples{
    {"append", {"K V"}}, {"bitcount", {"K", "K S S BIT"}}, {"bitfield", {"K SET u8 S N", "K INCRBY i16 S S GET u4 0", "K OVERFLOW FAIL INCRBY u2 0 3"}},
    {"bitfield_ro", {"K GET u8 S"}}, {"bitop", {"AND K K K", "NOT K K", "XOR K L"}}, {"bitpos", {"K 1", "K 0 S"}}, {"client|pause", {"pause 0 WRITE"}},
    {"client|unpause", {"unpause"}}, {"config|resetstat", {"resetstat"}}, {"config|set", {"set maxmemory-samples S", "set slowlog-max-len N"}},
    {"copy", {"K K", "K K REPLACE", "K K DB D REPLACE"}}, {"dbsize", {""}}, {"decr", {"K"}}, {"decrby", {"K N"}}, {"del", {"K", "L"}}, {"dump", {"K"}}, {"exists", {"L"}},
    {"debug|digest", {"digest"}}, {"debug|digest-value", {"digest-value K"}}, {"debug|object", {"object K"}}, {"debug|populate", {"populate S K S"}},
    {"debug|set-active-expire", {"set-active-expire 1"}}, {"debug|sleep", {"sleep 0"}},
    {"expire", {"K 100", "K -1", "K 100 NX", "K 50 GT", "K 20 LT"}}, {"expireat", {"K 1", "K 1800000000"}}, {"expiretime", {"K"}}, {"flushall", {"", "ASYNC"}},
    {"flushdb", {"", "SYNC"}}, {"get", {"K"}}, {"getbit", {"K S"}}, {"getdel", {"K"}}, {"getex", {"K", "K PERSIST", "K PX 100", "K PXAT P"}}, {"getrange", {"K 0 S"}},
    {"getset", {"K V"}}, {"incr", {"K"}}, {"incrby", {"K N"}}, {"incrbyfloat", {"K F"}}, {"keys", {"*"}}, {"lcs", {"K K", "K K LEN"}}, {"memory|usage", {"usage K"}},
    {"mget", {"L"}}, {"move", {"K D"}}, {"mset", {"K V K V", "K V"}}, {"msetnx", {"K V K V", "K V"}}, {"object|encoding", {"encoding K"}},
    {"object|freq", {"freq K"}}, {"object|idletime", {"idletime K"}}, {"object|refcount", {"refcount K"}}, {"persist", {"K"}}, {"pexpire", {"K S", "K 0", "K N XX"}},
    {"pexpireat", {"K T", "K P", "K T NX"}}, {"pexpiretime", {"K"}}, {"pfadd", {"H V V V", "H"}}, {"pfcount", {"H", "H H"}}, {"pfdebug", {"todense H", "getreg H"}},
    {"pfmerge", {"H H H", "H H"}}, {"pfselftest", {""}}, {"psetex", {"K N V"}}, {"pttl", {"K"}}, {"randomkey", {""}}, {"rename", {"K K"}}, {"renamenx", {"K K"}},
    {"restore", {"K 0 B REPLACE", "K T B ABSTTL REPLACE", "K P B ABSTTL REPLACE", "K 0 B"}}, {"scan", {"0", "0 COUNT S"}},
    {"set", {"K V", "K V PX N", "K N", "K V NX", "K V XX KEEPTTL", "K V PXAT P", "K V GET"}}, {"setbit", {"K S 1", "K S 0"}}, {"setex", {"K 100 V"}}, {"setnx", {"K V"}},
    {"setrange", {"K S V"}}, {"strlen", {"K"}}, {"substr", {"K 0 S"}}, {"swapdb", {"D D"}}, {"touch", {"L"}}, {"ttl", {"K"}}, {"type", {"K"}}, {"unlink", {"K", "L"}},
};
/// EXEC has a test of its own, WATCH answers tokens, and whom a server follows is no data.
const std::vector<std::string> kNoExamples{"exec", "watch", "ms_alone", "ms_apply", "ms_execute", "ms_history", "ms_pair", "ms_reload", "ms_window", "replicaof", "slaveof"};
/// No part of transactions, or too long for many of them.
const std::vector<std::string> kAlone{"swapdb", "pfselftest", "debug|populate", "debug|sleep"};

struct Replayer {
    explicit Replayer(unsigned seed) : random(seed), crowd(8192) { engine().store.set_oplog_on(true); }

    unsigned below(unsigned count) { return static_cast<unsigned>(random() % count); }
    std::string key() { return below(8) == 0 ? "" : "key" + std::to_string(below(9)); }
    std::string value() {
        switch (below(5)) {
            case 0: return std::to_string(below(1000));
            case 1: return "";
            case 2: return std::string(below(70), 'x');
            case 3: return std::string(below(3000), 'y');
            default: {
                std::string bytes(below(40), '\0');
                for (char& byte : bytes) byte = static_cast<char>(random());
                return bytes;
            }
        }
    }
    void add(char kind, Words& words) {
        switch (kind) {
            case 'K': return words.push_back(key());
            case 'V': return words.push_back(value());
            case 'N': return words.push_back(std::to_string(1 + below(100'000)));
            case 'S': return words.push_back(std::to_string(below(60)));
            case 'F': return words.push_back("1.5");
            case 'T': return words.push_back(std::to_string(now + 1 + below(500)));
            case 'P': return words.push_back(std::to_string(now - below(500)));
            case 'D': return words.push_back(std::to_string(below(3)));
            case 'H': return words.push_back("sketch" + std::to_string(below(3)));
                case 'B': return words.push_back(dump());
            default:
                for (unsigned i = 0; i <= below(4); ++i) words.push_back(key());
        }
    }
    /// What DUMP gives for some key, or nothing that RESTORE takes.
    std::string dump() {
        const std::string bytes = "value" + std::to_string(below(100));
        return md::dump_string(bytes);
    }
    Words arguments_for(const std::string& name) {
        const auto& examples = kExamples.at(name);
        Words words;
        std::string_view example = examples[below(static_cast<unsigned>(examples.size()))];
        while (!example.empty()) {
            const std::string_view word = example.substr(0, example.find(' '));
            example.remove_prefix(std::min(word.size() + 1, example.size()));
            if (word.size() == 1 && std::isupper(word[0])) add(word[0], words);
            else words.emplace_back(word);
        }
        return words;
    }

    md::Engine& engine() { return crowd.engine(); }

    /// Executes a command; empty, or what the oplog says otherwise than the store.
    std::string execute(const CommandRow& row, const Words& words) {
        const md::StoreMemory memory = crowd.space.view();
        const uint64_t tail = memory.root().oplog_tail;
        std::vector<std::string_view> arguments(words.begin(), words.end());
        std::vector<std::byte> room(8192);
        engine().reply.begin(room.data(), static_cast<uint32_t>(room.size()));
        engine().plan.begin(database, now);
        md::handler_of(row.id)(engine().plan, arguments);
        changed += !engine().plan.changes_nothing();
        if (!engine().plan.build() || !engine().store.commit()) return "there was no memory for it";
        crowd.collect();
        contents = crash::read_contents(memory);
        if (std::string wrong = crash::replay(memory, tail, keys); !wrong.empty()) return wrong;
        while (engine().store.release_oplog(memory.root().oplog_tail)) {}
        const auto replayed = crash::without_bytes(keys);
        if (replayed != contents.keys) return crash::difference(crash::Contents{contents.keys, {}}, crash::Contents{replayed, {}});
        return {};
    }

    std::mt19937_64 random;
    Group crowd;
    crash::ReplayedKeys keys;
    crash::Contents contents;
    unsigned database = 0;
    int64_t now = kNow;
    uint64_t changed = 0;
};

unsigned seed_of_run() {
    const char* const given = std::getenv("SEED");
    return given != nullptr ? static_cast<unsigned>(std::atoi(given)) : std::random_device()();
}

std::vector<const CommandRow*> md_commands() {
    std::vector<const CommandRow*> rows;
    for (const CommandRow& row : command_rows())
        if (row.place == CommandPlace::md && std::ranges::find(kNoExamples, row.name) == kNoExamples.end()) rows.push_back(&row);
    return rows;
}

}  // namespace

TEST_CASE("effects: each command of md has an example") {
    for (const CommandRow* row : md_commands()) CHECK_MESSAGE(kExamples.contains(std::string(row->name)), row->name);
}

TEST_CASE("effects: replayed on the keys before a command they give the keys after it") {
    const unsigned seed = seed_of_run();
    Replayer replayer(seed);
    std::map<std::string, uint64_t> changes;
    for (unsigned round = 0; round < 60; ++round) {
        for (const CommandRow* row : md_commands()) {
            // Commands that empty databases are rare, so that others find something.
            const bool empties = row->name.starts_with("flush");
            if ((empties || row->id == CommandId::pfselftest) && round % 20 != 19) continue;
            for (unsigned i = 0; i < (row->is(command_flag::write) && !empties ? 6 : 1); ++i) {
                const Words words = replayer.arguments_for(std::string(row->name));
                const uint64_t before = replayer.changed;
                const std::string wrong = replayer.execute(*row, words);
                std::string shown(row->name);
                for (const std::string& word : words) shown += " '" + word.substr(0, 40) + "'";
                REQUIRE_MESSAGE(wrong.empty(), "SEED=", seed, ": ", shown, ": ", wrong);
                changes[std::string(row->name)] += replayer.changed - before;
                replayer.now += replayer.below(20);
                replayer.database = replayer.below(10) == 0 ? replayer.below(3) : 0;
            }
        }
    }
    for (const CommandRow* row : md_commands())  // or nothing was shown about it
        if (row->is(command_flag::write)) CHECK_MESSAGE(changes[std::string(row->name)] > 0, "SEED=", seed, ": ", row->name);
    CHECK(replayer.crowd.faults() == "");
}

TEST_CASE("effects: the same of transactions") {
    const unsigned seed = seed_of_run();
    Replayer replayer(seed);
    std::vector<const CommandRow*> rows = md_commands();
    std::erase_if(rows, [](const CommandRow* row) { return std::ranges::find(kAlone, row->name) != kAlone.end(); });
    for (unsigned round = 0; round < 1500; ++round) {
        Words requests(1);
        std::string shown;
        for (unsigned count = 1 + replayer.below(6); count > 0; --count) {
            const CommandRow& row = *rows[replayer.below(static_cast<unsigned>(rows.size()))];
            if (row.name.starts_with("flush") && replayer.below(10) != 0) continue;
            const Words words = replayer.arguments_for(std::string(row.name));
            const std::vector<std::string_view> arguments(words.begin(), words.end());
            std::string request(request_bytes(arguments), '\0');
            write_request(reinterpret_cast<std::byte*>(request.data()),
                          {static_cast<uint16_t>(row.id), static_cast<uint8_t>(replayer.below(2)), 0, static_cast<uint32_t>(arguments.size()), 0}, arguments);
            requests.push_back(std::move(request));
            shown += " | " + std::string(row.name);
            for (const std::string& word : words) shown += " '" + word.substr(0, 20) + "'";
        }
        const std::string wrong = replayer.execute(command_row(CommandId::exec), requests);
        REQUIRE_MESSAGE(wrong.empty(), "SEED=", seed, ": ", shown, ": ", wrong);
        replayer.now += replayer.below(20);
    }
    CHECK(replayer.changed > 500);
    CHECK(replayer.crowd.faults() == "");
}
