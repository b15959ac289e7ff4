// See oplog_reader.h. Runs in md_log.
#include "md/log/oplog_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "common/check.h"
#include "common/oplog_ring.h"

namespace millrace::md_log {

namespace {

[[noreturn]] void fail(uint64_t position, const char* what) {
    throw Error(fmt::format("the oplog in shared memory is damaged at position {}: {}; stop the group and start it again, the log on disk is whole up to there", position, what));
}

}  // namespace

void OplogReader::add(uint64_t reference, uint64_t bytes, OplogEntry& entry) const {
    if (bytes == 0) return;
    entry.pieces.emplace_back(reinterpret_cast<const char*>(store_.at(reference)), bytes);
    entry.effect_bytes += bytes;
}

void OplogReader::add_ring_pieces(uint64_t position, uint64_t count, OplogEntry& entry) const {
    const uint64_t capacity = store_.root(offsetof(st::Root, oplog_bytes)), within = position & (capacity - 1);
    const uint64_t piece = std::min(count, capacity - within);
    add(st::kOplogAt + within, piece, entry);
    add(st::kOplogAt, count - piece, entry);
}

void OplogReader::copy(uint64_t position, void* to, uint64_t count) const {
    OplogEntry entry;
    add_ring_pieces(position, count, entry);
    for (char* out = static_cast<char*>(to); const std::string_view piece : entry.pieces) out = std::copy(piece.begin(), piece.end(), out);
}

void OplogReader::add_value(uint64_t item, uint64_t length, OplogEntry& entry) const {
    const uint64_t pages = store_.load(item + offsetof(st::LargeItem, page_count)), tail = store_.load(item + offsetof(st::LargeItem, tail));
    for (uint64_t at = store_.load(item + offsetof(st::LargeItem, key_length)); length > 0;) {
        const uint64_t index = at / st::kPageBytes, within = at % st::kPageBytes, bytes = std::min(st::kPageBytes - within, length);
        const uint64_t names = store_.load(item + sizeof(st::LargeItem) + index / 2 * 8);
        const uint64_t start = index < pages ? (names >> index % 2 * 32 & 0xffffffff) << st::kPageShift : tail;
        if (start == 0 || start + within + bytes > store_.bytes()) throw Error("a value that the oplog refers to lies outside of the store");
        add(start + within, bytes, entry);
        at += bytes;
        length -= bytes;
    }
}

void OplogReader::add_chain(uint64_t record, OplogEntry& entry) const {
    for (uint64_t chunk = store_.load(record + offsetof(st::ReplyRecord, first_chunk)); chunk != 0; chunk = store_.load(chunk)) {
        if (chunk >= store_.bytes()) throw Error("a record that the oplog refers to lies outside of the store");
        add(chunk + sizeof(st::ReplyChunk), store_.load(chunk + offsetof(st::ReplyChunk, bytes)), entry);
        if (const uint64_t item = store_.load(chunk + offsetof(st::ReplyChunk, item)); item != 0)
            add_value(item, store_.load(chunk + offsetof(st::ReplyChunk, item_length)), entry);
    }
}

void OplogReader::read(uint64_t position, uint64_t tail, OplogEntry& entry) const {
    entry.pieces.clear();
    entry.effect_bytes = 0;
    OplogRecord record;
    if (tail - position < sizeof record) fail(position, "less than a record is left");
    copy(position, &record, sizeof record);
    if (record.bytes < sizeof record || record.bytes > tail - position || record.bytes % 8 != 0) fail(position, "a record's length is impossible");
    entry.number = record.number;
    entry.bytes = record.bytes;
    if (record.by_reference == 0) return add_ring_pieces(position + sizeof record, record.bytes - sizeof record, entry);
    OplogReference reference;
    if (record.bytes != sizeof record + sizeof reference) fail(position, "a record by reference has another length");
    copy(position + sizeof record, &reference, sizeof reference);
    add_chain(reference.record, entry);
    if (entry.effect_bytes != reference.bytes) fail(position, "what a record refers to has another length");
}

}  // namespace millrace::md_log
