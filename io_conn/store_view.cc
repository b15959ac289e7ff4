// See store_view.h. Runs in io_conn.
#include "io_conn/store_view.h"

#include <algorithm>

namespace millrace::io_conn {

namespace st = millrace::store;

StoreView::StoreView(const std::string& path, uint64_t instance)
    : segment_(Segment::attach({path, st::kStoreLayout, instance}, Access::read_only)) {}

RecordReader::RecordReader(const StoreView& store, uint64_t record) : chunk_(store.at<st::ReplyRecord>(record).first_chunk) {}

std::span<const std::byte> RecordReader::next(const StoreView& store) {
    while (chunk_ != 0) {
        const auto& chunk = store.at<st::ReplyChunk>(chunk_);
        if (!fields_read_) {
            fields_read_ = true;
            if (chunk.bytes != 0) return store.bytes(chunk_ + sizeof chunk, chunk.bytes);
        }
        if (chunk.item != 0 && item_read_ < chunk.item_length) {
            const auto& item = store.at<st::LargeItem>(chunk.item);
            const uint64_t from = item.key_length + item_read_;
            const uint64_t index = from / st::kPageBytes, within = from % st::kPageBytes;
            const uint64_t count = std::min(st::kPageBytes - within, chunk.item_length - item_read_);
            item_read_ += count;
            const uint64_t start = index < item.page_count
                                       ? uint64_t{store.at<uint32_t>(chunk.item + sizeof item + index * sizeof(uint32_t))} << st::kPageShift
                                       : item.tail;
            return store.bytes(start + within, count);
        }
        chunk_ = chunk.next_chunk;
        fields_read_ = false;
        item_read_ = 0;
    }
    return {};
}

}  // namespace millrace::io_conn
