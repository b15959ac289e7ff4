// What a reader of the log makes of files that were torn, changed or made by somebody else: all that was whole before, nothing that was not
// written, and damage or a tail as L5 has it.
#include <cstring>

#include "common/clock.h"
#include "common/disk/data_folder.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/unit.h"

using namespace millrace;
using namespace millrace::disk;
using namespace millrace::unit;
using Outcome = LogReader::Outcome;

namespace {

/// A log of one small file, or two, with batches of several records; the last batch is not known to be durable.
struct SmallLog {
    explicit SmallLog(bool lz4, bool second_file = false) {
        LogWriter writer(folder.path(), {9, 1 << 20, lz4});
        REQUIRE(writer.open_new(0, false));
        uint64_t number = 0;
        for (unsigned batch = 0; batch < 5; ++batch) {
            if (batch == 3 && second_file) REQUIRE(writer.open_new(number, true));
            for (unsigned i = 0; i <= batch; ++i, ++number) add(writer, number + 1, effects_of(number + 1, 70 + i));
            REQUIRE(writer.write());
            if (batch != 1) REQUIRE(writer.sync());
        }
        for (const LogFileInfo& file : log_files(folder.path())) paths.push_back(file.path);
        whole = ReadLog(folder.path(), 0).records;
        REQUIRE(whole.size() == 15);
        frames = frames_of(paths.front());
        content = content_of(paths.front());
        REQUIRE(frames.back().end == content.size());
    }
    /// What is read when the first file has this content.
    ReadLog read_with(const std::string& changed) const {
        rewrite(paths.front(), changed);
        return ReadLog(folder.path(), 0);
    }
    /// Number of the last record that is whole in the first `bytes` bytes of the first file.
    uint64_t number_before(uint64_t bytes) const {
        uint64_t number = 0;
        for (const KnownFrame& frame : frames)
            if (frame.end <= bytes) number = frame.last_number;
        return number;
    }
    bool begins_with(const std::vector<ReadRecord>& records) const { return std::equal(records.begin(), records.end(), whole.begin()); }
    /// What a frame that is not whole at `offset` is.
    Outcome judgement(uint64_t offset) const {
        for (const KnownFrame& frame : frames)
            if (frame.begin > offset && frame.synced > offset) return Outcome::damage;
        return Outcome::tail;
    }

    Folder folder;
    std::vector<std::string> paths;
    std::string content;  ///< of the first file
    std::vector<KnownFrame> frames;
    std::vector<ReadRecord> whole;
};

template <class Structure>
Structure at(const std::string& bytes, uint64_t offset) {
    Structure structure;
    std::memcpy(&structure, bytes.data() + offset, sizeof structure);
    return structure;
}

template <class Structure>
void put(std::string& bytes, uint64_t offset, const Structure& structure) {
    std::memcpy(bytes.data() + offset, &structure, sizeof structure);
}

/// Puts a frame with a right checksum behind a log.
void append_frame(std::string& log, FrameHeader frame, std::string_view body) {
    frame.bytes = body.size();
    frame.crc = crc32c(body, crc_of(frame, at<LogHeader>(log, 0).crc));
    log.append(reinterpret_cast<const char*>(&frame), sizeof frame).append(body);
    log.resize(round_up(log.size(), 8));
}

template <class Structure>
std::string bytes_of(const Structure& structure) {
    return {reinterpret_cast<const char*>(&structure), sizeof structure};
}

}  // namespace

TEST_CASE("log damage: torn at every byte") {
    for (const bool lz4 : {false, true}) {
        const SmallLog log(lz4);
        for (uint64_t length = 0; length <= log.content.size(); ++length) {
            CAPTURE(lz4);
            CAPTURE(length);
            const ReadLog read = log.read_with(log.content.substr(0, length));
            REQUIRE(log.begins_with(read.records));
            REQUIRE(read.records.size() == log.number_before(length));
            // Where a frame ends; or first bytes of a checksum that are zeros, as room would be.
            uint64_t torn_at = sizeof(LogHeader);
            for (const KnownFrame& frame : log.frames)
                if (frame.end <= length) torn_at = frame.end;
            const bool ends = length >= sizeof(LogHeader) && log.content.find_first_not_of('\0', torn_at) >= length;
            REQUIRE(read.last() == (length < sizeof(LogHeader) ? Outcome::damage : ends ? Outcome::end : Outcome::tail));
            if (length < sizeof(LogHeader)) continue;
            REQUIRE(read.position.offset <= length);
            REQUIRE(ReadLog(log.folder.path(), 0).position.offset == read.position.offset);
            REQUIRE(log.number_before(read.position.offset) == read.records.size());
        }
    }
}

