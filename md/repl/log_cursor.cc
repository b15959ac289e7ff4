// See log_cursor.h. Runs in md_repl.
#include "md/repl/log_cursor.h"

#include "common/effects.h"

namespace millrace::md_repl {

namespace {

/// The stream number of a record; 0: it has none.
uint64_t stream_of(uint64_t number, std::string_view effects, bool following) {
    EffectReader reader(effects);
    Effect effect;
    if (reader.next(effect) && effect.header.kind == EffectKind::origin) return effect.header.stream_number();
    return following ? 0 : number;
}

}  // namespace

std::unique_ptr<LogCursor> LogCursor::behind_number(const std::string& folder, uint64_t number, uint64_t stream, bool following) {
    return std::unique_ptr<LogCursor>(new LogCursor(folder, number, stream, following));
}

/// From the newest file whose first record is not behind the number on, record by record.
std::unique_ptr<LogCursor> LogCursor::behind_stream(const std::string& folder, uint64_t stream, bool following) {
    const auto files = disk::numbered_logs(folder);
    for (auto file = files.rbegin(); file != files.rend(); ++file) {
        if (!disk::log_reaches_back(folder, file->number)) return nullptr;
        auto cursor = behind_number(folder, file->number, 0, following);
        Record record;
        Outcome outcome = cursor->next(record);
        if (outcome == Outcome::lost) return nullptr;
        // Whether what is asked for is before this file, nobody can say without a record, unless numbers are stream numbers.
        if (outcome == Outcome::none && (following || file->number > stream)) continue;
        if (outcome == Outcome::record && record.stream > stream && (following || file->number > stream)) continue;
        while (outcome == Outcome::record && record.stream <= stream) outcome = cursor->next(record);
        if (outcome == Outcome::lost) return nullptr;
        if (outcome == Outcome::record) {
            cursor->record_ = record;
            cursor->kept_ = true;
        }
        cursor->stream_ = stream;
        return cursor;
    }
    return nullptr;
}

LogCursor::Outcome LogCursor::next(Record& record) {
    if (kept_) {
        kept_ = false;
        record = record_;
        stream_ = record.stream;
        return Outcome::record;
    }
    while (!lost_) {
        switch (reader_.next()) {
            case disk::LogReader::Outcome::record: break;
            case disk::LogReader::Outcome::end:
            case disk::LogReader::Outcome::tail: return Outcome::none;
            default: lost_ = true; continue;  // the reader would go on behind it
        }
        record = {reader_.number(), stream_of(reader_.number(), reader_.effects(), following_), reader_.effects()};
        if (record.stream <= stream_) continue;
        stream_ = record.stream;
        return Outcome::record;
    }
    return Outcome::lost;
}

}  // namespace millrace::md_repl
