// A store in anonymous memory for unit tests. Memory that md has not asked for, or has given back, cannot be touched, and
// what the system hands out is full of rubbish, so that nothing can rely on zeroes. Includes nothing of doctest, see unit.h.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "md/store.h"
#include "md/store_check.h"

namespace millrace::unit {

namespace st = millrace::store;

/// The memory of a segment: addresses of `pages` store pages, of which only those that are backed can be touched.
class TestMemory {
  public:
    static constexpr uint64_t kPagesDefault = 4096;

    explicit TestMemory(uint64_t pages = kPagesDefault) : bytes_(pages << st::kPageShift), backed_(bytes_ / kPageSize) {
        base_ = static_cast<std::byte*>(mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    }
    TestMemory(const TestMemory&) = delete;
    ~TestMemory() { munmap(base_, bytes_); }

    md::StoreMemory view() {
        return {base_, bytes_, [this](uint64_t at, uint64_t length) { return back(at, length); },
                [this](uint64_t at, uint64_t length) { give_back(at, length); }};
    }
    /// Backs bytes as a new segment has them: with zeroes.
    void prepare(uint64_t at, uint64_t length) { back_now(at, length, 0); }
    /// Makes all of it readable, as it is in the copy that `millrace check` walks: there a hole is zeroes.
    void uncover() { mprotect(base_, bytes_, PROT_READ | PROT_WRITE); }
    uint64_t backed_bytes() const { return static_cast<uint64_t>(std::count(backed_.begin(), backed_.end(), true)) * kPageSize; }
    bool is_backed(uint64_t at) const { return backed_[at / kPageSize]; }

    /// Calls of back() that succeed from here on.
    uint64_t calls_left = kUnlimited;
    uint64_t longest = kUnlimited;  ///< bytes that back() gives at once
    uint64_t calls = 0;             ///< of back(), ever
    uint64_t given_back = 0;        ///< bytes, ever
    std::function<void()> on_call;  ///< at each call of back(), which comes in the middle of an operation
    static constexpr uint64_t kUnlimited = ~uint64_t{0};

    /// All that is backed, to be put back later: what a process that died would have left behind.
    struct Image {
        std::vector<bool> backed;
        std::vector<std::byte> bytes;  ///< of the pages that are backed, one after the other
        bool operator==(const Image&) const = default;
    };
    Image image() const {
        Image result{backed_, {}};
        for (uint64_t i = 0; i < backed_.size(); ++i)
            if (backed_[i]) result.bytes.insert(result.bytes.end(), base_ + i * kPageSize, base_ + (i + 1) * kPageSize);
        return result;
    }
    void restore(const Image& image) {
        const std::byte* from = image.bytes.data();
        for (uint64_t i = 0; i < backed_.size(); ++i) {
            if (backed_[i] && !image.backed[i]) give_back(i * kPageSize, kPageSize);
            if (!image.backed[i]) continue;
            if (!backed_[i]) back_now(i * kPageSize, kPageSize, 0);
            std::copy(from, from + kPageSize, base_ + i * kPageSize);
            from += kPageSize;
        }
    }

  private:
    static constexpr int kRubbish = 0xdd;

    bool back(uint64_t at, uint64_t length) {
        ++calls;
        if (on_call) on_call();
        if (calls_left == 0 || length > longest || at + length > bytes_) return false;
        if (calls_left != kUnlimited) --calls_left;
        back_now(at, length, kRubbish);
        return true;
    }
    void back_now(uint64_t at, uint64_t length, int content) {
        mprotect(base_ + at, length, PROT_READ | PROT_WRITE);
        for (uint64_t i = at / kPageSize; i < (at + length) / kPageSize; ++i) {
            if (!backed_[i] && content != 0) std::memset(base_ + i * kPageSize, content, kPageSize);
            backed_[i] = true;
        }
    }
    void give_back(uint64_t at, uint64_t length) {
        madvise(base_ + at, length, MADV_DONTNEED);
        mprotect(base_ + at, length, PROT_NONE);
        std::fill(backed_.begin() + static_cast<long>(at / kPageSize), backed_.begin() + static_cast<long>((at + length) / kPageSize), false);
        given_back += length;
    }

    uint64_t bytes_;
    std::byte* base_;
    std::vector<bool> backed_;
};

/// The memory of marks. Those that are not backed cannot be touched.
class TestMarks {
  public:
    explicit TestMarks(uint64_t store_pages) : space((MarkTable::segment_bytes(store_pages << st::kPageShift) >> st::kPageShift) + 1) {}

    md::Marks view() {
        const md::StoreMemory memory = space.view();
        return {memory.at(0), [memory](uint64_t at, uint64_t length) { return memory.back(at, length); },
                [memory](uint64_t at, uint64_t length) { memory.give_back(at, length); }, [this] { return space.backed_bytes() == 0; }, 1};
    }
    MarkTable table() { return MarkTable(space.view().at(0)); }
    bool has_page(uint64_t page) const { return space.is_backed(MarkTable::offset_of(page << st::kPageShift)); }

    TestMemory space;
};

/// A key that is looked for, and what it is expected to have.
struct Expected {
    std::string bytes;
    int64_t expire_at_ms = md::kNoExpiry;
    bool operator==(const Expected&) const = default;
};

/// A store with short names for whole operations, each with its commit.
class TestStore {
  public:
    static constexpr uint64_t kSeed = 42;
    static constexpr uint64_t kOplogBytes = 1 << 17;