TEST_CASE("log damage: a torn file that has a successor is damage, or a gap where a frame ends") {
    for (const bool lz4 : {false, true}) {
        const SmallLog log(lz4, true);
        const uint64_t last = log.frames.back().last_number;
        for (uint64_t length = 0; length < log.content.size(); ++length) {
            CAPTURE(lz4);
            CAPTURE(length);
            const ReadLog read = log.read_with(log.content.substr(0, length));
            const uint64_t had = log.number_before(length);
            if (read.outcomes == std::vector{Outcome::gap, Outcome::end}) {
                REQUIRE(read.records.size() == had + log.whole.size() - last);
                REQUIRE(had < last);
                continue;
            }
            REQUIRE(read.outcomes == std::vector{Outcome::damage});
            REQUIRE(read.records.size() == had);
            REQUIRE(log.begins_with(read.records));
        }
    }
}

TEST_CASE("log damage: every bit of every byte flipped") {
    for (const bool lz4 : {false, true}) {
        const SmallLog log(lz4);
        unsigned damages = 0, tails = 0;
        for (uint64_t offset = 0; offset < log.content.size(); ++offset)
            for (unsigned bit = 0; bit < 8; ++bit) {
                CAPTURE(lz4);
                CAPTURE(offset);
                CAPTURE(bit);
                std::string changed = log.content;
                changed[offset] = static_cast<char>(changed[offset] ^ (1 << bit));
                const ReadLog read = log.read_with(changed);
                REQUIRE(log.begins_with(read.records));
                if (offset < sizeof(LogHeader)) {
                    const bool version = offset >= offsetof(LogHeader, version) && offset < offsetof(LogHeader, crc) && !(offset == offsetof(LogHeader, version) && bit == 0);
                    REQUIRE(read.outcomes == std::vector{version ? Outcome::refused : Outcome::damage});
                    continue;
                }
                const KnownFrame frame = *std::find_if(log.frames.begin(), log.frames.end(), [&](const KnownFrame& known) { return known.end > offset; });
                if (offset >= frame.meaningful) {  // zeros that nobody needs
                    REQUIRE(read.records == log.whole);
                    continue;
                }
                REQUIRE(read.records.size() == log.number_before(frame.begin));
                REQUIRE(read.outcomes == std::vector{log.judgement(frame.begin)});
                REQUIRE(read.position.offset == frame.begin);
                ++(read.last() == Outcome::damage ? damages : tails);
            }
        CHECK(damages > 1000);
        CHECK(tails > 1000);
    }
}

TEST_CASE("log damage: pieces written over, cut out and put in") {
    Random random;
    INFO("SEED=", random.seed);
    for (unsigned round = 0; round < 4; ++round) {
        const SmallLog log(round % 2 == 0, round >= 2);
        for (unsigned i = 0; i < 500; ++i) {
            std::string changed = log.content;
            const uint64_t from = random.below(changed.size()), count = random.below(std::min<uint64_t>(changed.size() - from, 200));
            switch (random.below(3)) {
                case 0: changed.replace(from, count, random.bytes(count)); break;
                case 1: changed.erase(from, count); break;
                default: changed.insert(from, changed.substr(random.below(changed.size()), count));
            }
            const ReadLog read = log.read_with(changed);
            for (const ReadRecord& record : read.records) REQUIRE(record == log.whole.at(record.number - 1));
            REQUIRE(std::is_sorted(read.records.begin(), read.records.end(), [](const ReadRecord& a, const ReadRecord& b) { return a.number < b.number; }));
        }
    }
}

