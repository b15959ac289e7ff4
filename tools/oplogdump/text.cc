// See text.h. Runs in oplogdump.
#include "tools/oplogdump/text.h"

#include <fmt/format.h>

#include <ctime>

namespace millrace::oplogdump {

namespace {

/// Bytes as a JSON string: escaped as for people, so that every byte can be told again, and then as JSON has it.
std::string json_of(std::string_view bytes) {
    std::string json = "\"";
    for (const char c : escaped(bytes)) {
        if (c == '\\' || c == '"') json += '\\';
        json += c;
    }
    return json + "\"";
}

const char* name_of(EffectKind kind) {
    switch (kind) {
        case EffectKind::set: return "set";
        case EffectKind::erase: return "erase";
        case EffectKind::origin: return "origin";
        case EffectKind::checksum: return "checksum";
        case EffectKind::clear_database: return "clear";
        case EffectKind::swap_databases: return "swap";
        case EffectKind::set_expiry: return "expire";
        case EffectKind::write_range: return "write";
    }
    return "?";
}

bool has_key(EffectKind kind) {
    return kind == EffectKind::set || kind == EffectKind::erase || kind == EffectKind::set_expiry || kind == EffectKind::write_range;
}

std::string expiry_text(int64_t expire_at_ms) { return expire_at_ms < 0 ? std::string() : fmt::format(" expires {}", expire_at_ms); }

std::string value_json(std::string_view value, const Style& style) {
    return fmt::format(R"("value": {}, "value_bytes": {})", json_of(style.full ? value : value.substr(0, kShownBytes)), value.size());
}

std::string json_line(const Origin& origin, const Effect& effect, const Style& style) {
    const EffectHeader& header = effect.header;
    std::string line = fmt::format(R"({{"file": {}, "offset": {}, "number": {}, "time": "{}", "effect": "{}", "database": {})", json_of(origin.file), origin.offset,
                                   origin.number, time_text(origin.wall_ms), name_of(header.kind), header.database);
    if (header.kind == EffectKind::swap_databases) line += fmt::format(R"(, "other": {})", header.other);
    if (header.kind == EffectKind::origin) line += fmt::format(R"(, "stream_number": {})", header.stream_number());
    if (header.kind == EffectKind::checksum) line += fmt::format(R"(, "checksum": "{:016x}", "anew": {})", header.checksum(), header.other != 0);
    if (has_key(header.kind)) line += fmt::format(R"(, "key": {})", json_of(effect.key));
    if (header.kind == EffectKind::set) line += fmt::format(R"(, {}, "expire_at_ms": {})", value_json(effect.value, style), header.expire_at_ms);
    if (header.kind == EffectKind::set_expiry) line += fmt::format(R"(, "expire_at_ms": {})", header.expire_at_ms);
    if (header.kind == EffectKind::write_range) line += fmt::format(R"(, "at": {}, {})", header.expire_at_ms, value_json(effect.value, style));
    return line + "}";
}

}  // namespace

std::string escaped(std::string_view bytes) {
    std::string text;
    for (const char c : bytes) {
        switch (c) {
            case '\\': text += "\\\\"; break;
            case '"': text += "\\\""; break;
            case '\n': text += "\\n"; break;
            case '\r': text += "\\r"; break;
            case '\t': text += "\\t"; break;
            case '\a': text += "\\a"; break;
            case '\b': text += "\\b"; break;
            default:
                if (c >= ' ' && c <= '~') text += c;
                else text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
    return text;
}

std::string shown(std::string_view bytes, const Style& style) {
    if (style.full || bytes.size() <= kShownBytes) return fmt::format("\"{}\"", escaped(bytes));
    return fmt::format("\"{}\"... ({} bytes)", escaped(bytes.substr(0, kShownBytes)), bytes.size());
}

std::string time_text(int64_t wall_ms) {
    const time_t seconds = wall_ms / 1000;
    tm parts;
    if (wall_ms <= 0 || gmtime_r(&seconds, &parts) == nullptr) return "-";
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                       wall_ms % 1000);
}

std::string line_of(const Origin& origin, const Effect& effect, const Style& style) {
    if (style.json) return json_line(origin, effect, style);
    const EffectHeader& header = effect.header;
    std::string line = fmt::format("{} {} db{} {}", origin.number, time_text(origin.wall_ms), header.database, name_of(header.kind));
    switch (header.kind) {
        case EffectKind::set: return line + fmt::format(" {} {}{}", shown(effect.key, style), shown(effect.value, style), expiry_text(header.expire_at_ms));
        case EffectKind::erase: return line + " " + shown(effect.key, style);
        case EffectKind::clear_database: return line;
        case EffectKind::origin: return line + fmt::format(" {}", header.stream_number());
        case EffectKind::checksum: return line + fmt::format(" {:016x}{}", header.checksum(), header.other != 0 ? ", to be taken anew" : "");
        case EffectKind::swap_databases: return line + fmt::format(" db{}", header.other);
        case EffectKind::set_expiry: return line + fmt::format(" {} {}", shown(effect.key, style), header.expire_at_ms < 0 ? "never" : fmt::format("at {}", header.expire_at_ms));
        case EffectKind::write_range: return line + fmt::format(" {} at {} {}", shown(effect.key, style), header.expire_at_ms, shown(effect.value, style));
    }
    return line;
}

std::string line_of(const std::string& file, const disk::SnapshotReader::Item& item, const Style& style) {
    if (!style.json) return fmt::format("{} db{} {} {}{}", item.stamp, item.database, shown(item.key, style), shown(item.value, style), expiry_text(item.expire_at_ms));
    return fmt::format(R"({{"file": {}, "number": {}, "database": {}, "key": {}, {}, "expire_at_ms": {}}})", json_of(file), item.stamp, item.database, json_of(item.key),
                       value_json(item.value, style), item.expire_at_ms);
}

}  // namespace millrace::oplogdump
