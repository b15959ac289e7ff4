// Commands that see a string as bits, as Redis 7.0 answers them. Runs in md; handlers only (see handlers.h).
#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "common/byte_range.h"
#include "common/text.h"
#include "md/handlers.h"

namespace millrace::md {

namespace {

constexpr std::string_view kBadOffset = "ERR bit offset is not an integer or out of range";
constexpr std::string_view kBadBit = "ERR bit is not an integer or out of range";
constexpr std::string_view kBadField =
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";

/// The offset of a bit; `width`: of the field that `#N` counts in, 0 = not allowed. Empty after an error reply.
std::optional<uint64_t> bit_offset(Plan& plan, std::string_view text, unsigned width) {
    const bool in_fields = width > 0 && text.starts_with('#');
    int64_t offset;
    bool valid = parse_integer(text.substr(in_fields), offset);
    valid = valid && !(in_fields && __builtin_mul_overflow(offset, static_cast<int64_t>(width), &offset));
    valid = valid && offset >= 0 && static_cast<uint64_t>(offset) / 8 < plan.value_bytes_max();
    if (valid) return static_cast<uint64_t>(offset);
    plan.reply().error(kBadOffset);
    return std::nullopt;
}

unsigned bit_at(std::string_view bytes, uint64_t offset) {
    return offset / 8 < bytes.size() ? static_cast<uint8_t>(bytes[offset / 8]) >> (7 - offset % 8) & 1u : 0;
}

void set_bit(std::string& bytes, uint64_t offset, unsigned bit) {
    const auto mask = static_cast<uint8_t>(1u << (7 - offset % 8));
    auto& byte = reinterpret_cast<uint8_t&>(bytes[offset / 8]);
    byte = static_cast<uint8_t>(bit != 0 ? byte | mask : byte & ~mask);
}

/// Bits [from, to) of bytes that are set.
uint64_t count_bits(std::string_view bytes, uint64_t from, uint64_t to) {
    uint64_t count = 0;
    for (; from < to && from % 8 != 0; ++from) count += bit_at(bytes, from);
    for (; to - from >= 64; from += 64) {
        uint64_t word;
        std::memcpy(&word, bytes.data() + from / 8, sizeof word);
        count += static_cast<uint64_t>(std::popcount(word));
    }
    for (; from < to; ++from) count += bit_at(bytes, from);
    return count;
}

/// The first bit of [from, to) that is `bit`; empty if there is none.
std::optional<uint64_t> find_bit(std::string_view bytes, unsigned bit, uint64_t from, uint64_t to) {
    const auto other = static_cast<char>(bit != 0 ? 0 : 0xff);
    for (; from < to; ++from) {
        if (from % 8 == 0)
            while (to - from >= 8 && bytes[from / 8] == other) {
                from += 8;
                if (from >= to) return std::nullopt;
            }
        if (bit_at(bytes, from) == bit) return from;
    }
    return std::nullopt;
}

/// A range of BITCOUNT and BITPOS as bits [from, to) of a value of so many bytes; from > to: it is empty.
struct BitRange {
    uint64_t from, to;
};
BitRange bit_range(int64_t start, int64_t end, bool in_bits, uint64_t bytes) {
    const auto total = static_cast<int64_t>(in_bits ? bytes * 8 : bytes);
    if (start < 0) start = std::max<int64_t>(total + start, 0);
    if (end < 0) end = std::max<int64_t>(total + end, 0);
    end = std::min(end, total - 1);
    if (start > end) return {1, 0};
    const uint64_t unit = in_bits ? 1 : 8;
    return {static_cast<uint64_t>(start) * unit, (static_cast<uint64_t>(end) + 1) * unit};
}

/// Reads BYTE or BIT; false after an error reply.
bool parse_unit(Plan& plan, std::string_view word, bool& in_bits) {
    in_bits = equals_ignoring_case(word, "BIT");
    if (in_bits || equals_ignoring_case(word, "BYTE")) return true;
    plan.reply().error(error_text::kSyntax);
    return false;
}

bool parse_number(Plan& plan, std::string_view word, int64_t& number) {
    if (parse_integer(word, number)) return true;
    plan.reply().error(error_text::kNotAnInteger);
    return false;
}

enum class BitOperation { conjunction, disjunction, difference, negation };

/// Combines bytes with what is there of the sources before; the first one is taken as it is, or negated.
void combine(BitOperation operation, bool first, const char* from, char* to, uint64_t count) {
    if (operation == BitOperation::negation) {
        for (uint64_t i = 0; i < count; ++i) to[i] = static_cast<char>(~from[i]);
    } else if (first) {
        std::memcpy(to, from, count);
    } else if (operation == BitOperation::conjunction) {
        for (uint64_t i = 0; i < count; ++i) to[i] = static_cast<char>(to[i] & from[i]);
    } else if (operation == BitOperation::disjunction) {
        for (uint64_t i = 0; i < count; ++i) to[i] = static_cast<char>(to[i] | from[i]);
    } else {
        for (uint64_t i = 0; i < count; ++i) to[i] = static_cast<char>(to[i] ^ from[i]);
    }
}

// --- BITFIELD -------------------------------------------------------------------------------------------------------------

enum class Overflow { wrap, saturate, fail };

struct FieldType {
    bool is_signed;
    unsigned bits;
};

struct FieldOperation {
    enum class Kind { get, set, increment } kind;
    FieldType type;
    Overflow overflow;
    uint64_t offset;
    int64_t operand;
};

std::optional<FieldType> parse_field_type(std::string_view text) {
    int64_t bits;
    if (text.size() < 2 || (text[0] != 'i' && text[0] != 'u') || !parse_integer(text.substr(1), bits)) return std::nullopt;
    const bool is_signed = text[0] == 'i';
    if (bits < 1 || bits > (is_signed ? 64 : 63)) return std::nullopt;
    return FieldType{is_signed, static_cast<unsigned>(bits)};
}

uint64_t read_field(std::string_view bytes, uint64_t offset, unsigned bits) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bits; ++i) value = value << 1 | bit_at(bytes, offset + i);
    return value;
}