TEST_CASE("log damage: whole frames that are missing inside of a file are seen") {
    const SmallLog log(false);
    for (size_t i = 0; i + 1 < log.frames.size(); ++i) {
        const KnownFrame& frame = log.frames[i];
        if (frame.synced != 0 || i == 0) continue;
        CAPTURE(i);
        std::string changed = log.content;
        changed.erase(frame.begin, frame.end - frame.begin);
        const ReadLog read = log.read_with(changed);
        REQUIRE(log.begins_with(read.records));
        CHECK((read.records.size() == frame.last_number - 1 || read.records == log.whole));
        CHECK((read.last() == Outcome::damage || frame.last_number == log.number_before(frame.begin)));
    }
}

TEST_CASE("log damage: a newer file is refused, and a newer frame") {
    const SmallLog log(false);
    std::string newer = log.content;
    auto header = at<LogHeader>(newer, 0);
    header.version = 2;
    put(newer, 0, header);
    const ReadLog read = log.read_with(newer);
    CHECK(read.outcomes == std::vector{Outcome::refused});
    CHECK(contains(read.sentences[0], "made by a newer millrace"));
    CHECK(log_files(log.folder.path())[0].newer);
    CHECK(log_files(log.folder.path())[0].header.instance == 0);
    LogWriter writer(log.folder.path(), {9, 1 << 20, false});
    CHECK_FALSE(writer.open_existing(log.paths[0], sizeof(LogHeader), 0));
    CHECK(content_of(log.paths[0]) == newer);

    std::string frame = log.content;
    append_frame(frame, {0, static_cast<FrameKind>(4), 0, 15, 15}, "what is this");
    const ReadLog refused = log.read_with(frame);
    CHECK(refused.records == log.whole);
    CHECK(refused.outcomes == std::vector{Outcome::refused});
}

TEST_CASE("log damage: a file under another name") {
    const SmallLog log(false);
    std::filesystem::rename(log.paths[0], log_path(log.folder.path(), 3));
    CHECK(ReadLog(log.folder.path(), 3).outcomes == std::vector{Outcome::damage});
    CHECK(contains(log_files(log.folder.path())[0].fault, "its name is not its own"));
}

TEST_CASE("log damage: enormous lengths take no memory") {
    const SmallLog log(false);
    for (const uint64_t bytes : {uint64_t{1} << 33, uint64_t{1} << 62, (uint64_t{1} << 63) + 7, UINT64_MAX, UINT64_MAX - 31, UINT64_MAX - 38}) {
        CAPTURE(bytes);
        std::string changed = log.content + bytes_of(FrameHeader{0, FrameKind::record, bytes, 16, 15}) + std::string(1000, 'x');
        const auto read = [&] { if (log.read_with(changed).last() != Outcome::tail) std::abort(); };
        CHECK(survives_with(64 << 20, [](auto&& action) { return survives(action); }, read));
    }
    for (const uint64_t length : {uint64_t{0}, kPackedBytesMax + 1, uint64_t{1} << 40, UINT64_MAX}) {
        CAPTURE(length);
        std::string changed = log.content;
        append_frame(changed, {0, FrameKind::packed, 0, 16, 15}, bytes_of(length) + std::string(100, '\0'));
        const auto read = [&] { if (log.read_with(changed).last() != Outcome::tail) std::abort(); };
        CHECK(survives_with(64 << 20, [](auto&& action) { return survives(action); }, read));
    }
}

TEST_CASE("log damage: frames that check and are wrong") {
    const SmallLog log(false);
    const auto outcome_with = [&](FrameHeader frame, std::string_view body) {
        std::string changed = log.content;
        append_frame(changed, frame, body);
        const ReadLog read = log.read_with(changed);
        REQUIRE(read.records.size() == 15 + (read.last() == Outcome::end && frame.kind == FrameKind::record));
        return read.last();
    };
    CHECK(outcome_with({0, FrameKind::record, 0, 16, 15}, "fine") == Outcome::end);
    CHECK(outcome_with({0, FrameKind::record, 0, 15, 15}, "back") == Outcome::tail);
    CHECK(outcome_with({0, FrameKind::record, 0, 17, 16}, "hole") == Outcome::damage);
    CHECK(outcome_with({0, FrameKind::record, 0, 17, 14}, "hole") == Outcome::damage);
    CHECK(outcome_with({0, FrameKind::mark, 0, 15, 15}, "short") == Outcome::tail);
    CHECK(outcome_with({0, FrameKind::packed, 0, 16, 15}, "") == Outcome::tail);
    CHECK(outcome_with({0, FrameKind::packed, 0, 16, 15}, bytes_of(uint64_t{50}) + "nothing that LZ4 has made") == Outcome::tail);
}

