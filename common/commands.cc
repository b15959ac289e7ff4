// See commands.h. Runs in io_conn and md.
#include "common/commands.h"

#include <array>

#include "common/text.h"

namespace millrace {

namespace {

using namespace command_flag;

constexpr CommandRow kRows[] = {
#define MR_COMMAND(identifier, name, arity, flags, first, last, step, place, group, since, complexity, summary) \
    {CommandId::identifier, name, arity, flags, first, last, step, CommandPlace::place, group, since, complexity, summary},
#include "common/commands.def"
#undef MR_COMMAND
};

/// Open-addressing table from a name to its row, filled at compile time; a power of two well above the row count.
constexpr unsigned kSlots = 512;
constexpr uint16_t kEmpty = 0xffff;
static_assert(kCommandCount * 2 < kSlots);

constexpr unsigned name_hash(std::string_view name) {
    uint32_t hash = 2166136261u;  // FNV-1a
    for (char c : name) hash = (hash ^ static_cast<uint8_t>(lower(c))) * 16777619u;
    return (hash ^ hash >> 15) % kSlots;
}

constexpr auto kTable = []() {
    std::array<uint16_t, kSlots> table{};
    table.fill(kEmpty);
    for (uint16_t row = 0; row < kCommandCount; ++row) {
        unsigned slot = name_hash(kRows[row].name);
        while (table[slot] != kEmpty) slot = (slot + 1) % kSlots;
        table[slot] = row;
    }
    return table;
}();

}  // namespace

std::span<const CommandRow> command_rows() { return kRows; }

const CommandRow* find_command(std::string_view name) {
    for (unsigned slot = name_hash(name); kTable[slot] != kEmpty; slot = (slot + 1) % kSlots) {
        const CommandRow& row = kRows[kTable[slot]];
        if (equals_ignoring_case(row.name, name)) return row.subcommand() ? nullptr : &row;
    }
    return nullptr;
}

const CommandRow* find_subcommand(const CommandRow& container, std::string_view name) {
    const size_t prefix = container.name.size() + 1;
    for (unsigned i = static_cast<unsigned>(container.id) + 1; i < kCommandCount; ++i) {
        const CommandRow& row = kRows[i];
        if (!row.name.starts_with(container.name) || row.name.size() < prefix || row.name[prefix - 1] != '|') break;
        if (equals_ignoring_case(row.name.substr(prefix), name)) return &row;
    }
    return nullptr;
}

}  // namespace millrace