    explicit TestStore(uint64_t pages = TestMemory::kPagesDefault, uint64_t oplog_bytes = kOplogBytes) : space(pages), marks(pages) {
        space.prepare(0, md::Store::fixed_pages(oplog_bytes) << st::kPageShift);
        md::Store::format(space.view(), kSeed, oplog_bytes);
        open();
        store_->adopt_options(Options());
    }
    /// A new process takes the store over.
    void open() { store_ = std::make_unique<md::Store>(space.view(), marks.view()); }
    /// CONFIG SET.
    void configure(OptionId id, int64_t value) {
        store_->set_live(id, value);
        store_->commit();
        store_->marks().look(memory());
    }
    /// With all that follows from it done.
    void set_policy(EvictionPolicy policy) {
        configure(OptionId::maxmemory_policy, static_cast<int64_t>(policy));
        tend_marks();
    }
    void tend_marks() {
        while (store_->tend_marks(4)) {}
    }
    md::Store* operator->() { return store_.get(); }
    md::Store& operator*() { return *store_; }

    st::Root& root() const { return memory().root(); }
    const md::StoreMemory& memory() const { return store_->memory(); }
    uint64_t next_number() const { return root().number + 1; }

    /// Sets a key as md does it; false and nothing has happened when there is no memory.
    bool set(std::string_view key, const md::Value& value, unsigned database = 0) {
        const st::KeyPlace place = store_->place_of(key);
        if (!store_->make_room(database, {&place, 1})) return false;
        return operation([&] { return store_->put(database, key, place, value) == md::Store::Put::done; });
    }
    bool set(std::string_view key, std::string_view bytes, int64_t expire_at_ms = md::kNoExpiry, unsigned database = 0) {
        return set(key, md::Value::of(bytes, expire_at_ms), database);
    }
    bool append(std::string_view key, std::string_view bytes, unsigned database = 0) {
        md::Value value = find(key, database).value();
        value.rest = bytes;
        return set(key, value, database);
    }
    bool set_expiry(std::string_view key, int64_t expire_at_ms, unsigned database = 0) {
        md::Value value = find(key, database).value();
        value.expire_at_ms = expire_at_ms;
        return set(key, value, database);
    }
    /// False also when there is no such key.
    bool erase(std::string_view key, unsigned database = 0) {
        return operation([&] { return store_->erase(database, key, store_->place_of(key)); });
    }
    bool clear(unsigned database = 0) {
        return operation([&] { return store_->clear(database); });
    }
    /// Runs `change` as one operation with its record in the oplog; abandons it when `change` says false.
    template <class Change>
    bool operation(const Change& change) {
        store_->begin_record();
        if (!change() || !store_->end_record()) {
            store_->abandon();
            return false;
        }
        if (!store_->commit()) return false;
        if (store_->oplog().room() < store_->oplog().capacity() / 2) store_->release_oplog(root().oplog_tail);
        return true;
    }

    std::optional<md::Value> find(std::string_view key, unsigned database = 0) const {
        return store_->find(database, key, store_->place_of(key));
    }
    /// Calls with a view of the committed items.
    template <class Call>
    auto with_items(const Call& call) {
        md::WriteSet set(memory());
        md::Allocator allocator(memory(), set);
        md::Items items(memory(), set, allocator);
        return call(items);
    }
    /// The bytes of a key, "<none>" without one.
    std::string get(std::string_view key, unsigned database = 0) {
        const auto value = find(key, database);
        return value ? bytes_of(*value) : "<none>";
    }
    /// The bytes of a value, wherever they lie.
    std::string bytes_of(const md::Value& value) {
        std::string bytes;
        if (value.large != 0) {
            bytes.resize(value.stored_length);
            with_items([&](md::Items& items) {
                items.read_large(value.large, memory().as<st::LargeItem>(value.large)->key_length, value.stored_length, bytes.data());
            });
        } else if (value.stored_length != 0) {
            bytes.assign(value.small, value.stored_length);
        }
        return bytes.append(value.rest);
    }
    /// Where a key's item is, and where its slot; the key is there.
    uint64_t reference_of(std::string_view key, unsigned database = 0) { return slot_of(key, database).content.reference; }
    md::FoundSlot slot_of(std::string_view key, unsigned database = 0) {
        md::WriteSet set(memory());
        md::Allocator allocator(memory(), set);
        md::Committer committer(memory());
        md::Index index(memory(), set, allocator, committer);
        md::Items items(memory(), set, allocator);
        return index.find(database, store_->place_of(key), [&](uint64_t item) { return items.key_equals(item, key); }).value();
    }
    uint64_t segment_of(std::string_view key, unsigned database = 0) {
        return slot_of(key, database).bucket_at / st::kIndexSegmentBytes * st::kIndexSegmentBytes;
    }
    /// Frees all garbage.
    void collect() {
        while (store_->free_some(100)) {}
    }
    /// The faults of the store, one a line; empty for a good one.
    std::string faults() const {
        std::string text;
        for (const std::string& fault : md::check_store(memory()).faults) text += fault + "\n";
        return text;
    }
    md::StoreReport report() const { return md::check_store(memory()); }

    TestMemory space;
    TestMarks marks;

  private:
    std::unique_ptr<md::Store> store_;
};

}  // namespace millrace::unit
