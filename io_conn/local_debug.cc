// DEBUG's subcommands that need no data, and what is none. Runs in io_conn; see local.h. The others are rows of their own in the command table.
#include <fmt/format.h>

#include <string>

#include "common/log.h"
#include "common/text.h"
#include "io_conn/local.h"

namespace millrace::io_conn {

namespace {

constexpr std::string_view kHelp[] = {
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "ERROR <string>",
    "    Return a Redis protocol error with <string> as message. Useful for clients",
    "    unit tests to simulate Redis errors.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>. If <prefix> is specified then",
    "    it is used instead of the 'key' prefix.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type. <type> can be: string,",
    "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
    "    true, false.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
    "    default.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    "HELP",
    "    Prints this help.",
};

struct ProtocolSample {
    std::string_view type, resp2, resp3;
};
/// Redis's test values.
constexpr ProtocolSample kSamples[] = {
    {"string", "$11\r\nHello World\r\n", "$11\r\nHello World\r\n"},
    {"integer", ":12345\r\n", ":12345\r\n"},
    {"double", "$5\r\n3.141\r\n", ",3.141\r\n"},
    {"null", "$-1\r\n", "_\r\n"},
    {"array", "*3\r\n:0\r\n:1\r\n:2\r\n", "*3\r\n:0\r\n:1\r\n:2\r\n"},
    {"set", "*3\r\n:0\r\n:1\r\n:2\r\n", "~3\r\n:0\r\n:1\r\n:2\r\n"},
    {"map", "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n", "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n"},
    {"attrib", "$39\r\nSome real reply following the attribute\r\n",
     "|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n$39\r\nSome real reply following the attribute\r\n"},
    {"push", "", ">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n$40\r\nSome real reply following the push reply\r\n"},
    {"verbatim", "$25\r\nThis is a verbatim\nstring\r\n", "=29\r\ntxt:This is a verbatim\nstring\r\n"},
    {"true", ":1\r\n", "#t\r\n"},
    {"false", ":0\r\n", "#f\r\n"},
    {"bignum", "$37\r\n1234567999999999999999999999999999999\r\n", "(1234567999999999999999999999999999999\r\n"},
};

void write_sample(const LocalCall& call, std::string_view type) {
    for (const ProtocolSample& sample : kSamples) {
        if (!equals_ignoring_case(type, sample.type)) continue;
        if (!call.out.resp3() && sample.resp2.empty()) return call.out.error("ERR RESP2 is not supported by this command");
        return call.out.raw(call.out.resp3() ? sample.resp3 : sample.resp2);
    }
    call.out.error("ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false");
}

}  // namespace

void local_debug(const LocalCall& call) {
    const Arguments words = call.words;
    const auto is = [&](std::string_view name, size_t count) { return words.size() == count && equals_ignoring_case(words[1], name); };
    if (is("HELP", 2)) {
        call.out.array(std::size(kHelp));
        for (const std::string_view line : kHelp) call.out.status(line);
    } else if (is("PROTOCOL", 3)) {
        write_sample(call, words[2]);
    } else if (is("ERROR", 3)) {
        call.out.error(words[2]);
    } else if (is("LOG", 3)) {
        constexpr size_t kLoggedBytesMax = 1024;
        log::warning("DEBUG LOG: {}", words[2].substr(0, kLoggedBytesMax));
        call.out.ok();
    } else {
        call.out.error(fmt::format("ERR unknown subcommand or wrong number of arguments for '{}'. Try DEBUG HELP.", words[1].substr(0, words[1].find('\0')).substr(0, 128)));
    }
}

}  // namespace millrace::io_conn