void write_field(std::string& bytes, uint64_t offset, unsigned bits, uint64_t value) {
    for (unsigned i = 0; i < bits; ++i) set_bit(bytes, offset + i, value >> (bits - 1 - i) & 1u);
}

int64_t as_signed(uint64_t value, unsigned bits) {
    if (bits < 64 && (value >> (bits - 1) & 1) != 0) value |= ~uint64_t{0} << bits;
    return static_cast<int64_t>(value);
}

/// A sum, or a value to be set, brought into the type's range; empty if that is not to be (Overflow::fail). Where a number is so far out of
/// range that the distance to the limits does not fit 64 bits, the limit is the one that Redis's arithmetic takes.
std::optional<uint64_t> fit(const FieldType& type, Overflow overflow, uint64_t old, int64_t operand, bool adds) {
    const uint64_t mask = type.bits == 64 ? ~uint64_t{0} : (uint64_t{1} << type.bits) - 1;
    const int64_t increment = adds ? operand : 0;
    bool over, under;
    uint64_t base, highest, lowest;
    if (type.is_signed) {
        const int64_t value = adds ? as_signed(old, type.bits) : operand;
        const auto max = static_cast<int64_t>(mask >> 1), min = -max - 1;
        base = static_cast<uint64_t>(value);
        highest = static_cast<uint64_t>(max);
        lowest = static_cast<uint64_t>(min);
        const auto up = static_cast<int64_t>(highest - base), down = static_cast<int64_t>(lowest - base);
        over = value > max || (type.bits != 64 && increment > up) || (value >= 0 && increment > 0 && increment > up);
        under = value < min || (type.bits != 64 && increment < down) || (value < 0 && increment < 0 && increment < down);
    } else {  // what is set is taken as unsigned: -1 is the greatest number that there is
        base = adds ? old : static_cast<uint64_t>(operand);
        highest = mask;
        lowest = 0;
        over = base > mask || (increment > 0 && increment > static_cast<int64_t>(mask - base));
        under = increment < 0 && increment < -static_cast<int64_t>(base);
    }
    const uint64_t wrapped = (base + static_cast<uint64_t>(increment)) & mask;
    if ((!over && !under) || overflow == Overflow::wrap) return wrapped;
    if (overflow == Overflow::fail) return std::nullopt;
    return (over ? highest : lowest) & mask;
}

