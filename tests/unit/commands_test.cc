// The command table: sorted and consistent, found by name in any case, and each of md's commands with a handler.
#include "common/commands.h"

#include <set>

#include "common/text.h"
#include "md/handlers.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::unit;

namespace {

const CommandRow& row(std::string_view name) {
    const CommandRow* found = find_command(name);
    REQUIRE(found != nullptr);
    return *found;
}

bool has_handler(CommandId id) { return md::handler_of(id) != nullptr; }

/// The name of its container, or its own.
std::string_view container_of(const CommandRow& row) { return row.name.substr(0, row.name.find('|')); }

}  // namespace

TEST_CASE("command table: the index is the id, names are unique and in lower case") {
    std::set<std::string_view> names;
    for (const CommandRow& row : command_rows()) {
        CAPTURE(row.name);
        CHECK(&command_row(row.id) == &row);
        CHECK(names.insert(row.name).second);
        CHECK(lowered(row.name) == row.name);
    }
    CHECK(names.size() == kCommandCount);
}

TEST_CASE("command table: sorted by name, subcommands behind their container") {
    std::string_view before;
    for (const CommandRow& row : command_rows()) {
        CAPTURE(row.name);
        CHECK(before < row.name);
        before = row.name;
        if (row.subcommand()) CHECK(find_command(container_of(row)) != nullptr);
    }
}

TEST_CASE("command table: arity, keys and flags fit each other") {
    for (const CommandRow& row : command_rows()) {
        CAPTURE(row.name);
        CHECK(row.arity != 0);
        CHECK((row.first_key == 0) == (row.key_step == 0));
        CHECK((row.first_key == 0) == (row.last_key == 0));
        if (row.first_key > 0) CHECK(std::abs(row.arity) > row.first_key);
        CHECK_FALSE((row.is(command_flag::write) && row.is(command_flag::readonly)));
        if (row.is(command_flag::denyoom)) CHECK(row.is(command_flag::write));
        if (row.subcommand()) CHECK(std::abs(row.arity) >= 2);
        CHECK_FALSE(row.summary.empty());
        CHECK_FALSE(row.since.empty());
    }
}

TEST_CASE("command table: every command of md has a handler, no other has") {
    for (const CommandRow& row : command_rows()) {
        CAPTURE(row.name);
        CHECK(has_handler(row.id) == (row.place == CommandPlace::md));
    }
    CHECK_FALSE(has_handler(static_cast<CommandId>(kCommandCount)));
    CHECK_FALSE(has_handler(static_cast<CommandId>(0xffff)));
}

TEST_CASE("finding a command: every name in any case, subcommands not this way") {
    for (const CommandRow& row : command_rows()) {
        CAPTURE(row.name);
        std::string shouted(row.name);
        for (char& c : shouted) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
        const CommandRow* expected = row.subcommand() ? nullptr : &row;
        CHECK(find_command(row.name) == expected);
        CHECK(find_command(shouted) == expected);
    }
}

TEST_CASE("finding a command: what is almost one is none") {
    for (const std::string_view name : {"", "ge", "gett", " get", "get ", "client|", "|list", "\xff"})
        CHECK(find_command(name) == nullptr);
    CHECK(find_command(std::string_view("get\0", 4)) == nullptr);
    CHECK(find_command(std::string(100'000, 'g')) == nullptr);
}

TEST_CASE("finding a subcommand: in any case, and only in its own container") {
    const CommandRow& client = row("client");
    REQUIRE(find_subcommand(client, "LiSt") != nullptr);
    CHECK(find_subcommand(client, "LiSt")->name == "client|list");
    CHECK(find_subcommand(client, "get") == nullptr);
    CHECK(find_subcommand(client, "") == nullptr);
    CHECK(find_subcommand(row("config"), "get")->name == "config|get");
    CHECK(find_subcommand(row("get"), "get") == nullptr);
}

TEST_CASE("finding a subcommand: each one from its container") {
    for (const CommandRow& each : command_rows())
        if (each.subcommand())
            CHECK(find_subcommand(row(container_of(each)), each.name.substr(each.name.find('|') + 1)) == &each);
}

TEST_CASE("arity: exact, or at least") {
    CHECK(row("get").accepts(2));
    CHECK_FALSE(row("get").accepts(1));
    CHECK_FALSE(row("get").accepts(3));
    CHECK(row("del").accepts(2));
    CHECK(row("del").accepts(2000));
    CHECK_FALSE(row("del").accepts(1));
}