TEST_CASE("log damage: marks inside of values decide nothing, but those of the file itself that can be true") {
    const SmallLog log(false);
    for (const int64_t made_ms = wall_ms(); wall_ms() == made_ms;) {}  // in the same millisecond the other file would have the same header, and with it the same seed
    const SmallLog other(false);
    const auto judged = [&](const SmallLog& source, uint64_t synced) {
        std::string changed = log.content, forged = source.content.substr(0, sizeof(LogHeader));
        append_frame(forged, {0, FrameKind::mark, 0, 15, 15}, bytes_of(Mark{synced, 0}));
        append_frame(changed, {0, FrameKind::record, 0, 16, 15}, forged.substr(sizeof(LogHeader)) + "and what is lost");
        changed.resize(changed.size() - 8);
        const ReadLog read = log.read_with(changed);
        REQUIRE(read.records == log.whole);
        return read.last();
    };
    const uint64_t mark_at = log.content.size() + sizeof(FrameHeader);
    CHECK(judged(log, mark_at) == Outcome::damage);
    CHECK(judged(log, mark_at - sizeof(FrameHeader)) == Outcome::tail);  // durable up to where it is torn
    CHECK(judged(log, mark_at + 1) == Outcome::tail);                    // more than there was when it was made
    CHECK(judged(log, UINT64_MAX) == Outcome::tail);
    CHECK(judged(other, mark_at) == Outcome::tail);
}

TEST_CASE("log damage: a tail that becomes whole is read") {
    const SmallLog log(true);
    log.read_with(log.content.substr(0, log.content.size() - 20));
    LogReader reader(log.folder.path(), log.number_before(log.content.size() - 20));
    CHECK(reader.next() == Outcome::tail);
    CHECK(reader.next() == Outcome::tail);
    log.read_with(log.content);
    CHECK(reader.next() == Outcome::record);
}

TEST_CASE("log damage: a byte in the room that is no zero is a tail, which is cut, and nothing before it is lost") {
    constexpr uint64_t kRoom = 70'000;
    for (const bool lz4 : {false, true}) {
        const SmallLog log(lz4);
        const uint64_t end = log.content.size();
        const std::string with_room = log.content + std::string(kRoom, '\0');
        const ReadLog untouched = log.read_with(with_room);
        REQUIRE(untouched.records == log.whole);
        REQUIRE(untouched.outcomes == std::vector{Outcome::end});
        REQUIRE(untouched.position.offset == end);
        for (uint64_t offset = 0; offset < kRoom; offset += offset < 3 * sizeof(FrameHeader) ? 1 : 997)
            for (const unsigned bit : {0, 1, 7}) {
                CAPTURE(lz4);
                CAPTURE(offset);
                CAPTURE(bit);
                std::string changed = with_room;
                changed[end + offset] = static_cast<char>(1 << bit);
                const ReadLog read = log.read_with(changed);
                REQUIRE(read.records == log.whole);
                REQUIRE(read.outcomes == std::vector{Outcome::tail});
                REQUIRE(read.position.offset == end);
            }
        LogWriter writer(log.folder.path(), {9, 1 << 20, lz4});
        REQUIRE(writer.open_existing(log.paths[0], end, log.whole.back().number));
        CHECK(content_of(log.paths[0]) == log.content);
    }
}