/// False after an error reply.
bool parse_field_operations(Plan& plan, Arguments words, bool read_only, std::vector<FieldOperation>& operations) {
    Overflow overflow = Overflow::wrap;
    for (size_t i = 0; i < words.size();) {
        const size_t left = words.size() - i - 1;
        FieldOperation operation{};
        size_t taken;
        if (equals_ignoring_case(words[i], "GET") && left >= 2) {
            operation.kind = FieldOperation::Kind::get;
            taken = 3;
        } else if (equals_ignoring_case(words[i], "SET") && left >= 3) {
            operation.kind = FieldOperation::Kind::set;
            taken = 4;
        } else if (equals_ignoring_case(words[i], "INCRBY") && left >= 3) {
            operation.kind = FieldOperation::Kind::increment;
            taken = 4;
        } else if (equals_ignoring_case(words[i], "OVERFLOW") && left >= 1) {
            if (equals_ignoring_case(words[i + 1], "WRAP")) overflow = Overflow::wrap;
            else if (equals_ignoring_case(words[i + 1], "SAT")) overflow = Overflow::saturate;
            else if (equals_ignoring_case(words[i + 1], "FAIL")) overflow = Overflow::fail;
            else return plan.reply().error("ERR Invalid OVERFLOW type specified"), false;
            i += 2;
            continue;
        } else {
            return plan.reply().error(error_text::kSyntax), false;
        }
        const auto type = parse_field_type(words[i + 1]);
        if (!type) return plan.reply().error(kBadField), false;
        const auto offset = bit_offset(plan, words[i + 2], type->bits);
        if (!offset) return false;
        operation.type = *type;
        operation.overflow = overflow;
        operation.offset = *offset;
        if (operation.kind != FieldOperation::Kind::get && !parse_number(plan, words[i + 3], operation.operand)) return false;
        operations.push_back(operation);
        i += taken;
    }
    const auto is_get = [](const FieldOperation& operation) { return operation.kind == FieldOperation::Kind::get; };
    if (!read_only || std::ranges::all_of(operations, is_get)) return true;
    plan.reply().error("ERR BITFIELD_RO only supports the GET subcommand");
    return false;
}

void bitfield(Plan& plan, Arguments arguments, bool read_only) {
    std::vector<FieldOperation> operations;
    if (!parse_field_operations(plan, arguments.subspan(1), read_only, operations)) return;
    uint64_t bits_needed = 0, bits_looked_at = 0, first_bit = ~uint64_t{0};
    for (const FieldOperation& operation : operations) {
        const uint64_t end = operation.offset + operation.type.bits;
        if (operation.kind != FieldOperation::Kind::get) bits_needed = std::max(bits_needed, end);
        bits_looked_at = std::max(bits_looked_at, end);
        first_bit = std::min(first_bit, operation.offset);
    }
    const std::string_view key = arguments[0];
    const bool writes = bits_needed != 0;
    const std::optional<Value> old = writes ? plan.find(key) : plan.read(key);
    // Of a large value only the bytes around the fields.
    const uint64_t window_at = first_bit / 8, window_bytes = (bits_looked_at + 7) / 8 - window_at;
    const bool in_window = old && !operations.empty() && plan.can_patch(*old, window_at, window_bytes);
    const uint64_t begin = in_window ? window_at : 0;
    std::string bytes(in_window ? plan.part(*old, {window_at, window_bytes}) : plan.bytes(old));
    for (FieldOperation& operation : operations) operation.offset -= begin * 8;
    const uint64_t length = (bits_needed + 7) / 8;
    if (!in_window && bytes.size() < length) bytes.resize(length);
    plan.reply().array(static_cast<uint32_t>(operations.size()));
    for (const FieldOperation& operation : operations) {
        const uint64_t before = read_field(bytes, operation.offset, operation.type.bits);
        const auto shown = [&](uint64_t value) { return operation.type.is_signed ? as_signed(value, operation.type.bits) : static_cast<int64_t>(value); };
        if (operation.kind == FieldOperation::Kind::get) {
            plan.reply().integer(shown(before));
            continue;
        }
        const bool adds = operation.kind == FieldOperation::Kind::increment;
        const auto after = fit(operation.type, operation.overflow, before, operation.operand, adds);
        if (!after) {
            plan.reply().null();
            continue;
        }
        write_field(bytes, operation.offset, operation.type.bits, *after);
        plan.reply().integer(shown(adds ? *after : before));
    }
    if (!writes) return;
    if (in_window) plan.patch(key, *old, begin, plan.keep(bytes));
    else plan.set(key, plan.keep(bytes), old ? old->expire_at_ms : kNoExpiry);
}

}  // namespace

void handle_setbit(Plan& plan, Arguments arguments) {
    const auto offset = bit_offset(plan, arguments[1], 0);
    if (!offset) return;
    int64_t bit;
    if (!parse_integer(arguments[2], bit) || (bit != 0 && bit != 1)) return plan.reply().error(kBadBit);
    const std::optional<Value> old = plan.find(arguments[0]);
    if (old && plan.can_patch(*old, *offset / 8, 1)) {
        std::string byte(plan.part(*old, {*offset / 8, 1}));
        plan.reply().integer(bit_at(byte, *offset % 8));
        set_bit(byte, *offset % 8, static_cast<unsigned>(bit));
        return plan.patch(arguments[0], *old, *offset / 8, plan.keep(byte));
    }
    std::string bytes(plan.bytes(old));
    plan.reply().integer(bit_at(bytes, *offset));
    if (bytes.size() <= *offset / 8) bytes.resize(*offset / 8 + 1);
    set_bit(bytes, *offset, static_cast<unsigned>(bit));
    plan.set(arguments[0], plan.keep(bytes), old ? old->expire_at_ms : kNoExpiry);
}

void handle_getbit(Plan& plan, Arguments arguments) {
    const auto offset = bit_offset(plan, arguments[1], 0);
    if (!offset) return;
    const std::optional<Value> value = plan.read(arguments[0]);
    if (!value || *offset / 8 >= value->length()) return plan.reply().integer(0);
    plan.reply().integer(bit_at(plan.part(*value, {*offset / 8, 1}), *offset % 8));
}

void handle_bitcount(Plan& plan, Arguments arguments) {
    const std::optional<Value> value = plan.read(arguments[0]);
    if (!value) return plan.reply().integer(0);
    const uint64_t length = value->length();
    BitRange range{0, length * 8};
    if (arguments.size() == 3 || arguments.size() == 4) {
        int64_t start, end;
        bool in_bits = false;
        if (!parse_number(plan, arguments[1], start) || !parse_number(plan, arguments[2], end)) return;
        if (start < 0 && end < 0 && start > end) return plan.reply().integer(0);
        if (arguments.size() == 4 && !parse_unit(plan, arguments[3], in_bits)) return;
        range = bit_range(start, end, in_bits, length);
    } else if (arguments.size() != 1) {
        return plan.reply().error(error_text::kSyntax);
    }
    if (range.from >= range.to) return plan.reply().integer(0);
    const uint64_t first = range.from / 8, last = (range.to + 7) / 8;
    const std::string_view bytes = plan.part(*value, {first, last - first});
    plan.reply().integer(static_cast<int64_t>(count_bits(bytes, range.from - first * 8, range.to - first * 8)));
}