TEST_CASE("log damage: a batch of which only parts reached the room is a tail") {
    Random random;
    INFO("SEED=", random.seed);
    for (const bool lz4 : {false, true}) {
        const SmallLog log(lz4);
        uint64_t begin = 0, number = 0;  // of the last batch, which no mark says to be durable
        for (const KnownFrame& frame : log.frames)
            if (frame.synced != 0) begin = frame.begin;
        number = log.number_before(begin);
        REQUIRE(number < 15);
        for (unsigned i = 0; i < 2000; ++i) {
            std::string changed = log.content + std::string(5000, '\0');
            const uint64_t from = begin + random.below(log.content.size() - begin), count = 1 + random.below(log.content.size() - from);
            std::fill_n(changed.begin() + static_cast<ptrdiff_t>(from), count, '\0');
            const ReadLog read = log.read_with(changed);
            CAPTURE(lz4);
            CAPTURE(from);
            CAPTURE(count);
            REQUIRE(log.begins_with(read.records));
            REQUIRE(read.records.size() >= number);
            REQUIRE((read.last() == Outcome::tail || read.last() == Outcome::end));
            REQUIRE(read.position.offset >= begin);
        }
    }
}

TEST_CASE("log damage: zeros where something was durable are damage, as anything else is") {
    for (const bool room : {false, true})
        for (const bool lz4 : {false, true}) {
            const SmallLog log(lz4);
            const std::string whole = log.content + std::string(room ? 100'000 : 0, '\0');
            unsigned damages = 0;
            for (size_t first = 0; first < log.frames.size(); ++first)
                for (size_t last = first; last < log.frames.size(); ++last) {
                    CAPTURE(room);
                    CAPTURE(lz4);
                    CAPTURE(first);
                    CAPTURE(last);
                    const uint64_t from = log.frames[first].begin, to = log.frames[last].end;
                    std::string changed = whole;
                    std::fill(changed.begin() + static_cast<ptrdiff_t>(from), changed.begin() + static_cast<ptrdiff_t>(to), '\0');
                    const ReadLog read = log.read_with(changed);
                    REQUIRE(log.begins_with(read.records));
                    REQUIRE(read.records.size() == log.number_before(from));
                    REQUIRE(read.position.offset == from);
                    // Whether a mark is left behind it that says so.
                    const auto mark = std::find_if(log.frames.begin() + static_cast<ptrdiff_t>(last) + 1, log.frames.end(), [&](const KnownFrame& frame) { return frame.synced > from; });
                    const bool to_the_end = last + 1 == log.frames.size();
                    REQUIRE(read.outcomes == std::vector{mark != log.frames.end() ? Outcome::damage : to_the_end ? Outcome::end : Outcome::tail});
                    damages += read.last() == Outcome::damage;
                }
            CHECK(damages > 5);
        }
}

TEST_CASE("log damage: a file that has a successor and ends with zeros is whole, or there is a gap") {
    for (const bool lz4 : {false, true}) {
        CAPTURE(lz4);
        const SmallLog log(lz4, true);
        const std::string room(50'000, '\0');
        const ReadLog left = log.read_with(log.content + room);
        CHECK(left.records == log.whole);
        CHECK(left.outcomes == std::vector{Outcome::end});
        for (const KnownFrame& frame : log.frames) {
            CAPTURE(frame.begin);
            if (log.number_before(frame.begin) == log.number_before(log.content.size())) continue;
            const ReadLog read = log.read_with(log.content.substr(0, frame.begin) + room);
            REQUIRE(read.outcomes == std::vector{Outcome::gap, Outcome::end});
        }
    }
}

TEST_CASE("log damage: a file that is cut while somebody reads it ends there") {
    const SmallLog log(false);
    for (const uint64_t room : {uint64_t{24}, uint64_t{100'000}, uint64_t{3'000'000}}) {
        CAPTURE(room);
        log.read_with(log.content + std::string(room, '\0'));
        LogReader reader(log.folder.path(), 14);
        CHECK(reader.next() == Outcome::record);
        CHECK(reader.next() == Outcome::end);
        std::filesystem::resize_file(log.paths[0], log.content.size());
        CHECK(reader.next() == Outcome::end);
        LogWriter writer(log.folder.path(), {9, 1 << 20, false});
        REQUIRE(writer.open_existing(log.paths[0], log.content.size(), 15));
        add(writer, 16, effects_of(16, 50));
        REQUIRE(writer.write());
        CHECK(reader.next() == Outcome::record);
        CHECK(reader.effects() == effects_of(16, 50));
    }
}