void handle_bitpos(Plan& plan, Arguments arguments) {
    int64_t bit, start = 0, end = -1;
    bool in_bits = false;
    if (!parse_number(plan, arguments[1], bit)) return;
    if (bit != 0 && bit != 1) return plan.reply().error("ERR The bit argument must be 1 or 0.");
    const std::optional<Value> value = plan.read(arguments[0]);
    if (!value) return plan.reply().integer(bit != 0 ? -1 : 0);
    if (arguments.size() > 5) return plan.reply().error(error_text::kSyntax);
    if (arguments.size() >= 3 && !parse_number(plan, arguments[2], start)) return;
    if (arguments.size() == 5 && !parse_unit(plan, arguments[4], in_bits)) return;
    if (arguments.size() >= 4 && !parse_number(plan, arguments[3], end)) return;
    const bool end_given = arguments.size() >= 4;
    const BitRange range = bit_range(start, end, in_bits, value->length());
    if (range.from >= range.to) return plan.reply().integer(-1);
    const uint64_t first = range.from / 8, last = (range.to + 7) / 8;
    const std::string_view bytes = plan.part(*value, {first, last - first});
    const auto found = find_bit(bytes, static_cast<unsigned>(bit), range.from - first * 8, range.to - first * 8);
    if (found) return plan.reply().integer(static_cast<int64_t>(*found + first * 8));
    // Without a given end a value goes on with zeroes for ever.
    plan.reply().integer(bit != 0 || end_given ? -1 : static_cast<int64_t>(range.to));
}

void handle_bitop(Plan& plan, Arguments arguments) {
    BitOperation operation;
    if (equals_ignoring_case(arguments[0], "AND")) operation = BitOperation::conjunction;
    else if (equals_ignoring_case(arguments[0], "OR")) operation = BitOperation::disjunction;
    else if (equals_ignoring_case(arguments[0], "XOR")) operation = BitOperation::difference;
    else if (equals_ignoring_case(arguments[0], "NOT")) operation = BitOperation::negation;
    else return plan.reply().error(error_text::kSyntax);
    const Arguments sources = arguments.subspan(2);
    if (operation == BitOperation::negation && sources.size() != 1)
        return plan.reply().error("ERR BITOP NOT must be called with a single source key.");
    std::vector<std::optional<Value>> inputs;
    uint64_t longest = 0;
    for (const std::string_view key : sources) {
        inputs.push_back(plan.read(key));
        if (inputs.back()) longest = std::max(longest, inputs.back()->length());
    }
    // Piece by piece: no more memory is needed than for the result.
    constexpr uint64_t kPieceBytes = 64 * 1024;
    std::string result(longest, '\0'), piece(std::min(longest, kPieceBytes), '\0');
    for (uint64_t at = 0; at < longest; at += kPieceBytes) {
        char* const to = result.data() + at;
        const uint64_t count = std::min(kPieceBytes, longest - at);
        for (size_t input = 0; input < inputs.size(); ++input) {
            const uint64_t length = inputs[input] ? inputs[input]->length() : 0;
            const uint64_t here = length > at ? std::min(count, length - at) : 0;
            std::ranges::fill(piece, '\0');
            if (here != 0) plan.copy(*inputs[input], {at, here}, piece.data());
            combine(operation, input == 0, piece.data(), to, count);
            plan.tick();
        }
    }
    const std::string_view destination = arguments[1];
    if (longest != 0) plan.set(destination, plan.keep(result), kNoExpiry);
    else if (plan.find(destination)) plan.erase(destination);
    plan.reply().integer(static_cast<int64_t>(longest));
}

void handle_bitfield(Plan& plan, Arguments arguments) { bitfield(plan, arguments, false); }
void handle_bitfield_ro(Plan& plan, Arguments arguments) { bitfield(plan, arguments, true); }

}  // namespace millrace::md
